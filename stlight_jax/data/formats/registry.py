"""The entry to a user's own frames: finds the files below a path and gives back sequences, read lazily."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats import arrays, images, netcdf_reader, types, videos
from stlight_jax.data.formats.types import Origin, RawSequence, ReadOptions
from stlight_jax.data.times import Stamps, ticks_of
from stlight_jax.errors import InputError
from stlight_jax.storage import paths

__all__ = ["Origin", "RawSequence", "ReadOptions", "open_sequences"]

_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_ARRAYS = {
    ".npy": arrays.open_npy,
    ".npz": arrays.open_npz,
    **dict.fromkeys((".h5", ".hdf5"), arrays.open_hdf5),
    **dict.fromkeys((".nc", ".nc4", ".netcdf"), netcdf_reader.open_netcdf),
}
_READABLE = f"videos ({' '.join(_VIDEOS)} .gif), folders of pictures ({' '.join(_PICTURES)}) and arrays ({' '.join(_ARRAYS)})"


def open_sequences(path: epath.PathLike, options: ReadOptions) -> list[RawSequence]:
    """Finds and opens the sequences in a file or, recursively and in natural order, in a folder.

    A video, a GIF, or a folder with pictures directly in it is one sequence; an array file may hold several.

    Args:
      path: a local file or folder; hidden files are left out, and so are those of other kinds.
      options: how to read them.

    Raises:
      InputError: nothing to read, a damaged file, a missing package, or options that do not fit; one line that names the file.
    """
    for key, choices in (("layout", types.LAYOUTS), ("channels", types.CHANNELS)):
        if getattr(options, key) not in choices:
            raise InputError(f"data.{key} is {getattr(options, key)!r}; choose one of {', '.join(choices)}")
    root = epath.Path(path)
    if paths.is_remote(root):
        raise InputError(f"{root}: frames are read from local folders; copy them to this machine first")
    if not root.exists():
        raise InputError(f"{root}: there is no such file or folder")
    opened = [_open(files, name, options) for name, files in _find(root)]
    pictures = [item for item in opened if not isinstance(item, list)]
    rgb = options.channels == "rgb" or (options.channels == "auto" and any(item.is_colourful() for item in pictures))
    found: list[tuple[RawSequence, Stamps | None]] = []
    for item in opened:
        found.extend(item if isinstance(item, list) else [(item.sequence(rgb), None)])
    return _with_ticks(found)


def _with_ticks(found: list[tuple[RawSequence, Stamps | None]]) -> list[RawSequence]:
    ticks = iter(ticks_of([stamps for _, stamps in found if stamps is not None]))
    sequences = []
    said: set[int] = set()
    for sequence, stamps in found:
        if stamps is not None:
            times = next(ticks)
            remarks = () if id(stamps) in said else (f"times are those of {stamps.name!r}", *times.remarks)
            said.add(id(stamps))
            sequence = dataclasses.replace(
                sequence, ticks=times.ticks, step=times.step, remarks=(*sequence.remarks, *remarks), stamps=stamps
            )
        sequences.append(sequence)
    return sequences


def _open(files: list[epath.Path], name: str, options: ReadOptions) -> Any:
    """A list of sequences with their times, or pictures that wait for all others to say whether there is colour."""
    first = files[0]
    if not os.path.isfile(first):
        raise InputError(f"{first} is a pipe or a device, which cannot be read twice; save what it holds to a file")
    suffix = first.suffix.lower()
    if suffix in _ARRAYS:
        return _ARRAYS[suffix](first, name, options)
    if suffix in _PICTURES:
        return images.open_folder(first.parent, files, name, options)
    return images.open_gif(first, name, options) if suffix == ".gif" else videos.Video(first, name, options)


def _find(root: epath.Path) -> list[tuple[str, list[epath.Path]]]:
    """Names and files: one of a video or array, all of a folder of pictures."""
    files = [root] if root.is_file() else [epath.Path(file) for file in _walk(os.fspath(root))]
    found: dict[str, list[epath.Path]] = {}
    others: collections.Counter[str] = collections.Counter()
    for file in files:
        suffix = file.suffix.lower()
        if root.is_file() and suffix in _PICTURES:
            raise InputError(f"{root} is one picture; expected the folder that holds the pictures of a sequence")
        if suffix in _PICTURES:
            found.setdefault(_name(file.parent, root), []).append(file)
        elif suffix in (*_VIDEOS, *_ARRAYS, ".gif"):
            found[_name(file, root)] = [file]
        else:
            others[suffix or "without suffix"] += 1
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
    if not found:
        raise InputError(f"{root}: found {left_out or 'no files'}; expected {_READABLE}")
    if left_out:
        print_message(f"{root}: left out files of other kinds: {left_out}")
    return sorted(found.items(), key=lambda item: _natural(item[0]))


def _walk(root: str) -> Iterator[str]:
    """All files below a folder that are not hidden, in natural order within theirs; links are followed, but not in circles."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in sorted(folders, key=_natural) if not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in sorted(files, key=_natural) if not name.startswith("."))


def _name(path: epath.Path, root: epath.Path) -> str:
    return root.resolve().name if path == root else path.relative_to(root).as_posix()


def _natural(name: str) -> list[Any]:
    """Sorts frame2 before frame10, and what lies in one folder together."""
    parts = [[int(bit) if bit.isdigit() else bit for bit in re.split("([0-9]+)", part.lower())] for part in name.split("/")]
    return [parts, name]
