"""The header of a classic netCDF file (netCDF-3), and whether the file has all bytes that it declares.

The netCDF library reads zeros where such a file is cut off, without an error. The layout is that of the NetCDF Classic Format
Specification (docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html).
"""

import math
import os
from typing import IO

from etils import epath

from stlight_jax.errors import InputError

_WIDE = 5  # the version whose counts and sizes have 8 bytes; offsets have them from version 2 on
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}  # bytes of a value by the code of its type
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12


def check_length(path: epath.PathLike) -> None:
    """Refuses a classic netCDF file that is shorter than its header declares; does nothing for other files.

    Args:
      path: the file.

    Raises:
      InputError: the file is cut off, or its header is damaged.
    """
    with open(path, "rb") as file:
        if file.read(3) != b"CDF":
            return
        found = os.fstat(file.fileno()).st_size
        try:
            declared = _Header(file, found).length
        except ValueError as error:
            raise InputError(f"{path} is damaged: the header of this netCDF file {error}; get a whole copy") from None
    if found < declared:
        raise InputError(
            f"{path} is cut off or damaged: the header of this netCDF file declares {declared:,} bytes, the file has "
            f"{found:,}; get a whole copy"
        )


class _Header:
    """A header that is read from a file whose signature has been read.

    Attributes:
      length: the smallest size in bytes of a file with all declared values.

    Raises:
      ValueError: the header is damaged.
    """

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._size = file, size
        version = self._integer(1)
        if version not in (1, 2, _WIDE):
            raise ValueError(f"has version {version}")
        self._count_bytes = 8 if version == _WIDE else 4
        self._offset_bytes = 4 if version == 1 else 8
        records = self._integer(self._count_bytes)
        dimensions = [self._dimension() for _ in range(self._list(_DIMENSIONS))]
        self._skip_attributes()
        variables = [self._variable(dimensions) for _ in range(self._list(_VARIABLES))]
        sizes = [size for size, _, is_record in variables if is_record]
        # Records have padding between their variables, but none if there is one variable.
        record = sizes[0] if len(sizes) == 1 else sum(-(-size // 4) * 4 for size in sizes)
        ends = [
            begin + size + (record * (records - 1) if is_record else 0)
            for size, begin, is_record in variables
            if size and (records or not is_record)
        ]
        self.length = max(ends, default=0)

    def _bytes(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise ValueError("ends too early")
        return self._file.read(count)

    def _integer(self, width: int) -> int:
        return int.from_bytes(self._bytes(width), "big")

    def _count(self) -> int:
        return self._integer(self._count_bytes)

    def _list(self, tag: int) -> int:
        """Returns the number of items of a list with this tag; an empty list has the tag 0."""
        found, count = self._integer(4), self._count()
        if (found, count) != (0, 0) and found != tag:
            raise ValueError(f"has tag {found} where {tag} is expected")
        return count

    def _skip(self, size: int) -> None:
        """Skips bytes and their padding to a multiple of four."""
        self._bytes(-(-size // 4) * 4)

    def _dimension(self) -> int:
        self._skip(self._count())
        return self._count()

    def _value_size(self) -> int:
        code = self._integer(4)
        if code not in _SIZES:
            raise ValueError(f"has the unknown type {code}")
        return _SIZES[code]

    def _skip_attributes(self) -> None:
        for _ in range(self._list(_ATTRIBUTES)):
            self._skip(self._count())
            size = self._value_size()
            self._skip(size * self._count())

    def _variable(self, dimensions: list[int]) -> tuple[int, int, bool]:
        """Returns a variable's size in bytes (of one record), its first byte, and whether it has records."""
        self._skip(self._count())
        indices = [self._count() for _ in range(self._count())]
        if any(index >= len(dimensions) for index in indices):
            raise ValueError("has a variable of an unknown dimension")
        self._skip_attributes()
        size = self._value_size()
        self._count()  # the size, which is wrong for large variables
        begin = self._integer(self._offset_bytes)
        shape = [dimensions[index] for index in indices]
        is_record = bool(shape) and shape[0] == 0
        return size * math.prod(shape[is_record:]), begin, is_record
