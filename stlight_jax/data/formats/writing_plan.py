"""The plan of an output file: frames that continue a source's, with attributes, packing, dimensions and coordinates.

One plan for every format with named arrays; a format's writer only creates the arrays of the plan.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.kept_arrays import kept_arrays, without_dangling_names
from stlight_jax.data.formats.output_spec import OutputSpec, free_name
from stlight_jax.data.formats.value_conversion import reorder_axes, to_dtype
from stlight_jax.data.formats.written_arrays import WrittenArray, portable_attributes
from stlight_jax.data.formats.written_times import WINDOW_NAMES, DateForm, WindowNames, time_arrays

_DIMENSION_NAMES = {"n": "sequence", "h": "y", "w": "x", "c": "channel"}
_OUTER = "nWLt"  # letters of the dimensions before those of a frame, with windows and lead times, in the output's order


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


def plan_arrays(spec: OutputSpec, *, keeps_groups: bool = True, dates: DateForm = "numbers") -> WritingPlan:
    """Returns the arrays of a file of these frames.

    A source whose dimensions have names is continued under them. The arrays beside its frames that do not depend on time are
    kept.

    Args:
      spec: the frames.
      keeps_groups: whether the groups in the name of a source without names of dimensions are kept, too.
      dates: how moments are written that the source does not have as numbers.
    """
    source = spec.source.array
    named = source is not None and bool(source.dims) and all(source.dims)
    key = spec.key if named or keeps_groups else spec.key.rpartition("/")[2]
    dims, sizes, windows = _dimensions(spec, key, named, keeps_groups)
    frames, scale, offset = _frames_array(spec, key, tuple(dims))
    coordinates = time_arrays(spec, dims, windows, dates)
    groups: dict[str, dict[str, Any]] = {}
    unlimited: Collection[str] = ()
    if windows is not None and spec.window_times is not None:
        named_already = cf.attribute_text(frames.attributes.get("coordinates", ""))
        described = f"{named_already} {windows.frame_time.rpartition('/')[2]}".strip()
        frames = frames._replace(attributes={**frames.attributes, "coordinates": described})
    if source is not None and spec.source.file is not None:
        coordinates += kept_arrays(spec, source, dims, sizes, {item.key for item in (frames, *coordinates)})
    if named and spec.source.file is not None:
        parents = [key.rsplit("/", depth)[0] for depth in range(1, key.count("/") + 1)]
        groups = {name: portable_attributes(spec.source.file.groups.get(name, {})) for name in ("", *parents)}
        unlimited = [dim for dim in spec.source.file.unlimited if dim in dims]
    keys = {array.key for array in (frames, *coordinates)}
    frames, *coordinates = (
        array._replace(attributes=without_dangling_names(array.attributes, array.key.rpartition("/")[0], keys))
        for array in (frames, *coordinates)
    )
    groups = {key: without_dangling_names(attributes, key, keys) for key, attributes in groups.items()}
    return WritingPlan(frames, tuple(coordinates), sizes, unlimited, groups, spec, tuple(dims.values()), scale, offset)


def _dimensions(
    spec: OutputSpec, key: str, named: bool, keeps_groups: bool
) -> tuple[dict[str, str], dict[str, int], WindowNames | None]:
    """Returns the letters of the dimensions in their order, their sizes, and the names of windows, if there are any."""
    source, time = spec.source.array, "" if spec.times is None else spec.times.key
    stored = spec.source.file.arrays if spec.source.file else ()
    letters: dict[str, str] = {}
    if named and source is not None:
        taken = {*source.dims, *(array.key for array in stored)}
        letters = dict(zip(spec.source.axes, source.dims, strict=True))
        order = [letter for letter in spec.source.axes if letter in "nthwc"]
        group = source.dims[-1].rpartition("/")[0]
    else:
        # A dimension bears the name of an array along it, and of no other.
        taken = {key, *(array.key for array in stored if len(array.shape) != 1)}
        group = ""
        order = [*("n" if spec.items is not None else ""), "t", *spec.axes]
    prefix = f"{group}/" if group else ""
    order = order if "t" in order else ["t", *order]
    order += ["c"] if "c" not in order and spec.shape[-1] > 1 else []
    names = {"t": (time.rpartition("/")[2] if named or not keeps_groups else time) or "time", **_DIMENSION_NAMES}
    for letter in ("t", *order):
        if letter not in letters:
            letters[letter] = free_name(f"{prefix}{names[letter]}", [*taken, *letters.values()])
    windows = None
    if spec.window_starts is not None:
        others = {*taken, *letters.values(), *(array.key for array in stored)}
        others -= {time, letters["t"]} - {key}  # the times of frames have two dimensions
        windows = WindowNames(*(free_name(f"{prefix}{name}", others) for name in WINDOW_NAMES))
    dims: dict[str, str] = {}
    for letter in order:
        if letter == "t" and windows is not None:
            dims |= {windows.start: "W", windows.lead: "L"}
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
