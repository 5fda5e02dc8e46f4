"""Names that coordinates and dimensions of arrays usually have: of time, of rows and of columns."""

import re
from collections.abc import Sequence

_TIMES = re.compile(r"((valid|date)_?)?times?|dates?|time_?stamps?|t|(days|hours|minutes|seconds|milliseconds)(_.*)?")
_SPACE = re.compile(r"x|y|z|lats?|lons?|latitudes?|longitudes?|rows?|columns?|cols?|height|width|levels?|channels?")
_DIRECTIONS = {
    "x": re.compile(r"x|xc|rlon|lons?|longitudes?|degrees_?e(ast)?|projection_x_coordinate|grid_longitude|west_east|easting"),
    "y": re.compile(r"y|yc|rlat|lats?|latitudes?|degrees_?n(orth)?|projection_y_coordinate|grid_latitude|south_north|northing"),
}


def base_name(key: str) -> str:
    """Returns the name of an array or a dimension without those of its groups, in lower case."""
    return key.rsplit("/", 1)[-1].lower()


def is_time_name(key: str) -> bool:
    """Returns whether an array's name, without those of its groups, is one that time coordinates usually have."""
    return _TIMES.fullmatch(base_name(key)) is not None


def is_space_name(key: str) -> bool:
    """Returns whether an array's name, without those of its groups, is one that axes of space or channels usually have."""
    return _SPACE.fullmatch(base_name(key)) is not None


def side_of(names: Sequence[str]) -> str:
    """Returns "x" or "y" if one of the names or units is one that coordinates of columns or rows usually have, else ""."""
    return next((side for side, usual in _DIRECTIONS.items() if any(map(usual.fullmatch, names))), "")


def side_of_name(key: str) -> str:
    """Returns "x" or "y" if an array's name is one that coordinates of columns or rows usually have, else ""."""
    return side_of([base_name(key)])
