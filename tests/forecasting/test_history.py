"""`stlight predict` with a network that sees frames of earlier periods: by time, across gaps, and how long a file must be."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.forecasting.predict import Request, predict
from tests.periodic import CONFIG, copying, frames_at, with_step

START = np.datetime64("2020-01-01T00", "h")


@pytest.fixture(scope="module")
def forecaster():
    return Forecaster(copying())


def saved(path, hours, dtype=np.float32):
    hours = np.asarray(hours)
    np.savez(path, data=frames_at(hours)[..., 0].astype(dtype), time=START + hours)
    return path


def forecast(path, forecaster, out, **settings):
    results = predict(Request(str(path), out=str(out), report="none", **settings), forecaster)
    return np.load(out), results


def test_earlier_frames_are_found_by_their_times_across_gaps(tmp_path, forecaster, capsys):
    hours = [*range(20), *range(30, 80)]  # of the hours 54 to 61, the frames 24 hours earlier are known
    found, _ = forecast(saved(tmp_path / "a.npz", hours[:-20]), forecaster, tmp_path / "b.npz", horizon=9)
    # Known until hour 59: the predictions of 60 to 68 repeat the hours 36 to 44.
    np.testing.assert_allclose(found["data"], frames_at(np.arange(60, 69))[..., 0], atol=1e-3)
    assert (found["time"] == START + np.arange(60, 69)).all()
    assert "predicting 9 frames from 3 and 11 earlier ones" in " ".join(capsys.readouterr().err.split())


def test_an_earlier_frame_that_a_gap_swallowed_counts_as_missing(tmp_path, forecaster):
    hours = [*range(30), *range(32, 54)]  # 54 and 55 are predicted from 30 and 31
    found, _ = forecast(saved(tmp_path / "a.npz", hours), forecaster, tmp_path / "b.npz")
    np.testing.assert_allclose(found["data"], frames_at([53, 53])[..., 0], atol=1e-3)


@pytest.mark.parametrize("every", [None, 3])
def test_forecasts_along_a_file_begin_where_the_history_is_known(tmp_path, forecaster, every):
    source = saved(tmp_path / "a.npz", range(60), np.uint8)
    found, results = forecast(source, forecaster, tmp_path / "b.npz", rolling=True, every=every, horizon=4)
    assert results["windows"] == (9 if every is None else 12)
    assert results["overall"]["stlight"]["mse"] < 1e-9
    if every is None:
        np.testing.assert_array_equal(found["data"], frames_at(np.arange(25, 60))[..., 0])


def test_the_frame_of_a_period_before_is_a_baseline_where_it_exists(tmp_path, forecaster):
    hours = [*range(30), *range(31, 70)]  # without 30, the frame of 54 has no frame of a day before
    _, results = forecast(saved(tmp_path / "a.npz", hours, np.uint8), forecaster, tmp_path / "b.npz", rolling=True)
    starts = [hour for hour in hours if hour >= 25 and not {hour - 3, hour - 2, hour - 1, hour, hour + 1} & {30}]
    known = [hour for hour in starts if not {hour - 24, hour - 23} & {30}]
    before = results["baselines"]["period_24"]
    assert (before["label"], before["sequences"]) == ("24 steps before", len(known[::2]))
    assert results["overall"]["period_24"]["mse"] < 1e-9
    assert results["rmse_in_units"]["period_24"]["overall"] < 1e-3


def test_earlier_frames_that_change_give_the_error_of_their_change(tmp_path, forecaster):
    hours = np.arange(60)
    np.savez(tmp_path / "a.npz", data=(frames_at(hours)[..., 0] / 2 + hours[:, None, None]).astype(np.float32))
    _, results = forecast(tmp_path / "a.npz", forecaster, tmp_path / "b.npz", rolling=True, horizon=4)
    # A day before, all values are 24 less; of a range of 255, on 48 pixels.
    np.testing.assert_allclose(results["per_lead_time"]["period_24"]["mse"], 48 * (24 / 255) ** 2, rtol=1e-5)
    assert results["rmse_in_units"]["period_24"]["overall"] == pytest.approx(24)


@pytest.mark.parametrize("rolling", [False, True])
def test_means_are_those_of_the_frames_that_a_file_has(tmp_path, rolling):
    forecaster = Forecaster(copying(dataclasses.replace(CONFIG, periods=(), mean_periods=(24,))))
    hours = np.array([*range(30), *range(31, 80)])  # 30 is missing
    values = np.random.default_rng(3).integers(0, 256, (len(hours), 8, 6)).astype(np.float32)
    np.savez(tmp_path / "a.npz", data=values, time=START + hours)
    found, results = forecast(tmp_path / "a.npz", forecaster, tmp_path / "b.npz", rolling=rolling, horizon=4)
    predicted = (found["time"] - START).astype(int)
    assert len(predicted) >= (40 if rolling else 4)
    frames = dict(zip(hours.tolist(), values, strict=True))
    last = {hour: hour - 1 - number % 4 for number, hour in enumerate(predicted.tolist())}  # input frame
    for hour, frame in zip(predicted.tolist(), found["data"], strict=True):
        of_phase = [frames[each] for each in range(hour % 24, last[hour] + 1, 24) if each in frames]
        np.testing.assert_allclose(frame, np.mean(of_phase, 0), atol=1e-3)
    assert "period_24" not in results.get("baselines", {})


def test_a_start_in_the_middle_and_frames_two_steps_apart(tmp_path):
    forecaster = Forecaster(copying(with_step(2, period=5)))
    times = np.arange(60)
    values = np.random.default_rng(3).integers(0, 256, (5, 8, 6)).astype(np.float32)  # repeat every 5 steps
    np.save(tmp_path / "a.npy", values[times % 5])
    found, _ = forecast(tmp_path / "a.npy", forecaster, tmp_path / "b.npy", start=31, reading={"frame_step": 2})
    np.testing.assert_allclose(found, values[np.array([31, 33]) % 5], atol=1e-3)
    # A file with twice as many frames in the same time.
    np.save(tmp_path / "c.npy", values[times % 10 // 2 % 5])
    found, _ = forecast(tmp_path / "c.npy", forecaster, tmp_path / "d.npy", start=40, reading={"frame_step": 4})
    np.testing.assert_allclose(found, values[np.array([40, 44]) % 10 // 2], atol=1e-3)


def test_a_horizon_beyond_the_memory_is_refused_before_its_passes_are_planned(tmp_path, forecaster):
    with pytest.raises(
        InputError, match=r"--horizon=1000000000000: a forecast of so many frames would take 192.0 TB of memory"
    ):
        forecast(saved(tmp_path / "a.npz", range(30)), forecaster, tmp_path / "b.npz", horizon=10**12)


@pytest.mark.parametrize(("rolling", "held"), [(True, 48), (False, 6)])
def test_earlier_frames_beyond_the_memory_are_refused_before_they_are_read(tmp_path, monkeypatch, rolling, held):
    forecaster = Forecaster(copying(dataclasses.replace(CONFIG, periods=(24, 48), out_frames=2)))
    source = saved(tmp_path / "a.npz", range(80))
    monkeypatch.setattr("stlight_jax.forecasting.plan.memory_available", lambda: 2 * 4 * 48 * held - 1)
    with pytest.raises(InputError, match=rf"^{held} earlier frames of 8 x 6 \(data.periods\) would take .* of memory"):
        forecast(source, forecaster, tmp_path / "b.npz", rolling=rolling)


def test_a_file_that_is_too_short_is_refused_with_the_number_it_needs(tmp_path, forecaster):
    for count, needed, settings in ((24, 25, {}), (25, "26 with --rolling", {"rolling": True})):
        source = saved(tmp_path / f"{count}.npz", range(count))
        with pytest.raises(InputError) as caught:
            forecast(source, forecaster, tmp_path / "b.npz", **settings)
        assert str(caught.value) == (
            f"{count}.npz#data has {count} frames; the model sees 3 and earlier ones (data.periods=24), so at least "
            f"{needed} are needed"
        )
    with pytest.raises(InputError, match=r"--start=20: .* 3 and earlier ones .data.periods=24. must come before; give 25$"):
        forecast(source, forecaster, tmp_path / "b.npz", start=20)
    found, _ = forecast(saved(tmp_path / "enough.npz", range(25)), forecaster, tmp_path / "b.npz")
    np.testing.assert_allclose(found["data"], frames_at([25, 26])[..., 0], atol=1e-3)
