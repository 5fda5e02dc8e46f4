"""The time of day and a static field as further channels, against closed forms and the raw arrays."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.covariates import Covariates, parse_clock
from stlight_jax.data.load import check_config, open_test, open_training
from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.ridge import fit_linear
from tests.data.formats.test_joined_files import write_netcdf
from tests.data.window_arrays import IN, OUT, load

SIDES = (8, 6)


def opened(tmp_path, dtype=np.float32, frames=None, fill=None, dated=True, **data):
    """The config of windows of 3 and 2 hourly frames."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 250, (120, *SIDES)).astype(dtype) if frames is None else frames
    (tmp_path / "raw").mkdir()
    times = {"time": np.datetime64("2020-01-01T00", "h") + np.arange(len(frames))} if dated else {}
    np.savez(tmp_path / "raw" / "a.npz", data=frames, **times)
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), split="time", fill_value=fill, **data)
    config.data.validation_fraction = 0.2
    config.model.update(shortcut="none", patch_size=2)
    return check_config(config), frames


@pytest.mark.parametrize(
    ("moment", "cycle", "sine", "cosine"),
    [
        ("2024-05-13T00:00", "day", 0, 1),
        ("2024-05-13T06:00", "day", 1, 0),
        ("1969-07-20T21:00", "day", -(0.5**0.5), 0.5**0.5),  # 45 degrees before midnight
        ("2024-05-13T00:00", "week", 0, 1),  # a Monday
        ("2024-05-16T12:00", "week", 0, -1),  # Thursday noon, half a week later
        ("2023-07-02T12:00", "year", 0, -1),  # 182.5 of 365 days
        ("2024-07-02T00:00", "year", 0, -1),  # 183 of 366 days
    ],
)
def test_channels_are_sine_and_cosine_of_the_phase(moment, cycle, sine, cosine):
    found = Covariates((cycle,)).at(np.array([moment, "NaT"], "M8[us]"), 2, 3)
    np.testing.assert_allclose(2 * found[0] - 1, np.broadcast_to([sine, cosine], (2, 3, 2)), atol=1e-6)
    assert np.isnan(found[1]).all()


def test_covariates_survive_a_checkpoint():
    static = np.random.default_rng(0).random((4, 5, 2), np.float32)
    before = Covariates(("day", "year"), static, -9.0)
    after = Covariates.from_json(before.as_json())
    np.testing.assert_array_equal(after.static, static)
    assert (after.clock, after.fill, after.digest) == (("day", "year"), -9.0, before.digest)
    names = ["sine of the day", "cosine of the day", "sine of the year", "cosine of the year"]
    assert after.names == [*names, "static field 1", "static field 2"]


@pytest.mark.parametrize("text", ["hour", "day,day", "day;week", ",day"])
def test_other_cycles_are_refused(text):
    with pytest.raises(InputError, match="data.clock is .*expected some of day, week, year"):
        parse_clock(text)


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, None), (np.int16, 7), (np.float32, None)])
def test_windows_have_the_channels_of_their_own_hours(tmp_path, dtype, fill):
    np.save(tmp_path / "static.npy", np.arange(48.0).reshape(SIDES))
    config, frames = opened(tmp_path, dtype, fill=fill, clock="day", static=str(tmp_path / "static.npy"), periods="24")
    windows = open_test(config)
    assert windows.shape[1:] == (*SIDES, 4)
    hours = windows.ticks(np.arange(3))
    got = windows.frames(np.arange(3))
    assert got.dtype == np.float32
    own = got[:, -(IN + OUT) :]
    expected = frames[hours].astype(np.float32)
    np.testing.assert_array_equal(own[..., 0], np.where(expected == (np.nan if fill is None else fill), np.nan, expected))
    phases = 2 * np.pi * (hours % 24) / 24
    for channel, wave in ((1, np.sin(phases)), (2, np.cos(phases))):
        np.testing.assert_allclose(
            own[..., channel], np.broadcast_to((1 + wave[..., None, None]) / 2, own.shape[:-1]), atol=1e-6
        )
    np.testing.assert_allclose(own[0, 0, ..., 3], np.arange(48.0).reshape(SIDES) / 47, atol=1e-6)
    # The first frame of the history lies 24 hours before the last input frame.
    earlier = frames[hours[:, IN - 1] - 24].astype(np.float32)
    np.testing.assert_array_equal(got[:, 0, ..., 0], np.where(earlier == (np.nan if fill is None else fill), np.nan, earlier))
    np.testing.assert_array_equal(got[:, 0, ..., 1:], own[:, IN - 1, ..., 1:])
    values, _ = windows.scaling.to_network(own)
    np.testing.assert_allclose(np.asarray(values)[..., 1:], own[..., 1:], atol=1e-6)
    plain, _ = windows.scaling.for_channels(1).to_network(own[..., :1])
    np.testing.assert_array_equal(np.asarray(values)[..., :1], plain)


def test_crops_and_flips_move_the_static_field_with_the_frames(tmp_path):
    field = np.arange(48.0).reshape(SIDES)
    np.save(tmp_path / "static.npy", field)
    frames = np.broadcast_to(field, (120, *SIDES)) + np.arange(120)[:, None, None]
    config, _ = opened(tmp_path, frames=frames, static=str(tmp_path / "static.npy"), crop=4, flips=True)
    training, _ = open_training(config)
    got = training.frames(np.arange(8))
    difference = got[..., 0] - 47 * got[..., 1]  # the hour, in every pixel
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :, :1, :1], difference.shape), atol=1e-3)
    assert np.ptp(got[:, 0, 0, 0, 1]) > 0


def test_a_function_of_the_hour_is_forecast_exactly_with_the_clock_only(tmp_path):
    hours = np.arange(240)
    values = 10 + 3 * np.sin(2 * np.pi * hours / 24) - 2 * np.cos(2 * np.pi * hours / 24)
    config, _ = opened(tmp_path, frames=np.broadcast_to(values[:, None, None], (240, *SIDES)).astype(np.float32), clock="day")
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, in_frames=1))
    assert fit_linear(*open_training(config), 1, OUT, 1).validation_mse < 1e-8
    plain = dataclasses.replace(config, data=dataclasses.replace(config.data, clock=""))
    assert fit_linear(*open_training(plain), 1, OUT, 1).validation_mse > 1e-3


def test_transforms_and_bounds_leave_covariates_alone():
    scaling = Scaling(
        "float32", (0.0,), (100.0,), transform="sqrt", filling=(0.3, 0.5, 0.5), clip_low=(0.0,), clip_high=(None,), covariates=2
    )
    values, _ = scaling.to_network(np.array([[25.0, 0.2, 0.9]], np.float32))
    np.testing.assert_allclose(values, [[0.5, 0.2, 0.9]], rtol=1e-6)
    np.testing.assert_allclose(scaling.untransformed.filling, [0.09, 0.5, 0.5], rtol=1e-6)
    assert Scaling.from_json(scaling.as_json()) == scaling
    assert scaling.for_channels(1).covariates == 0


def bad_field(shape, value=0.0):
    return lambda path: np.save(path, np.full(shape, value))


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (bad_field((8, 7)), {}, r"data.static is .* 1 frame\(s\) of 8 x 7.*8 x 6"),
        (bad_field((2, 8, 6)), {}, r"data.static is .*expected one field"),
        (bad_field((8, 6), np.nan), {}, "data.static is .*lacks values"),
        (lambda path: None, {}, "data.static is .*no such file"),
        (bad_field((8, 6)), {"clock": "day", "dated": False}, "data.clock is 'day', and the frames .* have no dates"),
    ],
)
def test_fields_and_frames_that_do_not_fit_are_refused(tmp_path, make, data, message):
    make(tmp_path / "static.npy")
    config, _ = opened(tmp_path, static=str(tmp_path / "static.npy"), **data)
    with pytest.raises(InputError, match=message):
        open_test(config)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_the_clock_of_another_calendar_is_refused_by_its_name(tmp_path, calendar):
    (tmp_path / "raw").mkdir()
    frames = np.random.default_rng(0).random((120, 6, 5))
    write_netcdf(tmp_path / "raw" / "a.nc", 6 * np.arange(120), "hours since 2001-02-20", calendar, frames)
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), split="time", clock="year")
    config.data.validation_fraction = 0.2
    with pytest.raises(InputError, match=f"data.clock is 'year', .* have dates of the calendar {calendar}; .* standard"):
        open_test(check_config(config))
