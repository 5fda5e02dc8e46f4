"""Which true frames belong to a forecast, where the truth lies in a file of its own."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.forecasting.forecast_windows import SampledSource, known_after
from tests.forecasting.line import Line, movie, run, saved

HOURS = np.datetime64("2020-01-01T00") + np.arange(40)
FRAMES = movie(40)


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Forecasts from frames at some hours, judged by others: the squared error per lead time, NaN where it is not known."""
    monkeypatch.chdir(tmp_path)

    def squares(inputs, truth, horizon, **reading):
        source = saved(tmp_path / "a.npz", FRAMES[inputs], time=HOURS[inputs])
        truth = saved(tmp_path / "b.npz", FRAMES[truth], time=HOURS[truth])
        results = run(source, truth=str(truth), horizon=horizon, out="c.npy", overwrite=True, reading=reading)
        return np.array(results["per_lead_time"]["stlight"]["mse"], float)

    return squares


def wanted(inputs, truth):
    """What NumPy says of the forecast from the frames at these hours."""
    errors = Line().of(FRAMES[None, inputs], len(truth))[0] - FRAMES[truth]
    return np.square(errors / 255).sum((1, 2, 3))


def test_truth_ends_at_the_first_jump_of_its_own_times(scored):
    """What lies before the first true frame in that file is no part of the forecast."""
    found = scored(np.arange(12), [12, 13, 20, 21, 22, 23], 6)
    np.testing.assert_allclose(found[:2], wanted([9, 10, 11], [12, 13]), rtol=1e-4)
    assert np.isnan(found[2:]).all()
    found = scored(np.arange(12), [0, 1, 2, 12, 13, 14], 6)
    np.testing.assert_allclose(found[:3], wanted([9, 10, 11], [12, 13, 14]), rtol=1e-4)
    assert np.isnan(found[3:]).all()


@pytest.mark.parametrize("first", [10, 12, 13])
def test_truth_of_every_other_frame_is_found_by_its_date_to_the_frame(scored, first):
    """Hours 0 to 11, every other one: the first predicted hour is 13, at whichever place the truth's file has it."""
    found = scored(np.arange(12), np.arange(first, 24), 4, frame_step=2)
    np.testing.assert_allclose(found, wanted([7, 9, 11], [13, 15, 17, 19]), rtol=1e-4)


def test_truth_that_lacks_the_first_predicted_frame_is_refused(scored):
    with pytest.raises(InputError, match="b.npz#rain has no frame of 2020-01-01T13:00:00, the first one predicted"):
        scored(np.arange(12), np.arange(14, 24), 4, frame_step=2)


def test_truth_of_another_sampling_step_is_refused(scored):
    with pytest.raises(InputError, match="b.npz#rain has a frame every 2 h, the input every 1 h"):
        scored(np.arange(12), np.arange(12, 24, 2), 4)


def test_a_single_true_frame_has_no_step_of_its_own(scored):
    found = scored(np.arange(12), [12], 2)
    np.testing.assert_allclose(found[:1], wanted([9, 10, 11], [12]), rtol=1e-4)
    with pytest.raises(InputError, match="has no frame of 2020-01-01T12:00:00"):
        scored(np.arange(12), [13], 2)


def test_places_before_the_first_are_no_gap(tmp_path):
    hours = [0, 1, 2, 12, 13]
    (sequence,) = open_sequences(saved(tmp_path / "a.npz", FRAMES[hours], time=HOURS[hours]), ReadOptions())
    view = SampledSource(sequence)
    assert known_after(view, 3, 6) == 0
    assert known_after(view, 3, 6, since=3) == 2
    assert known_after(view, 0, 6, since=0) == 3
    with pytest.raises(ValueError, match="-1"):
        view.gap(-1, 3)


def test_files_of_one_frame_that_are_no_sequence_are_explained(tmp_path):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=FRAMES[:1], time=HOURS[:1])
    with pytest.raises(InputError, match=r"a.npz#x has 1 frame; .*; 2 files of one frame are not joined .*their times overlap"):
        run(tmp_path)


def test_a_forecast_goes_on_after_the_last_of_several_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "days").mkdir()
    for day in range(3):
        hours = slice(4 * day, 4 * day + 4)
        np.savez(tmp_path / "days" / f"{day}.npz", x=FRAMES[hours], time=HOURS[hours])
    run(tmp_path / "days", horizon=2, out="c.npz")
    with np.load("c.npz") as written:
        np.testing.assert_array_equal(written["time"], HOURS[12:14])
        np.testing.assert_allclose(written["x"], Line().of(FRAMES[None, 9:12], 2)[0], atol=0.5)
