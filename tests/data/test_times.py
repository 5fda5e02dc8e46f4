"""Ticks: order, equal moments, regular series, and every way of writing a time."""

import calendar
import datetime
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlight_jax import InputError
from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.ticks import assign_ticks, format_duration, sampling_step
from stlight_jax.data.times import decode_times, parse_times
from stlight_jax.data.windows import split_at_jumps


def ticks(*series, name="time"):
    return [of.ticks.tolist() for of in assign_ticks([parse_times(np.asarray(values), name, "here") for values in series])]


def seconds(values, name="time"):
    """As microseconds since 1970, for comparison with what Python's own calendar says."""
    stamps = parse_times(np.asarray(values), name, "here")
    assert stamps.dated
    return (stamps.values // 1_000_000).tolist()


def since_1970(*moment):
    return calendar.timegm(datetime.datetime(*moment).timetuple())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=40), st.sampled_from([1, 7, 3600, 0.25]))
def test_ticks_keep_order_and_equal_moments(values, scale):
    values = np.asarray(values) * scale
    (of,) = assign_ticks([parse_times(values, "time", "here")])
    earlier = values[:, None] < values[None, :]
    assert np.array_equal(earlier, of.ticks[:, None] < of.ticks[None, :])
    assert of.ticks.dtype == np.int64
    assert of.ticks.min() == 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200), st.sampled_from(["s", "m", "h", "D"]), st.integers(1, 90), st.datetimes(datetime.datetime(1900, 1, 1))
)
def test_a_regular_series_counts(frames, unit, step, start):
    dates = np.datetime64(start, "us") + np.arange(frames) * np.timedelta64(step, unit)
    assert ticks(dates) == [list(range(frames))]
    assert ticks(0.1 + np.arange(frames) * 0.1) == [list(range(frames))]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=30), st.lists(st.integers(0, 60), min_size=2, max_size=30))
def test_files_share_their_moments(first, second):
    """Both have the sampling step of an hour: equal hours have equal ticks, and only hours in a row are one tick apart."""
    origin = np.datetime64("2020-01-01T00")
    both = [origin + np.r_[np.arange(200, 300), np.asarray(values)] for values in (first, second)]
    ours = ticks(*both)
    moments, numbers = np.concatenate(both), np.concatenate(ours)
    for moment in np.unique(moments):
        assert len(set(numbers[moments == moment])) == 1
    for values, own in zip(both, ours, strict=True):
        for run in split_at_jumps(np.asarray(own)):
            hours = np.diff(values[run.first : run.first + run.frames]).astype(int)
            assert (hours == 1).all()


def test_jitter_and_months_make_no_jumps():
    rng = np.random.default_rng(0)
    camera = np.arange(50) * 100_000 + rng.integers(-9_000, 9_000, 50)
    assert ticks(np.datetime64("2024-05-01T12:00", "us") + camera) == [list(range(50))]
    months = np.arange("2019-01", "2021-01", dtype="M8[M]")
    assert ticks(months) == [list(range(24))]
    assert ticks(np.delete(months, 5)) == [[*range(5), *range(6, 24)]]


def test_files_whose_times_lie_between_each_other_stay_whole():
    first = np.datetime64("2024-01-01T00:00") + np.arange(6) * np.timedelta64(10, "m")
    ours = assign_ticks([parse_times(values, "time", "here") for values in (first, first + np.timedelta64(64, "m"))])
    assert [of.ticks.tolist() for of in ours] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert ticks(first, first + np.timedelta64(14, "m"))[1] == [1, 2, 3, 4, 5, 6]


def test_files_of_another_sampling_step_have_their_own_ticks():
    hourly = np.datetime64("2024-01-01") + np.arange(9) * np.timedelta64(1, "h")
    daily = np.datetime64("2024-01-01") + np.arange(4) * np.timedelta64(1, "D")
    of = assign_ticks([parse_times(values, "time", "here") for values in (hourly, daily)])
    assert [each.ticks.tolist() for each in of] == [list(range(9)), list(range(4))]
    assert [each.step for each in of] == ["1 h", "1 d"]


def test_single_frames_take_the_step_of_all_files():
    hours = [np.array([f"2024-01-01T{hour:02}"], "M8[h]") for hour in (3, 4, 6)]
    assert ticks(*hours) == [[0], [1], [3]]
    assert ticks([5.0]) == [[0]]


def test_every_way_of_writing_a_time():
    assert seconds([20140301, 20140302]) == [since_1970(2014, 3, 1), since_1970(2014, 3, 2)]
    assert seconds([b"2014030123", b"2014030200"]) == [since_1970(2014, 3, 1, 23), since_1970(2014, 3, 2)]
    assert seconds(["201403012315"]) == [since_1970(2014, 3, 1, 23, 15)]
    assert seconds(np.array(["20140301231559"], object)) == [since_1970(2014, 3, 1, 23, 15, 59)]
    assert seconds(["2014-03-01T23:15", "2014-03-02 00:00:01"]) == [
        since_1970(2014, 3, 1, 23, 15),
        since_1970(2014, 3, 2, 0, 0, 1),
    ]
    assert seconds(["2014-03-01T23:15:00Z", "2014-03-01T23:15+02:00"]) == [
        since_1970(2014, 3, 1, 23, 15),
        since_1970(2014, 3, 1, 21, 15),
    ]
    assert seconds(["2014-03"]) == [since_1970(2014, 3, 1)]
    assert seconds(np.array(["1969-12-31T23:59"], "M8[ns]")) == [-60]


def test_deepsts_slots_are_half_hours_once_one_is_beyond_24():
    assert seconds([b"2014022848", b"2014030101"]) == [since_1970(2014, 2, 28, 23, 30), since_1970(2014, 3, 1)]
    assert seconds([b"2014022824", b"2014030101"]) == [since_1970(2014, 3, 1), since_1970(2014, 3, 1, 1)]


def test_numbers_stay_numbers():
    for values in ([0, 1, 2], [1.5, 2.5], [1_400_000_000, 1_400_000_300], [20149901, 20149902]):
        assert not parse_times(np.asarray(values), "time", "here").dated
    assert ticks([1_400_000_000, 1_400_000_300, 1_400_000_900]) == [[0, 1, 3]]
    (of,) = assign_ticks([parse_times(np.arange(4), "hours_since_1970", "here")])
    assert of.step == "1 h"


@pytest.mark.parametrize(
    "values",
    [["2014-02-30"], ["noon"], [b"2014133100"], [b"2014030149"], ["20140301246000"], [""], np.array(["NaT"], "M8[s]")],
)
def test_what_is_no_time_is_named(values):
    with pytest.raises(InputError, match="here: time stamp 0 in 'date' is .*; expected .*time=none"):
        parse_times(np.asarray(values), "date", "here")


def test_numbers_that_are_none_are_named():
    with pytest.raises(InputError, match="time stamp 1 in 'date' is nan; expected a number"):
        parse_times(np.array([1, np.nan]), "date", "here")
    with pytest.raises(InputError, match="here: time stamp 1 in .* is nan; expected a number"):
        decode_times(np.array([1, np.nan]), "time", {"units": "hours since 2020-01-01"}, "here")
    with pytest.raises(InputError, match="are complex128; expected dates, numbers or text"):
        parse_times(np.array([1j]), "date", "here")


def test_remarks_count_repeats_returns_and_gaps():
    (of,) = assign_ticks([parse_times(np.array([0, 1, 2, 1, 2, 3, 8, 9]), "frame", "here")])
    assert of.ticks.tolist() == [0, 1, 2, 1, 2, 3, 8, 9]
    assert of.remarks == (
        "2 time stamps occur more than once",
        "time goes backwards in 1 place",
        "1 gap, the longest of 4 steps",
    )


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (3.6e9, "1 h"),
        (3e8, "5 min"),
        (299_999_999, "5 min"),
        (8.64e10, "1 d"),
        (4e4, "40 ms"),
        (1e6 / 29.97, "33.37 ms"),
        (1.5e6, "1.5 s"),
    ],
)
def test_steps_are_written_for_people(microseconds, text):
    assert format_duration(microseconds) == text


@pytest.mark.parametrize("units", ["Hours Since 2020-01-01", "HOURS SINCE 2020-01-01 00:00:00", "hours  since 2020-01-01"])
def test_units_of_any_case_and_spacing_have_an_origin(units):
    axis = decode_times(np.array([0, 6]), "time", {"units": units}, "here")
    assert axis.dated
    assert axis.values.astype("M8[us]").tolist() == [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, 6)]


def test_a_missing_date_is_named():
    dates = np.array(["2020-01-01T00", "NaT", "2020-01-01T02"], "M8[h]")
    with pytest.raises(
        InputError, match=r"time stamp 1 in 'time' is NaT \(missing\); expected a time for each frame, or ignore"
    ):
        parse_times(dates, "time", "a.npz")


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("units", ["hours since 2026-05-01", "nanoseconds since 2026-05-01", ""])
def test_nat_that_is_stored_as_the_least_integer_is_named_wherever_it_lies(place, units):
    stored = np.arange(5) * np.timedelta64(1, "ns")
    stored[place] = "NaT"
    with pytest.raises(
        InputError,
        match=rf"a.nc: time stamp {place} in 'time' is NaT \(missing, .*expected a time for each frame, .*data.time=none",
    ):
        decode_times(stored.astype(np.int64), "time", {"units": units}, "a.nc")


@pytest.mark.parametrize(
    ("units", "calendar", "date"),
    [
        ("hours since yesterday", "standard", "yesterday"),
        ("days since 2026-02-30", "gregorian", "2026-02-30"),
        ("days since 2026-02-29", "noleap", "2026-02-29"),
        ("months since 2026-13-01", "standard", "2026-13-01"),
        ("days since 2026/05/01", "standard", "2026/05/01"),
        ("hours since 2026-01-01 25:00", "standard", "2026-01-01 25:00"),
    ],
)
def test_units_since_what_is_no_date_are_refused(units, calendar, date):
    with pytest.raises(InputError, match=f"a.nc: the times in 'time' .*'{units}', of which '{date}' is no date; .*time=none"):
        decode_times(np.arange(3), "time", {"units": units, "calendar": calendar}, "a.nc")


@pytest.mark.parametrize(
    ("units", "calendar"),
    [("days since 2026-02-30", "360_day"), ("days since 0000-01-00", "standard"), ("months since 2026-01-01", "standard")],
)
def test_units_of_other_calendars_and_of_the_year_0_are_numbers(units, calendar):
    times = decode_times(np.arange(3), "time", {"units": units, "calendar": calendar}, "a.nc")
    assert not times.dated
    assert times.values.tolist() == [0, 1, 2]


def test_days_since_a_year_before_1_are_read_and_continued_without_a_warning():
    days = np.array([2459000, 2459001, 2459002])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        times = decode_times(days, "time", {"units": "days since -4713-01-01"}, "a.nc")
        further = continue_times(times, np.zeros(0, int), 2, 2)
    assert further.stored.tolist() == [2459003, 2459004]


@pytest.mark.parametrize(
    ("dates", "expected", "step"),
    [
        (["2020-01", "2020-02", "2020-03", "2023-03", "2030-03"], [0, 1, 2, 38, 122], "1 month"),
        (["2020-01-31", "2020-02-29", "2020-03-31", "2023-03-31"], [0, 1, 2, 38], "1 month"),
        (["2020-01-15T12", "2020-04-15T12", "2020-07-15T12", "2021-07-15T12"], [0, 1, 2, 6], "3 months"),
        (["2000-06-01", "2001-06-01", "2002-06-01", "2052-06-01"], [0, 1, 2, 52], "1 year"),
        (["2020-01-30", "2020-02-29", "2020-03-30"], [0, 1, 2], "30 d"),
    ],
)
def test_months_are_steps_of_the_calendar(dates, expected, step):
    (found,) = assign_ticks([parse_times(np.array(dates, "M8[h]"), "time", "a.npz")])
    assert (found.ticks.tolist(), found.step) == (expected, step)


def dated(offsets, unit="s"):
    return parse_times(np.datetime64("2026-06-01", "s") + np.asarray(offsets) * np.timedelta64(1, unit), "time", "a.nc")


@pytest.mark.parametrize("seed", range(4))
def test_jitter_leaves_the_step_that_the_whole_span_has(seed):
    jitter = np.random.default_rng(seed).integers(-20, 21, 30)
    times = dated(np.arange(30) * 300 + jitter)
    (found,) = assign_ticks([times])
    assert (found.ticks.tolist(), found.step, found.remarks) == ([*range(30)], "5 min", ())
    further = continue_times(times, np.zeros(0, int), 29, 2)
    assert (further.values - times.values[-1]).tolist() == [300_000_000, 600_000_000]
    seconds_since = decode_times(np.arange(30) * 300 + jitter, "time", {"units": "seconds since 2026-06-01"}, "a.nc")
    further = continue_times(seconds_since, np.zeros(0, int), 29, 2)
    assert (further.stored - seconds_since.stored[-1]).tolist() == [300, 600]


def test_an_extra_frame_between_two_others_is_a_jump():
    (found,) = assign_ticks([dated([0, 60, 120, 150, 180, 240], "m")])
    assert [(run.first, run.frames) for run in split_at_jumps(found.ticks)] == [(0, 3), (3, 1), (4, 2)]
    assert found.step == "1 h"
    assert found.remarks == (
        "2 intervals of another length than the step (1 h), the first before frame 3 (2026-06-01T02:30, 30 min after the frame "
        "before it); no window crosses them",
    )


def test_frames_at_a_second_rate_are_in_no_window():
    for first, second in ((3600, 600), (900, 600), (900, 1260)):
        times = np.cumsum([0] + [first] * 15 + [second] * 14)
        (found,) = assign_ticks([dated(times)])
        runs = [(run.first, run.frames) for run in split_at_jumps(found.ticks)]
        assert runs == [(0, 16), *((place, 1) for place in range(16, 30))]
        assert found.remarks[0].startswith("14 intervals of another length than the step")


def test_irregular_times_are_jumps_throughout_with_one_remark():
    rng = np.random.default_rng(0)
    for offsets in (
        np.cumsum(np.r_[0, rng.integers(1, 9, 29)]) * 3600,
        np.sort(np.arange(30) * 300 + rng.integers(-140, 141, 30)),
    ):
        (found,) = assign_ticks([dated(offsets)])
        assert (np.diff(found.ticks) > 1).all()
        (remark,) = found.remarks
        assert remark.startswith("times are irregular")


def test_files_of_5_and_7_minutes_keep_their_own_steps():
    found = assign_ticks([dated(np.arange(9) * 5, "m"), dated(np.arange(9) * 7, "m")])
    assert [(each.step, each.ticks.tolist()) for each in found] == [("5 min", [*range(9)]), ("7 min", [*range(9)])]


def test_times_in_reverse_order_name_the_remedy():
    (found,) = assign_ticks([dated(np.arange(9)[::-1], "h")])
    assert found.step == "1 h"
    assert found.remarks == (
        "the frames are in reverse order of time, and no window has them; sort them by time, with xarray: ds.sortby('time')",
    )


def test_a_longer_interval_is_not_taken_for_the_step():
    months = np.array(["2020-01", "2020-04", "2020-07", "2020-11", "2021-02", "2021-05"], "M8[M]")
    (found,) = assign_ticks([parse_times(months, "time", "a.nc")])
    assert found.step == "3 months"
    assert [(run.first, run.frames) for run in split_at_jumps(found.ticks)] == [(0, 3), (3, 3)]
    assert found.remarks[0].startswith(
        "1 interval of another length than the step (3 months), the first before frame 3 (2020-11, 4 months after"
    )
    assert sampling_step([np.cumsum([3] * 9 + [4] + [3] * 9)]) == 3


def test_months_since_a_date_are_months():
    times = decode_times(np.arange(0, 36, 3), "time", {"units": "months since 2000-01-01"}, "a.nc")
    (found,) = assign_ticks([times])
    assert (found.step, found.ticks.tolist()) == ("3 months", [*range(12)])
