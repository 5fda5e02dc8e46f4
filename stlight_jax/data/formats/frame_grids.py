"""The grids of frames: the coordinates of their rows, columns and pixels, and which way they go."""

import contextlib
import hashlib
import math
import re
from collections.abc import Mapping

import numpy as np

from stlight_jax.data.formats.cf_attributes import attribute_text
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.errors import InputError

_MAX_DIGESTED = 2**18  # values of the coordinates of a grid
_ROUNDING = 0.01  # of the distance of pixels
_NORTHWARD = re.compile(
    r"(grid_)?latitudes?|lats?|[xyg]?lat|rlat|nav_lat|projection_y_coordinate|northing|south_north|degrees?_?n(orth)?"
)

_Grid = Mapping[str, np.ndarray]


def grid_coordinates(file: ArrayFile | None, array: StoredArray | None, axes: str) -> list[StoredArray]:
    """Returns the coordinates of the rows, of the columns and of the pixels of an array, as far as its file has them."""
    if array is None or file is None or not array.dims:
        return []
    dims = {dim for dim, letter in zip(array.dims, axes, strict=True) if letter in "hw"}
    found = [coordinate for dim in sorted(dims) for coordinate in file.along(dim)[:1]]
    named = attribute_text(array.attributes.get("coordinates", "")).split()
    return found + [other for other in file.arrays if other.key in named and len(other.shape) == 2 and {*other.dims} == dims]


def grid_digest(file: ArrayFile, coordinates: list[StoredArray], digests: dict[tuple[str, ...], str]) -> str:
    """Returns a digest of the names and values of coordinates, read as long as the file is open; "" if they are large.

    Args:
      file: the file.
      coordinates: the coordinates of a grid.
      digests: those of other grids of this file by the names of their coordinates; gets this one.
    """
    keys = tuple(coordinate.key for coordinate in coordinates)
    if keys not in digests:
        digests[keys], digest = "", hashlib.sha256()
        if sum(math.prod(coordinate.shape) for coordinate in coordinates) <= _MAX_DIGESTED:
            with contextlib.suppress(InputError), read_errors(file.path):  # damage matters where grids are compared only
                for coordinate in coordinates:
                    with coordinate.opened() as stored:
                        values = np.asarray(stored[...])
                    digest.update(repr((coordinate.key, values.dtype.str, values.shape)).encode())
                    digest.update(values.tobytes() if values.dtype.kind != "O" else repr(values.tolist()).encode())
                digests[keys] = digest.hexdigest()
    return digests[keys]


def by_grid(group: list[FrameSource]) -> list[list[FrameSource]]:
    """Divides sources by the coordinates of their pixels."""
    if len(group) == 1:
        return [group]
    grids: list[tuple[_Grid, list[FrameSource]]] = []
    by_digest: dict[str, list[FrameSource]] = {}
    for source in group:
        if source.info.grid in by_digest:  # no need to open the file again
            by_digest[source.info.grid].append(source)
            continue
        grid = grid_of(source)
        members = next((members for other, members in grids if not unlike_coordinate(grid, other)), None)
        if members is None:
            members = []
            grids.append((grid, members))
        members.append(source)
        if source.info.grid:
            by_digest[source.info.grid] = members
    return [members for _, members in grids]


def grid_of(source: FrameSource) -> _Grid:
    """Returns the coordinates of rows, of columns and of pixels by their names, as far as the file has them."""
    info = source.info
    grid = {}
    for coordinate in grid_coordinates(info.file, info.array, info.axes):
        with read_errors(info.path), coordinate.opened() as values:
            grid[coordinate.key] = np.asarray(values[...])
    return grid


def unlike_coordinate(grid: _Grid, other: _Grid) -> str:
    """Returns the name of a coordinate that differs by more than rounding, or that one grid lacks; else ""."""
    for key in sorted({*grid, *other}):
        values, others = grid.get(key), other.get(key)
        if values is None or others is None or values.shape != others.shape:
            return key
        if values.dtype.kind not in "iuf" or others.dtype.kind not in "iuf":
            same = np.array_equal(values, others)
        else:
            steps = np.abs(np.diff(values.astype(np.float64), axis=-1))
            cell = np.nanmedian(steps).item() if steps.size else 0.0
            same = np.allclose(values, others, rtol=1e-6, atol=_ROUNDING * cell, equal_nan=True)
        if not same:
            return key
    return ""


def rows_go_north(file: ArrayFile | None, array: StoredArray, axes: str) -> bool:
    """Returns whether the rows of an array go from south to north, by a coordinate whose name, or units, are a latitude's.

    Pictures have north up, so that such frames would be drawn upside down.

    Args:
      file: the file of the array; None if it names no arrays.
      array: the array.
      axes: a letter of "nthwc" for each of its axes.
    """
    if file is None or "h" not in axes:
        return False
    row_axis = axes.index("h")
    rows = array.dims[row_axis] if array.dims else ""
    for coordinate in grid_coordinates(file, array, axes) if rows else file.arrays:
        texts = [attribute_text(coordinate.attributes.get(name, "")) for name in ("standard_name", "units")]
        names = (coordinate.key.rpartition("/")[2], *texts)
        is_along = rows in coordinate.dims if rows else coordinate.shape[:1] == (array.shape[row_axis],)
        if not is_along or len(coordinate.shape) > 2 or not any(_NORTHWARD.fullmatch(name.lower()) for name in names):
            continue
        with read_errors(file.path), coordinate.opened() as stored:
            values = np.asarray(stored[tuple(slice(None) for _ in coordinate.shape)])
        values = np.moveaxis(values, coordinate.dims.index(rows) if rows else 0, 0)
        if values.dtype.kind in "iuf":
            return bool(np.mean(values[0]) < np.mean(values[-1]))
    return False
