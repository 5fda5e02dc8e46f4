"""`python -m stlight_jax predict INPUT`: forecasts of a video, pictures, an array or a netCDF variable, in a file of its kind.

INPUT is a video, a GIF, a folder of pictures, a .npy, .npz, HDF5 or netCDF file, or a folder of several of these.
"""

from __future__ import annotations

import dataclasses

from absl import flags

from stlight_jax.errors import InputError
from stlight_jax.forecasting import read_options
from stlight_jax.forecasting.predict import _FLOATS, Request, _check, _fill_value, _value_range, predict

POSITIONAL = "input"


def define_flags() -> None:
    flags.DEFINE_string("input", None, "What to predict from: a file or a folder; without --input=, too.")
    flags.DEFINE_string("workdir", None, "The model: a run's folder, a checkpoint or a .stlight file.")
    flags.DEFINE_string("model", None, "The model: the name of one that ships, such as tiny.")
    flags.DEFINE_string("checkpoint", "best", "Of a run: best, last or a step.")
    flags.DEFINE_integer("horizon", None, "Frames to predict; the model's own number if not given.")
    flags.DEFINE_integer(
        "start", None, "Place of the first predicted frame, from the end if negative; default: after the last."
    )
    flags.DEFINE_string("truth", None, "File or folder of the true frames from there on, where INPUT does not have them.")
    flags.DEFINE_bool("rolling", False, "Forecast all along INPUT, from --start or the first possible frame on.")
    flags.DEFINE_integer("every", None, "With --rolling: frames from one forecast to the next; default: the horizon.")
    flags.DEFINE_string("out", "", "Where to: .mp4 .gif .png .npy .npz .h5 .nc, or a folder; default: INPUT_predicted.")
    flags.DEFINE_string("kind", "", "Of the output, instead of INPUT's: mp4, gif, pictures, png, npy, npz, h5 or nc.")
    flags.DEFINE_bool("overwrite", False, "Replace files that are there.")
    flags.DEFINE_string("json", None, "Write what was done, and the metrics, to this file, too.")
    flags.DEFINE_string("report", "", "A page to look at; default: beside the output, ending in .html; none leaves it out.")
    flags.DEFINE_enum("dtype", None, _FLOATS, "Of arrays that are written; default: INPUT's.")
    flags.DEFINE_enum("rollout", "blocks", ["blocks", "frames"], "How horizons beyond the model's are reached.")
    flags.DEFINE_integer("tile", None, "Side of the tiles in which large frames go through the model; chosen by itself.")
    flags.DEFINE_integer("overlap", None, "Pixels that tiles share.")
    flags.DEFINE_list("value_range", None, "LOW,HIGH of INPUT's units that mean what the trained range's ends mean.")
    flags.DEFINE_string("variable", None, "Array in a .npz, HDF5 or netCDF file; this and what follows: as in training.")
    flags.DEFINE_string("time", None, "Its time coordinate; none ignores times.")
    flags.DEFINE_string("layout", None, "Axes of arrays: thw, thwc, tchw, nthw, nthwc or ntchw.")
    flags.DEFINE_enum("channels", None, ["grey", "rgb"], "Of videos and pictures; default: as the model has them.")
    flags.DEFINE_string("fill_value", None, "The number that stands for missing values, or none.")
    flags.DEFINE_string("mask", None, "Array in the same file, not 0 where values are missing.")
    flags.DEFINE_integer("frame_step", None, "2 takes every other frame.")
    flags.DEFINE_integer("height", None, "Resize frames to this, with --width.")
    flags.DEFINE_integer("width", None, "Resize frames to this, with --height.")


def main() -> None:
    given = flags.FLAGS
    if not given.input:
        raise InputError("name what to predict from: predict INPUT --workdir=RUN, or --model=tiny")
    if bool(given.workdir) == bool(given.model):
        raise InputError("give either --workdir=RUN, a model you have trained, or --model=NAME, one that ships such as tiny")
    request = Request(
        **{field.name: given[field.name].value for field in dataclasses.fields(Request) if field.name != "reading"},
        reading={key: given[key].value for key in read_options.KEYS if given[key].value is not None},
    )
    if "fill_value" in request.reading:
        request.reading["fill_value"] = _fill_value(request.reading["fill_value"])
    _check(request)
    from stlight_jax.inference.forecaster import Forecaster
    from stlight_jax.inference.trained import shipped  # JAX's programs take a while to come, bad flags do not

    if given.model and given.model not in shipped():
        raise InputError(
            f"--model={given.model}: choose one of {', '.join(shipped())}; folders and files of your own go to --workdir"
        )
    settings = {key: given[key].value for key in ("checkpoint", "rollout", "tile", "overlap")}
    if given.value_range is not None:
        settings["value_range"] = _value_range(given.value_range)
        request.reading.setdefault("fill_value", None)  # that of the training is in other units
    predict(request, Forecaster.load(given.workdir or given.model, **settings))
