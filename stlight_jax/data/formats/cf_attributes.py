"""Attributes of an array that change its values: fill values, valid range and packing. One place for every format.

The CF conventions (https://cfconventions.org, sections 2.5 and 8.1) define the names; well-known other spellings are obeyed
with a remark. An attribute that cannot be obeyed is refused by its name.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stlight_jax.data.formats.value_conversion import can_hold
from stlight_jax.errors import InputError

PACKING = ("scale_factor", "add_offset")
UNSIGNED = "_Unsigned"
FILL_VALUES = ("_FillValue", "missing_value")
VALID_RANGE = ("valid_range", "valid_min", "valid_max")
# They describe the values of the source; readers would take predicted values beyond them for missing.
RANGES = (*VALID_RANGE, "actual_range")
# netCDF's own fill values (netcdf.h), which mark what was never written.
DEFAULT_FILLS: dict[str, float] = {
    "i1": -127, "u1": 255, "i2": -32767, "u2": 65535, "i4": -(2**31) + 1, "u4": 2**32 - 1, "i8": -(2**63) + 2, "u8": 2**64 - 2,
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
# Spellings in lower case without underscores, of IMERG, GDAL, MODIS, ODIM and others.
_OTHER_FILLS = ("fillvalue", "missingvalue", "codemissingvalue", "nodata", "nodatavalue", "missing", "undef")
_SCALES = ("scalefactor", "slope", "gain", "scale")
_OFFSETS = ("addoffset", "intercept", "offset")
_NO_VALUE = ("", "none", "null", "n/a")
_SEPARATORS = re.compile(r"[\s,;\[\]()]+(?:to\s+)?")


@dataclasses.dataclass(frozen=True, eq=False)
class ValueRules:
    """How stored numbers become values.

    Attributes:
      stored_dtype: the stored element type, of integers with the sign that `_Unsigned` gives them.
      missing: `[n]`, stored numbers that are declared missing.
      implied: a stored number that is missing without an attribute, such as netCDF's own fill value.
      low: the least valid number; None: no limit.
      high: the largest valid number; None: no limit.
      range_unpacked: whether `low` and `high` are values, not stored numbers.
      scale: factor of stored numbers.
      offset: added after scaling.
      remarks: messages for the user.
    """

    stored_dtype: np.dtype
    missing: np.ndarray
    implied: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    range_unpacked: bool = False
    scale: float = 1.0
    offset: float = 0.0
    remarks: tuple[str, ...] = ()

    @property
    def is_packed(self) -> bool:
        """Whether stored numbers are scaled."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a valid range."""
        return self.low is not None or self.high is not None

    @property
    def dtype(self) -> np.dtype:
        """The element type of values: a float type if integers are scaled or can be missing."""
        if self.stored_dtype.kind not in "iu":
            return self.stored_dtype
        if not (self.is_packed or self.is_bounded or self.implied is not None or len(self.missing)):
            return self.stored_dtype
        return np.dtype(np.float32 if self.stored_dtype.itemsize <= 2 else np.float64)

    def decode(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the values, and where they are missing by these rules; None: nowhere."""
        stored = self._signed(stored)
        values = stored * np.float64(self.scale) + self.offset if self.is_packed else stored
        missing = None
        for flags in (self._marked(stored), self._beyond(stored, values)):
            if flags is not None:
                missing = flags if missing is None else missing | flags
        return values, missing

    def count(self, stored: np.ndarray) -> tuple[int, int]:
        """Returns how many numbers have the implied fill value, and how many others lie beyond the valid range."""
        stored = self._signed(stored)
        implied = 0 if self.implied is None else int(np.count_nonzero(stored == self.implied))
        if not self.is_bounded:
            return implied, 0
        beyond = self._beyond(stored, stored * self.scale + self.offset if self.range_unpacked else stored)
        marked = self._marked(stored)
        if beyond is None:
            return implied, 0
        return implied, int(np.count_nonzero(beyond if marked is None else beyond & ~marked))

    def _signed(self, stored: np.ndarray) -> np.ndarray:
        stored = np.asarray(stored)
        native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return native if native.dtype == self.stored_dtype else native.view(self.stored_dtype)

    def _marked(self, stored: np.ndarray) -> np.ndarray | None:
        numbers = self.missing if self.implied is None else np.append(self.missing, self.implied)
        flags = None
        for number in numbers:
            flags = stored == number if flags is None else flags | (stored == number)
        return flags

    def _beyond(self, stored: np.ndarray, values: np.ndarray) -> np.ndarray | None:
        compared, flags = values if self.range_unpacked else stored, None
        if self.low is not None:
            flags = compared < self.low
        if self.high is not None:
            flags = compared > self.high if flags is None else flags | (compared > self.high)
        return flags


def read_rules(label: str, attributes: Mapping[str, Any], dtype: np.dtype, implied: float | None = None) -> ValueRules:
    """Returns the rules that the attributes of an array give for its values.

    Args:
      label: the array's name in messages.
      attributes: the attributes as the format's library returns them.
      dtype: the stored element type.
      implied: the fill value that holds unless `_FillValue` is declared.

    Raises:
      InputError: an attribute that changes values cannot be obeyed; the message names it.
    """
    dtype = dtype.newbyteorder("=")
    dtype = _with_sign(dtype, attributes) if UNSIGNED in attributes else dtype
    if dtype.kind not in "iuf":
        return ValueRules(dtype, np.zeros(0))
    declared = [name for name in FILL_VALUES if name in attributes]
    others = [name for name in attributes if name not in FILL_VALUES and _plain(name) in _OTHER_FILLS]
    remarks, missing = [], []
    for name in (*declared, *others):
        numbers = _numbers(label, name, attributes[name])
        stored = [number for value in numbers if (number := _as_stored(value, dtype, UNSIGNED in attributes)) is not None]
        stored = [number for number in stored if number not in missing]
        missing += stored
        if name in others and stored:
            remarks.append(f"values of {', '.join(f'{number:g}' for number in stored)}, its {name!r}, are missing")
    scale, offset, remark = _packing(label, attributes)
    remarks += [remark] if remark else []
    low, high, unpacked = _valid_range(label, attributes, dtype, (scale, offset) != (1.0, 0.0))
    # NaN is missing anyway.
    kept = np.array([number for number in missing if number == number], dtype)
    stored_implied = None if implied is None or "_FillValue" in attributes else _as_stored(implied, dtype)
    return ValueRules(dtype, np.unique(kept), stored_implied, low, high, unpacked, scale, offset, tuple(remarks))


def is_fill_name(name: str) -> bool:
    """Returns whether an attribute of this name declares missing values."""
    return name in FILL_VALUES or _plain(name) in _OTHER_FILLS


def changes_values(name: str) -> bool:
    """Returns whether an attribute of this name holds for stored numbers, or for the values of its file alone."""
    return is_fill_name(name) or name in (UNSIGNED, *RANGES) or _plain(name) in (*_SCALES, *_OFFSETS)


def declared_fill(attributes: Mapping[str, Any], dtype: np.dtype) -> float | None:
    """Returns the first declared fill value that an array of `dtype` can hold, or None."""
    for name in (*FILL_VALUES, *(name for name in attributes if is_fill_name(name) and name not in FILL_VALUES)):
        try:
            numbers = _numbers("", name, attributes.get(name, ""))
        except InputError:
            continue
        if len(numbers) == 1 and can_hold(dtype, numbers[0].item()):
            return numbers[0].item()
    return None


def attribute_text(value: Any) -> str:
    """Returns an attribute as text, of HDF5 in bytes, too."""
    if isinstance(value, str):
        return value.strip().strip("\0")
    value = np.asarray(value)
    if value.size != 1 or value.dtype.kind not in "SUO":
        return "" if value.size != 1 else str(value.item())
    item = value.item()
    return (item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)).strip().strip("\0")


@functools.cache
def _plain(name: str) -> str:
    return re.sub("[_ -]", "", name.lower())


def _with_sign(dtype: np.dtype, attributes: Mapping[str, Any]) -> np.dtype:
    """Returns the integer type of the other sign if `_Unsigned` asks for it, by the NetCDF Users' Guide."""
    sign = {"true": "u", "1": "u", "false": "i", "0": "i"}.get(attribute_text(attributes.get(UNSIGNED, "")).lower())
    return np.dtype(f"{sign}{dtype.itemsize}") if sign and dtype.kind in "iu" else dtype


def _numbers(label: str, name: str, value: Any) -> np.ndarray:
    """Returns the numbers of an attribute, `[n]`; none if it is empty.

    Raises:
      InputError: it has a value that is no number.
    """
    if getattr(value, "shape", ()) is None:  # HDF5's attribute without a value
        return np.zeros(0)
    array = np.atleast_1d(np.asarray(value)).ravel()
    if array.dtype.kind in "biuf":
        return array
    text = attribute_text(value)
    if array.size == 0 or (text.lower() in _NO_VALUE and array.size == 1):
        return np.zeros(0)
    try:
        return np.array([float(part) for part in _SEPARATORS.split(text) if part])
    except ValueError:
        found = repr(text) if array.size == 1 else f"of type {array.dtype}"
        raise InputError(
            f"{label}: its attribute {name} is {found}; expected numbers; correct or delete the attribute in the file"
        ) from None


def _as_stored(value: Any, dtype: np.dtype, wraps: bool = False) -> np.ndarray | None:
    """Returns a number in the stored element type; None if it cannot occur there.

    Args:
      value: the number.
      dtype: the stored element type.
      wraps: whether integers can have the sign of the file's type, so that -1 stands for 255 in unsigned bytes.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = np.asarray(value).astype(dtype)
        return stored if np.isfinite(stored) or not np.isfinite(value) else None
    if not np.isfinite(value) or value % 1:
        return None
    number, limits, bits = int(value), np.iinfo(dtype), 8 * dtype.itemsize
    if wraps and -(2 ** (bits - 1)) <= number < 2**bits:
        number = (number - int(limits.min)) % 2**bits + int(limits.min)
    return np.asarray(number, dtype) if limits.min <= number <= limits.max else None


def _packing(label: str, attributes: Mapping[str, Any]) -> tuple[float, float, str]:
    """Returns scale, offset and a remark.

    Names other than those of CF need each other: a gain alone can be that of a camera, and vectors belong to axes.
    """
    found = {_plain(name): name for name, value in attributes.items() if name in PACKING or np.size(value) == 1}
    names = [next((found[name] for name in known if name in found), "") for known in (_SCALES, _OFFSETS)]
    if "" in names and not {_plain(name) for name in PACKING} & {*found}:
        name = "".join(names)
        return 1.0, 0.0, f"its {name!r}, {attribute_text(attributes[name])}, is not applied to stored numbers" if name else ""
    scale, offset = (
        _single(label, name, attributes[name], default) if name else default
        for name, default in zip(names, (1.0, 0.0), strict=True)
    )
    if scale == 0 or not np.isfinite([scale, offset]).all():
        names = [name or default for name, default in zip(names, PACKING, strict=True)]
        raise InputError(
            f"{label}: its attributes {names[0]} and {names[1]} are {scale:g} and {offset:g}; expected finite numbers, a "
            f"scale other than 0; correct them in the file"
        )
    if {*names} <= {*PACKING, ""}:
        return scale, offset, ""
    parts = [f"are multiplied by its {names[0]!r}, {scale:g}"] if names[0] else []
    parts += [f"get {offset:g}, its {names[1]!r}, added"] if names[1] else []
    return scale, offset, f"stored numbers {' and '.join(parts)}"


def _single(label: str, name: str, value: Any, default: float) -> float:
    numbers = np.unique(_numbers(label, name, value))
    if len(numbers) > 1:
        raise InputError(
            f"{label}: its attribute {name} has {np.size(value)} different numbers; expected one for all values; unpack the "
            f"values, and save them without it"
        )
    return float(numbers[0]) if len(numbers) else default


def _valid_range(
    label: str, attributes: Mapping[str, Any], dtype: np.dtype, packed: bool
) -> tuple[np.ndarray | None, np.ndarray | None, bool]:
    """Returns the least and the largest valid number, and whether they are values of packed numbers.

    By the NetCDF Users' Guide, limits of a float type are values if integers are packed.
    """
    limits: list[Any] = [None, None]
    given: dict[str, Any] = {name: _numbers(label, name, attributes[name]) for name in VALID_RANGE if name in attributes}
    if len(given.get("valid_range", ())) == 2:
        limits = list(given["valid_range"])
    elif len(given.get("valid_range", ())):
        raise InputError(
            f"{label}: its attribute valid_range has {len(given['valid_range'])} numbers; expected two; correct or delete it"
        )
    else:
        for place, name in enumerate(("valid_min", "valid_max")):
            numbers = given.get(name, ())
            limits[place] = numbers[0] if len(numbers) else None
    limits = [None if limit is None or np.isnan(limit) else limit for limit in limits]
    unpacked = (
        packed and dtype.kind in "iu" and any(np.asarray(limit).dtype.kind == "f" for limit in limits if limit is not None)
    )
    if not unpacked:
        limits = [None if limit is None else _stored_limit(limit, dtype, UNSIGNED in attributes) for limit in limits]
    return limits[0], limits[1], unpacked


def _stored_limit(limit: Any, dtype: np.dtype, wraps: bool) -> np.ndarray:
    """Returns a limit to compare stored numbers with: for floats rounded as they are; for integers as it is."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(limit).astype(dtype)
    stored = _as_stored(limit, dtype, wraps)
    return np.asarray(limit, np.float64) if stored is None else stored
