"""The records of array files: the arrays, not read yet, with their attributes and dimensions."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.errors import InputError

_NUMERIC_KINDS = "biuf"
_MAX_LISTED = 12


@dataclasses.dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file, not read yet.

    Attributes:
      key: its name in the file; "" if the file is the array.
      shape: the stored shape.
      dtype: the stored element type.
      opened: returns a context that yields an object to slice like an array, of stored numbers.
      attributes: its attributes as they are stored.
      dims: the name of each dimension, with its groups; "" for one without a name; () if the file names none.
      chunks: sizes of the parts that are unpacked as a whole; None if it is stored in one piece.
      implied_fill: the stored number that is missing without an attribute, and its name in messages.
      alias_of: key of another array that is the same by a link; "" for none.
      remarks: returns messages for the user on how it is stored; only while the file is open.
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    opened: Callable[[], contextlib.AbstractContextManager[Any]]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dims: tuple[str, ...] = ()
    chunks: tuple[int, ...] | None = None
    implied_fill: tuple[float, str] | None = None
    alias_of: str = ""
    remarks: Callable[[], Sequence[str]] = tuple

    def __str__(self) -> str:
        return f"{self.key or 'array'} {self.dtype} {list(self.shape)}"

    @property
    def is_numeric(self) -> bool:
        """Whether the element type can hold frames."""
        return self.dtype.kind in _NUMERIC_KINDS


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayFile:
    """A file of named arrays.

    Attributes:
      path: the file.
      format: name of its format.
      name: its name relative to the root.
      arrays: all its arrays.
      groups: the attributes of its groups by their names; "" is the root.
      broken: messages on links that lead nowhere, by their names.
      unlimited: dimensions that can grow.
      always_float: whether integers become float32, too.
    """

    path: epath.Path
    format: str
    name: str
    arrays: Sequence[StoredArray]
    groups: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unlimited: Sequence[str] = ()
    always_float: bool = False

    def find(self, key: str, option: str) -> StoredArray:
        """Returns the array that the user names.

        Args:
          key: the array's name.
          option: the key of the config that names it.

        Raises:
          InputError: the file has no such array.
        """
        for array in self.arrays:
            if array.key == key.strip("/"):
                return array
        if key.strip("/") in self.broken:
            raise InputError(f"{self.path}: {self.broken[key.strip('/')]}")
        raise InputError(
            f"{self.path}: data.{option} is {key!r}, which it does not hold; it holds {describe_arrays(self.arrays)}",
            key=option,
        )

    def along(self, dim: str) -> list[StoredArray]:
        """Returns the arrays with one value for each index of a dimension, its namesake first."""
        found = [array for array in self.arrays if dim and (array.dims or (array.key,)) == (dim,) and len(array.shape) == 1]
        return sorted(found, key=lambda array: array.key != dim)


def describe_unwritten(left_out: int, chunks: int) -> str:
    """Returns how many chunks of an array were never written, for messages."""
    if chunks == 1:
        return "its only chunk was never written"
    return f"{left_out:,} of its {chunks:,} chunks {'was' if left_out == 1 else 'were'} never written"


def mostly_unwritten(label: str, shape: Sequence[int], declared: str, found: str) -> InputError:
    """Returns the error on an array of which hardly any part was written; a damaged header can declare any shape."""
    return InputError(
        f"{label} has shape {list(shape)}, that is {declared}, {found}: hardly any of it was written; check the program that "
        "wrote it, or get a whole copy"
    )


def describe_arrays(arrays: Sequence[StoredArray]) -> str:
    """Returns names, element types and shapes for messages."""
    shown = ", ".join(map(str, arrays[:_MAX_LISTED])) or "nothing"
    return f"{shown} and {len(arrays) - _MAX_LISTED} more" if len(arrays) > _MAX_LISTED else shown
