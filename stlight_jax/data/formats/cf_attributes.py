"""Attributes of an array by the CF conventions: fill values, valid range and packing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from stlight_jax.data.formats.value_conversion import can_hold

PACKING = ("scale_factor", "add_offset")
UNSIGNED = "_Unsigned"
FILL_VALUES = ("_FillValue", "missing_value")
VALID_RANGE = ("valid_range", "valid_min", "valid_max")
# They describe the values of the source; readers would take predicted values beyond them for missing.
RANGES = (*VALID_RANGE, "actual_range")


@dataclasses.dataclass(frozen=True, eq=False)
class ValidRange:
    """The least and the largest valid value of an array, in stored numbers; values beyond are missing.

    Attributes:
      low: the least valid value; None: no limit.
      high: the largest valid value; None: no limit.
      is_unsigned: whether signed integers are stored that stand for unsigned ones.
    """

    low: np.ndarray | None
    high: np.ndarray | None
    is_unsigned: bool

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], dtype: np.dtype) -> ValidRange:
        """Returns the range that an array of `dtype` declares; without limits where an attribute is no number of this type."""
        is_unsigned = str(attributes.get(UNSIGNED, "")).lower() == "true"

        def limit(name: str, size: int) -> np.ndarray | None:
            value = np.asarray(attributes.get(name))
            if value.dtype.kind not in "iuf" or value.size != size:
                return None
            with np.errstate(invalid="ignore", over="ignore"):
                stored = value.astype(dtype)
            if dtype.kind in "iu" and (stored != value).any():
                return None
            return _as_unsigned(stored if size > 1 else stored.reshape(()), is_unsigned)

        both = limit("valid_range", 2)
        low, high = (limit("valid_min", 1), limit("valid_max", 1)) if both is None else both
        return cls(low, high, is_unsigned)

    def excludes(self, stored: np.ndarray) -> np.ndarray:
        """Returns for each stored number whether it lies beyond the range."""
        stored = _as_unsigned(stored, self.is_unsigned)
        beyond = np.zeros(stored.shape, bool)
        if self.low is not None:
            beyond |= stored < self.low
        if self.high is not None:
            beyond |= stored > self.high
        return beyond


def declared_fill(attributes: Mapping[str, Any], dtype: np.dtype) -> float | None:
    """Returns the first declared fill value that an array of `dtype` can hold, or None."""
    for name in FILL_VALUES:
        value = np.asarray(attributes.get(name))
        if value.size == 1 and value.dtype.kind in "iuf" and can_hold(dtype, value.item()):
            return value.item()
    return None


def _as_unsigned(stored: np.ndarray, is_unsigned: bool) -> np.ndarray:
    return stored.view(stored.dtype.str.replace("i", "u")) if is_unsigned else stored
