"""A strip: the inputs, the truth and the prediction of one forecast as columns of one picture."""

from stlight_jax.data.formats.file_format import FileFormat

# `forecasting` draws it, since it shows more than the predicted frames.
FORMAT = FileFormat(name="png", title="a strip", output_endings=(".png",), is_pictures=True)
