"""`--start` takes a time of the input, and frames of other sizes than those of the training get a remark."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.commands import predict
from tests.forecasting.line import Line, movie, run, saved

HOURS = np.datetime64("2020-03-01T00", "h") + np.arange(12)


def with_times(path, times=HOURS):
    return saved(path, movie(12), time=times)


@pytest.mark.parametrize(
    ("start", "index"),
    [
        ("2020-03-01T05", 5),
        ("2020-03-01T05:00:00", 5),
        ("2020-03-01T04:30", 5),
        ("2020-03-01T12:00", 12),
        ("2020-03-01T11", 11),
    ],
)
def test_a_forecast_starts_at_the_first_frame_from_a_time_on(tmp_path, start, index):
    source = with_times(tmp_path / "a.npz")
    run(source, start=start, out="a.npz")
    run(source, start=index, out="b.npz")
    with np.load("a.npz") as found, np.load("b.npz") as expected:
        np.testing.assert_array_equal(found["rain"], expected["rain"])
        assert found["time"][0] == HOURS[0] + np.timedelta64(index, "h")


TOO_EARLY_OR_LATE = (
    "a.npz#rain has 12 frames from 2020-03-01T00 to 2020-03-01T11, and 3 must come before; give 2020-03-01T03 to 2020-03-01T12"
)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("2020-03-01T02", f"--start=2020-03-01T02: {TOO_EARLY_OR_LATE}"),
        ("2019-03-01", f"--start=2019-03-01: {TOO_EARLY_OR_LATE}"),
        ("2020-03-02", f"--start=2020-03-02: {TOO_EARLY_OR_LATE}"),
        ("noon", "--start is 'noon'; the times of a.npz#rain are 'time', .*; expected a date, such as 2019-03-20"),
    ],
)
def test_a_time_without_a_forecast_is_refused(tmp_path, start, message):
    with pytest.raises(InputError, match=message):
        run(with_times(tmp_path / "a.npz"), start=start)


def test_a_time_needs_an_input_with_times(tmp_path):
    with pytest.raises(InputError, match="--start=2020-03-01: a.npy has no times; expected the index of a frame; give 3 to 12"):
        run(saved(tmp_path / "a.npy", movie()), start="2020-03-01")


def test_rolling_forecasts_start_at_the_last_frame_or_before(tmp_path):
    source = with_times(tmp_path / "a.npz")
    with pytest.raises(InputError, match="; give 2020-03-01T03 to 2020-03-01T11$"):
        run(source, start="2020-03-01T12", rolling=True)
    with pytest.raises(InputError, match="--start=12: a.npz#rain has 12 frames, and 3 must come before; give 3 to 11$"):
        run(source, start=12, rolling=True)


def test_the_command_takes_an_index_and_a_time(tmp_path):
    source = with_times(tmp_path / "a.npz")
    for text, expected in (("7", 7), ("-3", -3), ("2020-03-01T05", "2020-03-01T05")):
        assert predict.COMMAND.parse(["stlight", str(source), "--model=tiny", f"--start={text}"]).start == expected


@pytest.mark.parametrize(("trained", "remarks"), [([8, 10], 0), ([12, 16], 0), ([64, 64], 1), ([3, 10], 1), (None, 0)])
def test_frames_of_a_very_different_size_get_a_remark(tmp_path, capsys, trained, remarks):
    run(saved(tmp_path / "a.npy", movie()), Line(**({} if trained is None else {"frame_size": trained})))
    shown = capsys.readouterr().err
    size = "" if trained is None else f"{trained[0]} x {trained[1]}"
    assert shown.count(f"frames are 8 x 10, those of the training {size}; the network takes any size") == remarks
