"""The arrays of an output file: frames that continue a source's, with attributes, packing, dimensions and coordinates.

One plan for every format with named dimensions; a format's writer only creates the arrays of the plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.continued_times import to_datetime64
from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.named_arrays import is_dated, is_time_name
from stlight_jax.data.formats.output_spec import OutputSpec, free_name
from stlight_jax.data.formats.stored_arrays import StoredArray
from stlight_jax.data.formats.value_conversion import reorder_axes, to_dtype

_DIMENSION_NAMES = {"n": "sequence", "h": "y", "w": "x", "c": "channel"}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_OUTER = "nWLt"  # letters of the dimensions before those of a frame, with windows and lead times, in the output's order
_COPIED_KINDS = "biufSUO"


class WrittenArray(NamedTuple):
    """An array to write.

    Attributes:
      key: its name, with its groups.
      dims: names of its dimensions, with their groups.
      dtype: its element type.
      attributes: its attributes, without that of the fill value.
      fill: the stored number that marks missing values, or None.
      values: its values; None for the frames.
    """

    key: str
    dims: tuple[str, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]
    fill: float | None = None
    values: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class WritingPlan:
    """The arrays of a file, and how frames become stored numbers.

    Attributes:
      frames: the array of frames.
      coordinates: all other arrays.
      sizes: the sizes of all dimensions.
      unlimited: dimensions that can grow.
      groups: attributes of groups; "" is the root.
      spec: the frames' description.
      letters: a letter of "nthwc" for each dimension of the frames; "W" for windows, "L" for lead times.
      scale: stored numbers are divided by it.
      offset: subtracted before.
    """

    frames: WrittenArray
    coordinates: tuple[WrittenArray, ...]
    sizes: Mapping[str, int]
    unlimited: Collection[str]
    groups: Mapping[str, Mapping[str, Any]]
    spec: OutputSpec
    letters: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the frames."""
        return tuple(self.sizes[dim] for dim in self.frames.dims)

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape of a frame, with 1 along all other dimensions."""
        return tuple(size if letter in "hwc" else 1 for size, letter in zip(self.shape, self.letters, strict=True))

    def place(self, frame: np.ndarray, index: int) -> tuple[tuple[Any, ...], np.ndarray]:
        """Returns where a frame lies in the array, and its stored numbers.

        Args:
          frame: float32 `[h, w, c]` in the data's units, NaN where values are missing.
          index: its index in the output.
        """
        values = reorder_axes(frame, "".join(letter for letter in self.letters if letter in "hwc"))
        is_packed = (self.scale, self.offset) != (1.0, 0.0)
        if is_packed:
            values = (values.astype(np.float64) - self.offset) / self.scale
        outer = sorted((letter for letter in self.letters if letter in _OUTER), key=_OUTER.index)
        indices = dict(zip(outer, np.unravel_index(index, self.spec.outer_shape), strict=True))
        key = tuple(int(indices[letter]) if letter in indices else slice(None) for letter in self.letters)
        overflow = self.spec.overflow if is_packed or not self.spec.is_eight_bit else None
        return key, to_dtype(values, self.frames.dtype, self.frames.fill, overflow)


def plan_arrays(spec: OutputSpec, *, keeps_groups: bool = True, text_dates: bool = False) -> WritingPlan:
    """Returns the arrays of a file of these frames.

    A source whose dimensions have names is continued under them, with the coordinates of those whose sizes stay.

    Args:
      spec: the frames.
      keeps_groups: whether the groups in the name of a source without names of dimensions are kept, too.
      text_dates: whether datetime64 is written as text, not as numbers since 1970.
    """
    source = spec.source.array
    named = source is not None and bool(source.dims) and all(source.dims)
    key = spec.key if named or keeps_groups else spec.key.rpartition("/")[2]
    dims, sizes, windows = _dimensions(spec, key, named, keeps_groups)
    frames, scale, offset = _frames_array(spec, key, tuple(dims))
    coordinates = _time_arrays(spec, dims, windows, text_dates)
    groups: dict[str, Mapping[str, Any]] = {}
    unlimited: Collection[str] = ()
    if named and source is not None and spec.source.file is not None:
        coordinates += _kept_coordinates(spec, source, dims, sizes, {item.key for item in (frames, *coordinates)})
        parents = [key.rsplit("/", depth)[0] for depth in range(1, key.count("/") + 1)]
        groups = {name: portable_attributes(spec.source.file.groups.get(name, {})) for name in ("", *parents)}
        unlimited = [dim for dim in spec.source.file.unlimited if dim in dims]
    return WritingPlan(frames, tuple(coordinates), sizes, unlimited, groups, spec, tuple(dims.values()), scale, offset)


def portable_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the attributes that every format can hold: text and numbers."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith(("_NC", "_nc3")):  # netCDF's own bookkeeping
            continue
        array = np.asarray(value)
        if isinstance(value, str) or (array.dtype.kind in "SUO" and array.size == 1 and isinstance(array.item(), str | bytes)):
            found[name] = cf.attribute_text(value)
        elif array.dtype.kind in "iuf" and array.size:
            found[name] = value
        elif array.dtype.kind == "b" and array.size:
            found[name] = array.astype(np.int8)
    return found


class _WindowNames(NamedTuple):
    """Names of the dimensions of windows, and of the arrays along them."""

    window: str
    lead: str
    start: str
    start_time: str


def _dimensions(
    spec: OutputSpec, key: str, named: bool, keeps_groups: bool
) -> tuple[dict[str, str], dict[str, int], _WindowNames]:
    """Returns the letters of the dimensions in their order, their sizes, and names for windows."""
    source, time = spec.source.array, "" if spec.times is None else spec.times.key
    letters: dict[str, str] = {}
    if named and source is not None:
        taken = {*source.dims, *(array.key for array in (spec.source.file.arrays if spec.source.file else ()))}
        letters = dict(zip(spec.source.axes, source.dims, strict=True))
        order = [letter for letter in spec.source.axes if letter in "nthwc"]
        group = source.dims[-1].rpartition("/")[0]
    else:
        taken, group = {key}, ""
        order = [*("n" if spec.items is not None else ""), "t", *spec.axes]
    prefix = f"{group}/" if group else ""
    order = order if "t" in order else ["t", *order]
    order += ["c"] if "c" not in order and spec.shape[-1] > 1 else []
    names = {"t": (time.rpartition("/")[2] if named or not keeps_groups else time) or "time", **_DIMENSION_NAMES}
    for letter in ("t", *order):
        if letter not in letters:
            letters[letter] = free_name(f"{prefix}{names[letter]}", [*taken, *letters.values()])
    base = letters["t"].rpartition("/")[2]
    windows = _WindowNames(
        *(free_name(f"{prefix}{name}", [*taken, *letters.values()]) for name in ("window", "lead", "start", f"start_{base}"))
    )
    dims: dict[str, str] = {}
    for letter in order:
        if letter == "t" and spec.window_starts is not None:
            dims |= {windows.window: "W", windows.lead: "L"}
        elif letter != "n" or spec.items is not None:  # without items, each has a file of its own
            dims[letters[letter]] = letter
    lengths = {"n": spec.items, "t": spec.frames, "L": spec.frames, **dict(zip("hwc", spec.shape, strict=True))}
    lengths["W"] = None if spec.window_starts is None else len(spec.window_starts)
    return dims, {dim: lengths[letter] or 0 for dim, letter in dims.items()}, windows


def _frames_array(spec: OutputSpec, key: str, dims: tuple[str, ...]) -> tuple[WrittenArray, float, float]:
    """Returns the array of frames, its scale and its offset, with all attributes of the source that still hold."""
    source = spec.source.array
    if source is None:
        return WrittenArray(key, dims, spec.dtype, {}, spec.fill), 1.0, 0.0
    implied = None if source.implied_fill is None else source.implied_fill[0]
    stored = source.dtype.newbyteorder("=")
    rules = cf.read_rules(source.key, source.attributes, source.dtype, implied)
    # The source's element type is that of unpacked values.
    other_dtype = spec.dtype_requested and (rules.is_packed or stored != spec.dtype)
    keeps_dtype = spec.dtype == spec.source.dtype and rules.stored_dtype == stored and not other_dtype
    attributes = {name: value for name, value in portable_attributes(source.attributes).items() if not cf.changes_values(name)}
    if not keeps_dtype:
        return WrittenArray(key, dims, spec.dtype, attributes, spec.fill), 1.0, 0.0
    fill = cf.declared_fill(source.attributes, stored)
    marks = rules.is_packed or rules.is_bounded or any(map(cf.is_fill_name, source.attributes))
    if fill is None and stored.kind in "iu" and (marks or spec.dtype != stored):
        fill = cf.DEFAULT_FILLS[stored.str[1:]] if implied is None else implied
    if fill is None and not rules.is_packed:
        fill = spec.fill
    if rules.is_packed:
        attributes |= dict(zip(cf.PACKING, (rules.scale, rules.offset), strict=True))
        kept = [name for name in cf.PACKING if name in source.attributes]
        attributes = {name: value for name, value in attributes.items() if name not in cf.PACKING or not kept or name in kept}
    if "missing_value" in source.attributes and fill is not None:
        attributes["missing_value"] = stored.type(fill)
    return WrittenArray(key, dims, stored, attributes, fill), rules.scale, rules.offset


def _time_arrays(spec: OutputSpec, dims: Mapping[str, str], windows: _WindowNames, text_dates: bool) -> list[WrittenArray]:
    """Returns the moments of the frames, or the starts of windows, their moments and the lead times."""
    arrays, by_letter = [], {letter: dim for dim, letter in dims.items()}
    key = dim = by_letter.get("t", "")
    if spec.window_starts is not None:
        key, dim = windows.start_time, windows.window
        starts, leads = np.asarray(spec.window_starts, np.int64), np.arange(1, spec.frames + 1, dtype=np.int32)
        arrays.append(WrittenArray(windows.start, (windows.window,), starts.dtype, {}, None, starts))
        arrays.append(WrittenArray(windows.lead, (windows.lead,), leads.dtype, {}, None, leads))
    elif spec.times is not None and spec.source.array is not None and spec.times.key:
        key = spec.times.key
    if spec.times is None:
        return arrays
    times, values = spec.times, spec.times.stored
    attributes = portable_attributes({name: value for name, value in times.attributes.items() if not cf.changes_values(name)})
    attributes.pop("bounds", None)
    if times.dated and values.dtype.kind not in "iuf" and not text_dates:
        values = to_datetime64(times)
        units = f"{_UNIT_NAMES[np.datetime_data(values.dtype)[0]]} since 1970-01-01 00:00:00"
        values = values.astype(np.int64)
        attributes = {"units": units, "calendar": "proleptic_gregorian", "standard_name": "time"}
    if values.dtype.kind in "MSUO":
        texts = values.astype(str).tolist() if values.dtype.kind == "M" else values.tolist()
        values = np.array([item.decode() if isinstance(item, bytes) else str(item) for item in texts])
    return [*arrays, WrittenArray(key, (dim,), values.dtype, attributes, None, values)]


def _kept_coordinates(
    spec: OutputSpec, source: StoredArray, dims: Mapping[str, str], sizes: dict[str, int], written: Collection[str]
) -> list[WrittenArray]:
    """Returns the arrays of the source that do not depend on time along dimensions whose sizes stay, and bounds of cells.

    Sizes of further dimensions of bounds are added to `sizes`.
    """
    assert spec.source.file is not None
    lengths = dict(zip(source.dims, source.shape, strict=True))
    kept = {dim for dim, letter in dims.items() if letter in "nhwc" and lengths.get(dim) == sizes[dim]}
    others = {
        array.key: array
        for array in spec.source.file.arrays
        if array.dtype.kind in _COPIED_KINDS and len(array.dims) == len(array.shape) and array.key not in written
    }
    moments = [key for key, array in others.items() if not array.dims and (is_time_name(key) or is_dated(array))]
    wanted = [key for key, array in others.items() if {*array.dims} <= kept and key not in (source.key, *moments)]
    for key in list(wanted):
        bounds = cf.attribute_text(others[key].attributes.get("bounds", ""))
        bounds = f"{key.rpartition('/')[0]}/{bounds}".lstrip("/")
        if bounds in others and bounds not in wanted and kept >= {*others[bounds].dims[:-1]}:
            wanted.append(bounds)
            sizes.setdefault(others[bounds].dims[-1], others[bounds].shape[-1])
    results = []
    for key in wanted:
        array = others[key]
        with array.opened() as stored:
            values = np.asarray(stored[tuple(slice(None) for _ in array.shape)])
        attributes = portable_attributes(array.attributes)
        attributes.pop("_FillValue", None)
        fill = cf.declared_fill({"_FillValue": array.attributes.get("_FillValue", "")}, array.dtype)
        results.append(WrittenArray(key, array.dims, array.dtype.newbyteorder("="), attributes, fill, values))
    return results
