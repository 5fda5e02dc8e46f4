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


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("2020-03-01T02", "--start=2020-03-01T02: a.npz#rain has 12 frames, and 3 must come before; give 3 to 12"),
        ("2019-03-01", "--start=2019-03-01: a.npz#rain has frames from 2020-03-01T00 to 2020-03-01T11; expected a time until"),
        ("2020-03-02", "--start=2020-03-02: a.npz#rain has frames from 2020-03-01T00 to 2020-03-01T11; expected a time until"),
        ("noon", "--start is 'noon'; the times of a.npz#rain are 'time', .*; expected a date, such as 2019-03-20"),
    ],
)
def test_a_time_without_a_forecast_is_refused(tmp_path, start, message):
    with pytest.raises(InputError, match=message):
        run(with_times(tmp_path / "a.npz"), start=start)


def test_a_time_needs_an_input_with_times(tmp_path):
    with pytest.raises(InputError, match="--start=2020-03-01: a.npy has no times; expected the index of a frame"):
        run(saved(tmp_path / "a.npy", movie()), start="2020-03-01")


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
