"""Moments that a user names are found on every kind of time axis."""

import cftime
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.moments import moment_on_axis
from stlight_jax.data.times import decode_times, parse_times


def axis_since(units, calendar="standard", count=800):
    return decode_times(np.arange(count, dtype=np.float64), "time", {"units": units, "calendar": calendar}, "a.nc")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2019", "2019-01-01"),
        ("2019-03", "2019-03-01"),
        ("2019-03-20", "2019-03-20"),
        ("20190320", "2019-03-20"),
        ("2019032006", "2019-03-20T06:00"),
        ("2019-03-20T06", "2019-03-20T06:00"),
        ("2019-03-20 06:30", "2019-03-20T06:30"),
        ("2019-03-20T06:30:15+02:00", "2019-03-20T04:30:15"),
    ],
)
def test_dates_of_the_usual_calendar_are_found(moment, expected):
    times = parse_times(np.array(["2019-03-01", "2019-03-30"], "M8[D]"), "time", "a.npz")
    assert moment_on_axis(times, moment, "data.test_from", "a.npz") == np.datetime64(expected, "us").astype(np.int64)
    assert moment_on_axis(axis_since("hours since 2019-03-01"), moment, "data.test_from", "a.nc") == np.datetime64(
        expected, "us"
    ).astype(np.int64)


@pytest.mark.parametrize("calendar", ["noleap", "365_day", "360_day", "all_leap", "366_day", "julian"])
def test_dates_of_other_calendars_are_found(calendar):
    units = "days since 2000-01-01 12:00"
    times = axis_since(units, calendar)
    for number in (0, 58, 365, 700):
        date = cftime.num2date(number, units, calendar)
        assert moment_on_axis(times, date.strftime("%Y-%m-%dT%H:%M:%S"), "data.test_from", "a.nc") == number
    month = cftime.date2num(cftime.datetime(2001, 2, 1, calendar=calendar), units, calendar)
    assert moment_on_axis(times, "2001-02", "data.test_from", "a.nc") == month


def test_the_absolute_dates_of_climate_models_are_found():
    dates = np.array([19991230.5, 20000101.5, 20000201.5])
    times = decode_times(dates, "time", {"units": "day as %Y%m%d.%f", "calendar": "360_day"}, "a.nc")
    found = moment_on_axis(times, "2000-01-15", "data.test_from", "a.nc")
    np.testing.assert_array_equal(times.values >= found, [False, False, True])


@pytest.mark.parametrize(("moment", "expected"), [("1990", 0), ("1991-03", 14), ("2005-07-01", 186)])
def test_months_since_a_date_are_counted(moment, expected):
    assert moment_on_axis(axis_since("months since 1990-01-01"), moment, "data.test_from", "a.nc") == expected


def test_numbers_are_compared_with_numbers():
    years = parse_times(np.arange(1800, 2000), "year", "a.npz")
    assert moment_on_axis(years, "1950", "data.test_from", "a.npz") == 1950
    assert moment_on_axis(parse_times(np.arange(9) / 4, "s", "a.npz"), "1.25", "data.test_from", "a.npz") == 1.25


@pytest.mark.parametrize(
    ("times", "moment", "message"),
    [
        (parse_times(np.array(["2019-03-01", "2019-03-30"], "M8[D]"), "day", "a"), "march", "'day', 2019-03-01 to 2019-03-30"),
        (parse_times(np.array(["2019-03-01"], "M8[D]"), "day", "a"), "2019-02-30", "expected a date, such as 2019-03-20"),
        (axis_since("days since 2000-01-01", "noleap"), "2000-02-29", "expected a date of the calendar noleap"),
        (parse_times(np.arange(1800, 2000), "year", "a"), "1950-01-01", "'year', 1800 to 1999; expected a number"),
        (parse_times(np.arange(5), "step", "a"), "nan", "expected a number in the unit of these times"),
    ],
)  # fmt: skip
def test_other_text_is_refused(times, moment, message):
    with pytest.raises(InputError, match=message) as caught:
        moment_on_axis(times, moment, "data.test_from", "a.nc")
    assert str(caught.value).startswith(f"data.test_from is '{moment}'; the times of a.nc are")
    assert "\n" not in str(caught.value)
