"""Dates in the names of files that are not written year first in 24 hours: 31-05-2026, 01Jun2026, 01.00.00 PM."""

import datetime
import re
from collections.abc import Sequence

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_WITH_MONTH_NAME = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<!\d)(?P<day>\d\d?)[-_. ]?{_MONTH}[-_. ]?{_YEAR}",
        rf"(?<![a-z]){_MONTH}[-_. ]?(?P<day>\d\d?)[-_., ]+{_YEAR}",
        rf"(?<!\d){_YEAR}[-_. ]?{_MONTH}[-_. ]?(?P<day>\d\d)",
        rf"(?<![a-z\d]){_MONTH}[-_. ]?{_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR}[-_. ]?{_MONTH}(?![a-z]|[-_. ]?\d)",
    )
)
_TWELVE_HOURS = re.compile(r"(?<!\d)(\d\d?)([-_.:]?)(\d\d)((?:\2\d\d)?)[\s_]?([ap])m(?![a-z])", re.IGNORECASE)
_YEAR_LAST = re.compile(r"(?<!\d)(\d\d)([-_.]?)(\d\d)\2((?:19|20)\d\d)(?!\d(?!\d{3}(?:\d\d)?(?!\d)))")
_HALF_OF_DAY = re.compile(r"\d[\s_]?[ap]m(?![a-z])", re.IGNORECASE)
NOT_READ = (
    "the names hold dates or times that are not read, and the order is that of the names; name the files by year, month, day "
    "and 24 hours, such as 20260601_1305"
)


def with_plain_dates(name: str) -> str:
    """Rewrites dates with an English month as YYYYMMDD or YYYYMM, and times of 12 hours as times of 24 hours."""
    for pattern in _WITH_MONTH_NAME:
        name = pattern.sub(_plain_date, name)
    return _TWELVE_HOURS.sub(_plain_time, name)


def with_year_first(names: Sequence[str]) -> tuple[list[str], str]:
    """Rewrites dates that end with the year as YYYYMMDD, if all names together show which number is the day.

    Args:
      names: names of files, without folders and endings.

    Returns:
      The names after `with_plain_dates`, rewritten; and a remark, "" without one.
    """
    names = [with_plain_dates(name) for name in names]
    if any(map(_HALF_OF_DAY.search, names)):
        return names, NOT_READ
    found = [_YEAR_LAST.search(name) for name in names]
    if not all(found):
        return names, ""
    fields = [match.groups() for match in found if match]
    orders = {
        order: moments
        for order, places in {"day, month": (3, 2, 0), "month, day": (3, 0, 2)}.items()
        if (moments := [_date(*(field[place] for place in places)) for field in fields]) and None not in moments
    }
    if not orders:
        return names, ""  # other numbers
    if len(orders) > 1 and len(set(map(str, orders.values()))) > 1:
        return names, NOT_READ
    order, moments = next(iter(orders.items()))
    rewritten = [
        f"{name[: match.start()]}{moment:%Y%m%d}{name[match.end() :]}"
        for name, match, moment in zip(names, found, moments, strict=True)
        if match and moment
    ]
    return rewritten, f"the dates in the names are read as {order}, year"


def _date(year: str, month: str, day: str) -> datetime.date | None:
    try:
        return datetime.date(int(year), int(month), int(day))
    except ValueError:
        return None


def _plain_date(match: re.Match[str]) -> str:
    month, fields = 1 + _MONTHS.index(match["month"].lower()[:3]), match.groupdict()
    if "day" not in fields:
        return f"{fields['year']}{month:02}"
    date = _date(match["year"], str(month), match["day"])
    return match[0] if date is None else f"{date:%Y%m%d}"


def _plain_time(match: re.Match[str]) -> str:
    hour, separator, minute, second, half = match.groups()
    if not 1 <= int(hour) <= 12:
        return match[0]
    return f"{int(hour) % 12 + 12 * (half.lower() == 'p'):02}{separator}{minute}{second}"
