"""Containers of videos that are cut off, by the sizes that they declare: demuxers just stop where a file ends."""

import os
from typing import BinaryIO

from etils import epath

from stlight_jax.errors import InputError

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # identifiers of Matroska and WebM
_WHOLE_COPY = "expected a whole video; get a whole copy"


def require_whole(path: epath.Path) -> None:
    """Checks that a Matroska file has the size that it declares, and that a file of MP4's kind has its index.

    Raises:
      InputError: the file is cut off.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        if start[:4] == _EBML:
            declared = _matroska_size(file)
            if declared is not None and declared > size:
                raise InputError(
                    f"{path} is cut off after {size:,} of {declared:,} bytes; {_WHOLE_COPY}, or keep what there is with "
                    f"`ffmpeg -i {path.name} -c copy kept{path.suffix}`"
                )
        elif start[4:] == b"ftyp" and not _has_index(file, size):
            raise InputError(
                f"{path} is an MP4 or MOV file without its index (moov), as it is cut off or its recording was not closed; "
                f"{_WHOLE_COPY}, or record it again"
            )


def _matroska_size(file: BinaryIO) -> int | None:
    """Returns the size in bytes that a Matroska file declares; None if it declares none, as live recordings."""
    file.seek(len(_EBML))
    header = _ebml_number(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return None
    segment = _ebml_number(file)
    return None if segment is None else file.tell() + segment


def _ebml_number(file: BinaryIO) -> int | None:
    """Reads a number whose first byte gives its length by leading zeros; None for an unknown one."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big") - (1 << 7 * length)
    return None if value == (1 << 7 * length) - 1 else value


def _has_index(file: BinaryIO, size: int) -> bool:
    """Returns whether one of the boxes of an MP4 file is its index."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if kind in (b"moov", b"moof"):
            return True
        length = int.from_bytes(header[8:16], "big") if length == 1 else length
        if length < 8:  # 0: up to the end of the file
            return False
        place += length
    return False
