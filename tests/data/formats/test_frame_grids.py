"""Rows that go from south to north are known by a latitude, and drawn with north up."""

import numpy as np
import pytest
from PIL import Image

from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.reports.frame_display import FrameDisplay

ROWS = np.linspace(-20.0, 40.0, 6)


def written(path, dim, values, frames=None, **attributes):
    """Frames `[4, 6, 7]` whose rows have a coordinate."""
    xarray = pytest.importorskip("xarray")
    frames = np.random.default_rng(0).random((4, 6, 7), np.float32) if frames is None else frames
    columns = [name for name in ("lat", "lon") if name != dim][-1]
    coordinates = {dim: ((dim, columns)[: np.ndim(values)], values, attributes)}
    xarray.Dataset({"sst": (("time", dim, columns), frames)}, coordinates).to_netcdf(path)
    return path


@pytest.mark.parametrize(
    ("dim", "values", "attributes", "expected"),
    [
        ("lat", ROWS, {}, True),
        ("latitude", ROWS[::-1], {}, False),
        ("rows", ROWS, {"units": "degrees_north"}, True),
        ("y", 1000 * ROWS, {"standard_name": "projection_y_coordinate"}, True),
        ("y", -1000 * ROWS, {"standard_name": "projection_y_coordinate"}, False),
        ("y", ROWS, {}, False),  # maybe the number of a row
    ],
)
def test_a_latitude_tells_which_way_rows_go(tmp_path, dim, values, attributes, expected):
    (source,) = open_sequences(written(tmp_path / "a.nc", dim, values, **attributes), ReadOptions())
    assert source.info.rows_go_north is expected


def test_latitudes_of_pixels_and_of_columns_are_known(tmp_path):
    xarray = pytest.importorskip("xarray")
    frames = np.zeros((4, 6, 7), np.float32)
    pixels = ROWS[:, None] + 0.1 * np.arange(7)
    coordinates = {"nav_lat": (("j", "i"), pixels), "nav_lon": (("j", "i"), pixels)}
    xarray.Dataset({"sst": (("time", "j", "i"), frames)}, coordinates).to_netcdf(tmp_path / "a.nc")
    xarray.Dataset({"sst": (("time", "lon", "lat"), frames)}, {"lat": np.arange(7.0)}).to_netcdf(tmp_path / "b.nc")
    np.savez(tmp_path / "c.npz", sst=frames, lat=ROWS, lon=np.arange(7.0))
    np.savez(tmp_path / "d.npz", sst=frames, lat=ROWS[::-1])
    found = [open_sequences(tmp_path / name, ReadOptions())[0].info for name in ("a.nc", "b.nc", "c.npz", "d.npz")]
    assert [info.rows_go_north for info in found] == [True, True, True, False]


@pytest.mark.parametrize("rows_go_north", [False, True])
def test_frames_and_errors_are_drawn_with_north_up(rows_go_north):
    frames = np.random.default_rng(0).random((2, 5, 4, 1))
    (view,) = FrameDisplay.of([frames], 1, rows_go_north=rows_go_north).views
    upright = frames[:, ::-1] if rows_go_north else frames
    np.testing.assert_array_equal(view.pixels(frames)[..., :1], np.rint(255 * upright))
    np.testing.assert_array_equal(view.error_pixels(frames)[..., 0], np.rint(255 * upright[..., 0]))
    np.testing.assert_array_equal(view.pixels(frames[0]), view.pixels(frames)[0])


def brightness(path):
    return np.asarray(Image.open(path).convert("L")).astype(float)


@pytest.mark.parametrize("order", [1, -1])
def test_predictions_are_drawn_with_north_up(tmp_path, order):
    """The north is bright, wherever the file has it."""
    from tests.forecasting.line import Line, run

    frames = np.broadcast_to(np.linspace(40, 200, 12).astype(np.float32)[:, None], (6, 12, 12))
    rows = np.linspace(-20, 40, 12)
    source = written(tmp_path / "a.nc", "lat", rows[::order], frames[:, ::order])
    run(source, Line(), out=str(tmp_path / "pictures"), kind="pictures")
    first = brightness(min((tmp_path / "pictures").glob("*.png")))
    assert first[0].mean() == 200
    assert first[-1].mean() == 40
    run(source, Line(), out=str(tmp_path / "strip.png"))
    strip = brightness(tmp_path / "strip.png")[34:120, 100:160]  # of the first input frame
    assert strip[0].mean() > strip[-1].mean() + 100


def test_the_direction_of_rows_is_stored_with_the_training(tmp_path):
    from stlight_jax.data.load import open_test
    from tests.data.window_arrays import load

    frames = np.random.default_rng(0).random((60, 6, 7), np.float32)
    for name, order in (("a", 1), ("b", -1)):
        source = written(tmp_path / f"{name}.nc", "lat", ROWS[::order], frames)
        test = open_test(load("frames", source, prepared=str(tmp_path / "kept")))
        assert test.description["rows_go_north"] == (order == 1)
