"""The arrays of an output file, not written yet."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.formats import cf_attributes as cf


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
