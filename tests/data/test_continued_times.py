"""Times continue as the file writes them, by its calendar."""

import calendar
import dataclasses

import numpy as np
import pytest

from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.times import parse_times


@pytest.mark.parametrize(
    ("stored", "further"),
    [
        (np.array(["2020-02-28T22", "2020-02-28T23"], "M8[h]"), np.array(["2020-02-29T00", "2020-02-29T01"], "M8[h]")),
        (["2019123122", "2019123123"], ["2020010100", "2020010101"]),
        ([b"2014123147", b"2014123148"], [b"2015010101", b"2015010102"]),  # DeepST's half hours
        (["2020-01-01 23:30", "2020-01-01 23:45"], ["2020-01-02 00:00", "2020-01-02 00:15"]),
        (["2020-01-31T23:59:58Z", "2020-01-31T23:59:59Z"], ["2020-02-01T00:00:00Z", "2020-02-01T00:00:01Z"]),
        ([20191231, 20200101], [20200102, 20200103]),
        ([20191231.0, 20200101.0], [20200102.0, 20200103.0]),
        ([2019123122.0, 2019123123.0], [2020010100.0, 2020010101.0]),
        ([20200101.0, 20200201.0, 20200301.0], [20200401.0, 20200501.0]),
        ([20200101, 20200201, 20200301], [20200401, 20200501]),  # months, not 29 or 31 days
        (["2020-10-31", "2020-11-30", "2020-12-31"], ["2021-01-31", "2021-02-28"]),
        (["2020-01", "2020-02", "2020-03"], ["2020-04", "2020-05"]),
        (np.array(["2021-07", "2021-08", "2021-09"], "M8[M]"), np.array(["2021-10", "2021-11"], "M8[M]")),
        (["2020-11-29", "2020-12-29", "2021-01-29"], ["2021-02-28", "2021-03-29"]),
        (["2020-01-30", "2020-02-29", "2020-03-30"], ["2020-04-29", "2020-05-29"]),  # every 30 days
        (["2021-01-30", "2021-02-27", "2021-03-30"], ["2021-04-29", "2021-05-30"]),  # the last day but one
        (["2021-06-29", "2021-07-30", "2021-08-30"], ["2021-09-30", "2021-10-31"]),  # every 31 days, not the last but one
        (["2020-02-01", "2020-03-01", "2020-04-01", "2020-06-01", "2020-07-01", "2020-08-01"], ["2020-09-01", "2020-10-01"]),
        (  # twice a month
            ["2020-12-01", "2020-12-16", "2021-01-01", "2021-01-16", "2021-02-01", "2021-02-16"],
            ["2021-03-01", "2021-03-16"],
        ),
        (  # dekads
            [20201221, 20210101, 20210111, 20210121, 20210201, 20210211, 20210221, 20210301, 20210311],
            [20210321, 20210401],
        ),
        (["2021-01-02", "2021-01-16", "2021-01-30", "2021-02-13", "2021-02-27", "2021-03-13"], ["2021-03-27", "2021-04-10"]),
        (  # the middle of months, as climate models have it
            np.array(["2019-11-16T00", "2019-12-16T12", "2020-01-16T12", "2020-02-15T12"], "M8[h]"),
            np.array(["2020-03-16T12", "2020-04-16T00"], "M8[h]"),
        ),
        (np.array([126, 127], np.int8), np.array([128, 129])),  # which the file's type cannot hold
        (np.array([-3, -2], np.int8), np.array([-1, 0], np.int8)),
        ([3, 5, 7], [9, 11]),
        ([0.5, 1.0], [1.5, 2.0]),
    ],
)
def test_times_go_on_as_they_are_written(stored, further):
    stamps = parse_times(np.asarray(stored), "time", "a.npz")
    found = continue_times(stamps, np.zeros(0, int), len(stored) - 1, 2)
    assert found.stored.tolist() == np.asarray(further).tolist()
    assert found.stored.dtype == np.asarray(further).dtype


def date_of(year, month, day):
    """Of the month that so many make, by the calendar module."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return np.datetime64(f"{year}-{month:02}-{min(day, calendar.monthrange(year, month)[1]):02}T06", "h")


@pytest.mark.parametrize("day", [1, 15, 28, 29, 30, 31])
@pytest.mark.parametrize("apart", [1, 3, 12])
@pytest.mark.parametrize("units", ["", "hours since 2000-01-01", "days since 1850-01-01 03:00"])
def test_months_and_years_go_on_by_the_calendar(day, apart, units):
    for first in range(1, 13):
        dates = np.array([date_of(2021, first + apart * place, day) for place in range(11)])
        stored = dates
        if units:
            origin = np.datetime64(units.split(" since ")[1].replace(" ", "T"), "h")
            stored = (dates - origin) / np.timedelta64(1, units[0] if units[0] == "h" else "D")
        attributes = {"units": units} if units else {}
        seen = dataclasses.replace(parse_times(dates, "time", "a.nc"), stored=stored, attributes=attributes)
        after = 4 if day > 28 else 2  # days that no month lacks are told apart by three
        found = continue_times(seen, np.arange(after + 1), after, 10 - after)
        assert found.values.astype("M8[us]").astype("M8[h]").tolist() == dates.tolist()
        assert found.stored.tolist() == stored.tolist()
