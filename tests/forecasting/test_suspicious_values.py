"""`stlight predict` names numbers that seem to mean "missing", frames without values, and constant channels."""

import json
import pathlib
import re

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.load import open_training
from stlight_jax.data.scaling import Scaling
from tests.data.test_suspicion import field, in_corner
from tests.data.window_arrays import load
from tests.forecasting.line import Line, movie, run, saved

FLOATS = Scaling("float32", (0.0,), (255.0,), missing=True, filling=(0.5,))


def printed(path, capsys, model=None, **settings):
    """The remarks, each a line that begins with two spaces."""
    run(path, model or Line(scaling=FLOATS), out="p.npy", overwrite=True, **settings)
    return [line.strip() for line in capsys.readouterr().err.splitlines() if line.startswith("  ")]


def test_a_number_far_from_all_others_is_named_with_its_flag(tmp_path, capsys):
    source = saved(tmp_path / "a.npy", in_corner(field(), -9999).astype(np.float32)[..., None])
    remark = "12.5 % of the values are -9999, far from all others; if they mean missing: --fill_value=-9999"
    assert printed(source, capsys) == [remark]
    assert printed(source, capsys, rolling=True) == [remark]
    assert printed(source, capsys, Line(scaling=FLOATS, in_frames=10), start=12) == [remark]
    assert printed(source, capsys, reading={"fill_value": -9999.0}) == []
    assert (np.load("p.npy") == -9999).mean() == 0.125


def test_the_flag_takes_the_number_of_a_float64_as_the_remark_names_it(tmp_path, capsys):
    frames = in_corner(field(), 9.969209968386869e36)
    np.save(tmp_path / "a.npy", frames)
    assert printed(tmp_path / "a.npy", capsys)[-1].endswith("--fill_value=9.96921e+36")
    assert printed(tmp_path / "a.npy", capsys, reading={"fill_value": 9.96921e36}) == ["float64 is read as float32"]


def test_a_number_among_true_frames_is_named(tmp_path, capsys):
    frames = field().astype(np.float32)[..., None]
    truth = in_corner(frames[20:], -999)
    source, true = saved(tmp_path / "a.npy", frames[:20]), saved(tmp_path / "b.npy", truth)
    remarks = printed(source, capsys, Line(3, 4, scaling=FLOATS), truth=str(true))
    assert "b.npy: 12.5 % of the values are -999, far from all others; if they mean missing: --fill_value=-999" in remarks


def test_values_are_looked_at_before_frames_are_resized(tmp_path, capsys, monkeypatch):
    def averaged(block, fill, height, width):
        if block.shape[1] < height:  # of a prediction
            return block.repeat(2, 1).repeat(2, 2)
        return block.reshape(len(block), height, 2, width, 2, 1).mean((2, 4)).astype(np.float32)

    monkeypatch.setattr("stlight_jax.data.resize.resize_valid", averaged)
    frames = field().astype(np.float32)
    frames[:, :4, :7] = 1e20
    sizes, remark = printed(saved(tmp_path / "a.npy", frames[..., None]), capsys, reading={"height": 6, "width": 8})
    assert sizes == "predicted at 6 x 8 pixels; written at the input's 12 x 16"
    assert remark == "14.6 % of the values are 1e+20, far from all others; if they mean missing: --fill_value=1e+20"


def test_a_fixed_mask_is_named_with_its_flag(tmp_path, capsys):
    source = saved(tmp_path / "a.npy", in_corner(field(high=180).astype(np.uint8), 255)[..., None])
    where = "fills the same 24 pixels in all frames and occurs nowhere else"
    assert printed(source, capsys, Line()) == [f"255 {where}; if it means missing: --fill_value=255"]


@pytest.mark.parametrize(("settings", "expected"), [({}, "2 of 10"), ({"rolling": True}, "2 of 39"), ({"start": 30}, "")])
def test_frames_without_values_are_counted_among_those_to_predict_from(tmp_path, capsys, settings, expected):
    frames = field(40, 0.2, 8.6).astype(np.float32)[..., None]
    frames[[33, 34]] = np.nan
    remarks = printed(saved(tmp_path / "a.npy", frames), capsys, Line(10, 1, scaling=FLOATS), **settings)
    assert remarks == ([f"{expected} frames to predict from hold no values"] if expected else [])


def test_a_channel_that_was_constant_in_training_is_named(tmp_path, capsys):
    model = Line(in_channels=2, out_channels=2, scaling=Scaling("float32", (0.0, 4.0), (200.0, 4.0)))
    frames = movie(channels=2, dtype=np.float32)
    expected = ["channel 2 was 4 in all training frames, and so are its predictions"]
    assert printed(saved(tmp_path / "a.npy", frames), capsys, model) == expected
    frames[..., 1] = 4
    assert printed(saved(tmp_path / "a.npy", frames), capsys, model) == expected
    model = Line(in_channels=2, out_channels=2, scaling=FLOATS)
    assert printed(tmp_path / "a.npy", capsys, model) == ["channel 2 is 4 everywhere"]


def test_the_cause_of_an_error_is_named(tmp_path, capsys):
    def refuse(*_, **__):
        raise OverflowError

    source = saved(tmp_path / "a.npy", in_corner(field(), 9.969209968386869e36).astype(np.float32)[..., None])
    model = Line(scaling=FLOATS)
    model.of = refuse
    with pytest.raises(OverflowError):
        run(source, model, out="p.npy")
    printed = capsys.readouterr().err
    assert "12.5 % of the values are 9.96921e+36, far from all others" in printed
    assert "all values of channel" not in printed


def test_an_error_of_the_first_frames_stays_what_it_is(tmp_path, capsys):
    frames = movie(dtype=np.float32)
    frames[-1, 0, 0] = np.inf
    with pytest.raises(InputError, match="found an infinite value"):
        run(saved(tmp_path / "a.npy", frames), out="p.npy")
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("  ")] == []  # no values are missing


def test_ordinary_frames_get_no_remark(tmp_path, capsys):
    for number, frames in enumerate((movie(), movie(dtype=np.float32), in_corner(field(), 0).astype(np.float32)[..., None])):
        assert printed(saved(tmp_path / f"{number}.npy", frames), capsys, Line()) == []


def test_predictions_far_outside_the_trained_range_are_counted(tmp_path, capsys):
    """A line from 0 to 200 in 3 frames goes on to 300 and 400; 382.5 is half a range beyond 255."""
    frames = np.zeros((3, 8, 10, 1), np.float32)
    frames[1:, :2] = np.array([100.0, 200.0])[:, None, None, None]
    (remark,) = printed(saved(tmp_path / "a.npy", frames), capsys, json="a.json")
    start = "20 of 160 predicted values (12.5 %) are far outside 0 to 255, the range of the training data"
    assert remark.startswith(f"{start}; the lowest is 0, the highest 400;")
    assert json.loads(pathlib.Path("a.json").read_text())["values_far_outside"] == 20


@pytest.mark.parametrize(
    ("trained", "found", "warns"),
    [
        ("K", "degC", True), ("degrees_Celsius", "kelvin", True), ("m/s", "km h-1", True),
        ("degC", "celsius", False), ("m/s", "m s**-1", False), ("K", "", False), ("", "degC", False),
    ],
)  # fmt: skip
def test_units_that_differ_from_those_of_training_are_named_before_the_first_forecast(
    tmp_path, caplog, monkeypatch, trained, found, warns
):
    """Also where the values themselves would not show it."""
    xarray = pytest.importorskip("xarray")
    frames = np.random.default_rng(0).random((6, 8, 10), np.float32)
    xarray.Dataset({"t2m": (("time", "lat", "lon"), frames, {"units": found})}).to_netcdf(tmp_path / "a.nc")
    model = Line(scaling=FLOATS, data={"units": trained})
    warnings_before = []
    monkeypatch.setattr(model, "of", lambda *args: warnings_before.append(list(caplog.messages)) or Line.of(model, *args))
    run(tmp_path / "a.nc", model)
    expected = f"the frames have units {found!r}, and the network was trained on {trained!r}; convert the frames"
    assert [message.startswith(expected) for message in warnings_before[0]] == [True] * warns


def test_the_units_of_training_frames_are_stored_with_the_training(tmp_path):
    xarray = pytest.importorskip("xarray")
    frames = np.random.default_rng(0).random((60, 6, 5))
    xarray.Dataset({"t2m": (("time", "lat", "lon"), frames, {"units": "K"})}).to_netcdf(tmp_path / "a.nc")
    training, validation = open_training(load("frames", tmp_path / "a.nc", prepared=str(tmp_path / "kept")))
    assert (training.description["units"], validation.description["units"]) == ("K", "K")


def test_frames_of_one_value_are_named(tmp_path, capsys):
    source = saved(tmp_path / "a.npy", np.full((5, 8, 10, 1), 120, np.float32))
    assert printed(source, capsys) == ["all values are 120; a forecast of constant frames shows little; check the input"]


def test_frames_in_other_units_are_named_once_with_both_ranges(tmp_path, capsys):
    source = saved(tmp_path / "a.npy", np.linspace(0, 90_000, 400, dtype=np.float32).reshape(5, 8, 10, 1))
    (remark,) = printed(source, capsys)
    # The last three frames are seen: from value 160 of 0 to 399 on.
    start = f"the frames' values are {160 / 399 * 90_000:g} to 90000; line was trained on 0 to 255: far outside"
    assert remark.startswith(start)


def test_a_channel_without_values_is_named(tmp_path, capsys):
    frames = movie(channels=2, dtype=np.float32)
    frames[-3:, ..., 1] = np.nan
    model = Line(in_channels=2, out_channels=2, scaling=FLOATS)
    missing = "all values of channel 2 are missing in the frames to predict from"
    assert printed(saved(tmp_path / "a.npy", frames), capsys, model) == [f"{missing}, and so they are in its forecasts"]
    model = Line(in_channels=2, out_channels=1, scaling=FLOATS)
    assert printed(tmp_path / "a.npy", capsys, model) == [missing]


def test_forecasts_without_values_are_counted_with_the_name_of_the_first(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, frames in (("a", movie(dtype=np.float32)), ("b", np.full((12, 8, 10, 1), np.nan, np.float32))):
        saved(folder / f"{name}.npy", frames)
    run(folder, Line(scaling=FLOATS), out="out")
    shown = capsys.readouterr().err
    assert (
        "1 of 2 forecasts hold no values, as all values that they are predicted from are missing; the first is b.npy, " in shown
    )
    assert np.isnan(np.load("out/b.npy")).all()


HOURS = np.datetime64("2020-03-01T00", "m")


@pytest.mark.parametrize(
    ("minutes", "frame_step", "trained", "remark"),
    [
        (60, 1, "1 h", ""),
        (30, 2, "1 h", ""),
        (10, 1, "1 h", "frames are 10 min apart, those of the training 1 h; .*; give --frame_step=6$"),
        (10, 3, "1 h", "frames are 10 min apart, one in 3, those of the training 1 h; .*; give --frame_step=6$"),
        (180, 1, "1 h", "frames are 3 h apart, those of the training 1 h; .*; give frames of the training's step$"),
        (1440, 1, "1 month", "frames are 1 d apart, those of the training 1 month; .*; give --frame_step=30$"),
        (60, 1, "", ""),
    ],
)
def test_another_step_in_time_than_in_training_is_named(tmp_path, capsys, minutes, frame_step, trained, remark):
    times = HOURS + minutes * np.arange(12).astype("m8[m]")
    source = saved(tmp_path / "a.npz", movie(12, dtype=np.float32), time=times)
    shown = printed(source, capsys, Line(scaling=FLOATS, data={"step": trained}), reading={"frame_step": frame_step})
    found = [line for line in shown if "apart" in line]
    assert len(found) == bool(remark)
    assert not remark or re.match(remark, found[0])
