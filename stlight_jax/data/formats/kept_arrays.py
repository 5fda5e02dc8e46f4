"""The arrays beside the frames of a source that its continuation keeps, and attributes that name other arrays."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.array_times import is_dated
from stlight_jax.data.formats.coordinate_names import is_time_name, side_of_name
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.stored_arrays import StoredArray
from stlight_jax.data.formats.written_arrays import WrittenArray, portable_attributes

_COPIED_KINDS = "biufSUO"
_LISTS = ("coordinates", "ancillary_variables")  # attributes that list names of arrays
_WHOLES = ("bounds", "climatology", "grid_mapping", "formula_terms")  # attributes that mean nothing if one name is missing
_PAIRS = "cell_measures"  # an attribute such as "area: cell_area volume: cell_volume"


def kept_arrays(
    spec: OutputSpec, source: StoredArray, dims: Mapping[str, str], sizes: dict[str, int], written: Collection[str]
) -> list[WrittenArray]:
    """Returns the arrays of the source that do not depend on time along dimensions whose sizes stay, and bounds of cells.

    Sizes of further dimensions are added to `sizes`.

    Args:
      spec: the frames.
      source: the array that they continue.
      dims: the letters of the output's dimensions by their names.
      sizes: the sizes of the output's dimensions.
      written: names of the arrays that are written in any case.
    """
    assert spec.source.file is not None
    lengths = dict(zip(source.dims, source.shape, strict=True)) if source.dims and all(source.dims) else {}
    kept = {dim for dim, letter in dims.items() if letter in "nhwc" and lengths.get(dim, sizes[dim]) == sizes[dim]}
    others = {
        array.key: array
        for array in spec.source.file.arrays
        if array.dtype.kind in _COPIED_KINDS and array.key not in (*written, source.key)
    }
    dims_of = {key: array.dims for key, array in others.items() if len(array.dims) == len(array.shape)}
    moments = [key for key, array in others.items() if not array.shape and (is_time_name(key) or is_dated(array))]
    # Where the source's dimensions have no names, those of other arrays are not the output's.
    wanted = [key for key, own in dims_of.items() if lengths and {*own} <= kept and key not in moments]
    for key in list(wanted):
        bounds = cf.attribute_text(others[key].attributes.get("bounds", ""))
        bounds = f"{key.rpartition('/')[0]}/{bounds}".lstrip("/")
        if bounds in dims_of and bounds not in wanted and kept >= {*dims_of[bounds][:-1]}:
            wanted.append(bounds)
            sizes.setdefault(dims_of[bounds][-1], others[bounds].shape[-1])
    unnamed = [key for key in others if not lengths or not any(others[key].dims)]
    for key in unnamed:
        found = None if key in wanted else _dimensions_by_size(spec, source, others[key], dims, sizes)
        if found is not None:
            dims_of[key] = tuple(found)
            sizes.update(found)
            wanted.append(key)
    return [_copied(others[key], dims_of[key]) for key in wanted]


def _dimensions_by_size(
    spec: OutputSpec, source: StoredArray, array: StoredArray, dims: Mapping[str, str], sizes: Mapping[str, int]
) -> dict[str, int] | None:
    """Returns the dimensions of an array without names of dimensions, and their sizes; None if it is not kept.

    Its axes are those of the frames with the same sizes, if need be by its name (`lat`, `lon`). Arrays with an axis as long as
    that of time depend on time.
    """
    if is_time_name(array.key) or is_dated(array) or array.alias_of or (array.dtype.hasobject and array.shape):
        return None
    before = dict(zip(spec.source.axes, source.shape, strict=True))
    is_frame = "t" not in before and array.is_numeric and array.shape == source.shape  # another frame in the same file
    if not array.shape or is_frame:
        return {} if "t" in before and not is_frame else None
    side = side_of_name(array.key)
    by_letter = {letter: dim for dim, letter in dims.items()}
    letters = [letter for letter in "hwcn" if letter in before and by_letter.get(letter)]
    letters.sort(key=lambda letter: letter != {"x": "w", "y": "h"}.get(side))  # stable
    found: dict[str, int] = {}
    unknown = 0
    is_grid = array.shape[-2:] == (before["h"], before["w"])
    for place, size in enumerate(array.shape):
        fitting = [letter for letter in letters if before[letter] == size and by_letter[letter] not in found]
        fitting = [letter for letter in fitting if sizes[by_letter[letter]] == size]
        depends_on_time = size == before.get("t") and not is_grid and not (side and fitting)
        is_left_out = size in (before.get("n"), before.get("c")) and not fitting
        if depends_on_time or is_left_out:
            return None
        unknown += not fitting
        found[by_letter[fitting[0]] if fitting else f"{array.key}_{place}"] = size
    return None if unknown and len(array.shape) > 2 else found  # other frames, maybe


def _copied(array: StoredArray, dims: tuple[str, ...]) -> WrittenArray:
    with array.opened() as stored:
        values = np.asarray(stored[tuple(slice(None) for _ in array.shape)])
    if values.dtype.kind in "SO":
        texts = [item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in values.ravel().tolist()]
        values = np.array(texts, np.str_).reshape(values.shape)
    attributes = portable_attributes(array.attributes)
    attributes.pop("_FillValue", None)
    fill = cf.declared_fill({"_FillValue": array.attributes.get("_FillValue", "")}, array.dtype)
    return WrittenArray(array.key, dims, values.dtype.newbyteorder("="), attributes, fill, values)


def without_dangling_names(attributes: Mapping[str, Any], group: str, keys: Collection[str]) -> dict[str, Any]:
    """Returns attributes without the names of arrays that are not in the file, by the CF conventions.

    Args:
      attributes: of an array or a group.
      group: the group that it lies in.
      keys: the names of all arrays of the file, with their groups.
    """

    def exists(name: str) -> bool:
        parents = [group.rsplit("/", depth)[0] for depth in range(group.count("/") + 1)] if group else []
        return name.strip("/") in keys or any(f"{parent}/{name}" in keys for parent in parents)

    results = dict(attributes)
    for name in (*_LISTS, *_WHOLES, _PAIRS):
        text = cf.attribute_text(results.get(name, ""))
        names = [part for part in text.split() if not part.endswith(":")]
        if name in _LISTS:
            text = " ".join(filter(exists, names))
        elif name == _PAIRS:
            text = " ".join(f"{key}: {value}" for key, value in re.findall(r"(\S+):\s+(\S+)", text) if exists(value))
        elif not all(map(exists, names)):
            text = ""
        if name in results and text:
            results[name] = text
        else:
            results.pop(name, None)
    return results
