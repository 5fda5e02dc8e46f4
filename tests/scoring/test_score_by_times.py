"""Saved predictions and true frames with times are compared by them; expected errors are NumPy's of frames chosen by hand."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.scoring.saved_frames import Reading
from stlight_jax.scoring.score import score
from tests.commands import run

xarray = pytest.importorskip("xarray")
DAY = np.timedelta64(24, "h")
START = np.datetime64("2020-01-01", "ns")
TRUTH = np.random.default_rng(0).random((10, 8, 9))
PREDICTED = np.random.default_rng(1).random((4, 8, 9))


def series(path, frames, first, **encoding):
    """Frames that begin some days after the start, `[t, h, w]`."""
    times = START + (first + np.arange(len(frames))) * DAY
    xarray.Dataset({"rain": (("time", "y", "x"), frames)}, {"time": times}).to_netcdf(path, encoding={"time": encoding})
    return path


def mse(predicted, true):
    return np.square(predicted - true).sum((-1, -2)).mean()


@pytest.mark.parametrize("first", [0, 3, 6])
def test_frames_of_one_time_are_compared_wherever_they_stand(tmp_path, capsys, first):
    ours = series(tmp_path / "a.nc", PREDICTED, first, units="hours since 1990-01-01")
    sums = score(ours, series(tmp_path / "b.nc", TRUTH, 0, units="days since 1850-01-01", dtype="float64"))
    assert sums.overall()["mse"] == pytest.approx(mse(PREDICTED, TRUTH[first : first + 4]), rel=1e-5)
    assert "4 of 4 predicted frames have a true frame of their time\n" in capsys.readouterr().err


def test_files_of_one_length_are_not_compared_in_their_order(tmp_path, capsys):
    """The last predicted frame has no truth, and the first true frame no prediction."""
    sums = score(series(tmp_path / "a.nc", TRUTH, 1), series(tmp_path / "b.nc", TRUTH, 0))
    assert sums.overall()["mse"] == pytest.approx(mse(TRUTH[:9], TRUTH[1:]), rel=1e-5)
    errors = capsys.readouterr().err
    assert "9 of 10 predicted frames have a true frame of their time; the others count nowhere" in errors
    assert "true values are missing" not in errors
    in_order = score(tmp_path / "a.nc", tmp_path / "b.nc", reading=Reading(time="none"))
    assert in_order.overall()["mse"] == 0


def test_a_lead_time_keeps_its_place_where_earlier_ones_have_no_truth(tmp_path):
    leads = score(series(tmp_path / "a.nc", PREDICTED, -2), series(tmp_path / "b.nc", TRUTH, 0)).per_lead_time()["mse"]
    assert np.isnan(leads[:2]).all()
    np.testing.assert_allclose(leads[2:], [mse(PREDICTED[2], TRUTH[0]), mse(PREDICTED[3], TRUTH[1])], rtol=1e-5)


def test_predictions_without_any_truth_are_refused_with_both_ranges_of_times(tmp_path):
    series(tmp_path / "a.nc", PREDICTED, 20), series(tmp_path / "b.nc", TRUTH, 0)
    result = run("-m", "stlight_jax", "score", "--pred=a.nc", "--true=b.nc", folder=tmp_path)
    assert result.returncode == 2
    assert "a.nc has frames of 2020-01-21T00:00 to 2020-01-24T00:00, b.nc of 2020-01-01T00:00 to 2020-01-10T00:00" in (
        result.stderr
    )
    assert "none of one time" in result.stderr
    assert "--time=none" in result.stderr


@pytest.mark.parametrize("moments", ["valid_time", "start and lead"])
def test_overlapping_forecasts_are_compared_with_one_series(tmp_path, moments, capsys):
    """Three forecasts of four days, two days apart; the last one reaches beyond the truth by two days."""
    forecasts, starts = np.random.default_rng(2).random((3, 4, 8, 9)), np.array([0, 2, 7])
    leads = np.arange(1, 5)
    coordinates = {"start": START + starts * DAY, "lead": ("lead", leads * 24, {"units": "hours"})}
    if moments == "valid_time":
        coordinates = {"valid_time": (("start", "lead"), START + (starts[:, None] + leads) * DAY)}
    xarray.Dataset({"rain": (("start", "lead", "y", "x"), forecasts)}, coordinates).to_netcdf(tmp_path / "a.nc")
    sums = score(tmp_path / "a.nc", series(tmp_path / "b.nc", TRUTH, 0))
    pairs = [[(n, lead - 1, s + lead) for n, s in enumerate(starts) if s + lead < 10] for lead in leads]
    expected = [np.mean([mse(forecasts[n, i], TRUTH[day]) for n, i, day in of_lead]) for of_lead in pairs]
    np.testing.assert_allclose(sums.per_lead_time()["mse"], expected, rtol=1e-5)
    assert "10 of 12 predicted frames have a true frame of their time; the others" in capsys.readouterr().err


def test_true_frames_in_files_of_several_lengths_are_one_series(tmp_path):
    (tmp_path / "truth").mkdir()
    series(tmp_path / "truth" / "a.nc", TRUTH[:3], 0)
    series(tmp_path / "truth" / "b.nc", TRUTH[3:], 3)
    sums = score(series(tmp_path / "p.nc", PREDICTED, 1), tmp_path / "truth")
    assert sums.overall()["mse"] == pytest.approx(mse(PREDICTED, TRUTH[1:5]), rel=1e-5)


def test_forecasts_in_files_of_their_own_keep_their_lead_times(tmp_path):
    """Though they follow each other in time."""
    (tmp_path / "forecasts").mkdir()
    for number in range(2):
        series(tmp_path / "forecasts" / f"{number}.nc", PREDICTED[2 * number :][:2], 2 * number)
    sums = score(tmp_path / "forecasts", series(tmp_path / "b.nc", TRUTH, 0))
    expected = [mse(PREDICTED[lead::2], TRUTH[lead:4:2]) for lead in range(2)]
    np.testing.assert_allclose(sums.per_lead_time()["mse"], expected, rtol=1e-5)


def test_frames_of_other_sizes_are_refused(tmp_path):
    ours = series(tmp_path / "a.nc", PREDICTED[:, :7], 0)
    with pytest.raises(InputError, match=r"a.nc has frames of shape \[7, 9, 1\], .*b.nc \[8, 9, 1\]; they must be equal"):
        score(ours, series(tmp_path / "b.nc", TRUTH, 0))


def test_frames_of_a_file_without_times_are_compared_in_their_order(tmp_path):
    np.save(tmp_path / "b.npy", TRUTH[:4])
    sums = score(series(tmp_path / "a.nc", PREDICTED, 5), tmp_path / "b.npy")
    assert sums.overall()["mse"] == pytest.approx(mse(PREDICTED, TRUTH[:4]), rel=1e-5)
