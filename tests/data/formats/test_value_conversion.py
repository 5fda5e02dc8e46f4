"""Predicted values become those of a file."""

import tracemalloc

import av
import numpy as np
import pytest
from PIL import Image

from stlight_jax.data.formats.types import SourceInfo
from stlight_jax.data.formats.value_conversion import to_dtype, to_stored
from tests.data.formats.outputs import NOWHERE, output_spec, write


@pytest.mark.parametrize(
    ("dtype", "fill", "value", "stored"),
    [
        (np.uint8, None, -3.0, 0),
        (np.uint8, None, 300.0, 255),
        (np.uint8, None, 2.5, 2),  # to the even one, as NumPy rounds
        (np.uint16, 65535, np.nan, 65535),
        (np.uint16, 65535, 70000.0, 65534),  # never what stands for missing
        (np.int16, 0, 0.2, 1),
        (np.int64, None, 1e30, 9223372036854774784),
        (np.float32, -9999.0, np.nan, -9999.0),
        (np.float64, -999.9, np.nan, -999.9),  # not the nearest float32
        (np.float64, 1e300, np.nan, 1e300),
        (np.float16, None, -70000.0, -65504.0),
        (bool, None, 0.7, True),
    ],
)
def test_values_become_what_their_type_can_hold(dtype, fill, value, stored):
    assert to_dtype(np.array([value], np.float32), np.dtype(dtype), fill)[0] == stored


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, None), (np.int32, None), (bool, None), (bool, 1.0)])
def test_missing_values_that_nothing_stands_for_are_an_error(dtype, fill):
    with pytest.raises(ValueError, match="1 values are NaN"):
        to_dtype(np.array([np.nan, 1], np.float32), np.dtype(dtype), fill)


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, None), (np.int16, -1), (np.float32, None), (np.float64, -1.0)])
@pytest.mark.parametrize("axes", ["thwc", "tcwh"])
def test_conversions_take_little_memory_beside_their_result(dtype, fill, axes):
    frames = np.full((8, 500, 600, 2), 7.4, np.float32)
    frames[0, 0, 0] = -1 if fill is None else np.nan
    tracemalloc.start()
    found = to_stored(frames, output_spec(frames, dtype, axes, fill=fill))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < frames.size * np.dtype(dtype).itemsize + 2**22
    assert found[0].ravel()[0] == (0 if dtype == np.uint8 else -1)
    assert (found[1:] == np.asarray(7 if np.dtype(dtype).kind in "iu" else np.float32(7.4), dtype)).all()


def test_nan_stays_nan_in_floats():
    assert np.isnan(to_dtype(np.array([np.nan], np.float32), np.dtype(np.float64), None)[0])


def test_other_values_are_mapped_to_grey_levels(tmp_path):
    frames = np.array([-1.0, 0.0, 1.5, 3.0, np.nan], np.float32).reshape(1, 1, 5, 1)
    path = write(tmp_path / "a", frames, output_spec(frames, np.float32, low=(0.0,), high=(3.0,)), blocks=1)
    levels, alpha = Image.open(path / "00000.png").split()
    assert np.asarray(levels).tolist() == [[0, 0, 128, 255, 0]]
    assert np.asarray(alpha).tolist() == [[255, 255, 255, 255, 0]]


@pytest.mark.parametrize("kind", ["a", "a.gif"])
@pytest.mark.parametrize("source", ["pictures", "gif", "mp4"])
def test_grey_levels_of_pictures_are_not_mapped(tmp_path, kind, source):
    frames = np.array([-1.0, 0.0, 1.5, 16.0, 254.7, 260.0], np.float32).reshape(1, 1, 6, 1)
    source = SourceInfo(NOWHERE, source, np.dtype(np.uint8), is_pictures=True)
    path = write(tmp_path / kind, frames, output_spec(frames, source=source, low=(16.0,), high=(235.0,)), blocks=1)
    picture = Image.open(path / "00000.png" if kind == "a" else path).convert("L")
    assert np.asarray(picture).tolist() == [[0, 0, 2, 16, 255, 255]]


@pytest.mark.parametrize(("dtype", "pix_fmt", "opaque"), [(np.uint8, "ya8", 255), (np.uint16, "ya16be", 65535)])
def test_missing_grey_levels_have_the_fill_value_or_are_transparent(tmp_path, dtype, pix_fmt, opaque):
    frames = np.array([3.0, 9.0, np.nan], np.float32).reshape(1, 1, 3, 1)
    source = SourceInfo(NOWHERE, "pictures", np.dtype(dtype), is_pictures=True)
    path = write(tmp_path / "filled", frames, output_spec(frames, dtype, source=source, fill=9.0), blocks=1)
    assert np.asarray(Image.open(path / "00000.png")).tolist() == [[3, 10, 9]]
    path = write(tmp_path / "transparent", frames, output_spec(frames, dtype, source=source), blocks=1)
    with av.open(str(path / "00000.png")) as container:  # Pillow keeps 8 bits of 16
        picture = next(container.decode(video=0))
    assert picture.format.name == pix_fmt
    stored = np.frombuffer(picture.planes[0], np.dtype(dtype).newbyteorder(">"))[:6].reshape(3, 2)
    assert stored.tolist() == [[3, opaque], [9, opaque], [0, 0]]
