"""Arrays in .npy, .npz and HDF5 files."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.members import Cut, Member, damage_named, resolve_layout
from stlight_jax.data.formats.types import Origin, RawSequence, ReadOptions, memory_available, needed, refuse_array_options
from stlight_jax.data.times import Stamps, parse_stamps
from stlight_jax.errors import InputError

TIME_NAMES = re.compile(r"((valid|date)_?)?times?|dates?|time_?stamps?|t|(days|hours|minutes|seconds|milliseconds)(_.*)?")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BYTES_AT_A_TIME = 2**20
_MUCH = 2**28  # bytes; less than that any machine has
_SPACE_NAMES = re.compile(r"x|y|z|lats?|lons?|latitudes?|longitudes?|rows?|columns?|cols?|height|width|levels?|channels?")


def open_npy(path: epath.Path, name: str, options: ReadOptions) -> list[tuple[RawSequence, None]]:
    """Sequences in a .npy file, mapped into memory.

    Raises InputError: a damaged file, a type or shape that frames cannot have, options that need named arrays.
    """
    refuse_array_options(path, options, "a .npy file", keys=("variable", "time", "mask"))

    @contextlib.contextmanager
    def opened() -> Iterator[np.ndarray]:
        yield np.lib.format.open_memmap(path, mode="r")

    with damage_named(path):
        array = np.lib.format.open_memmap(path, mode="r")
    member = Member("", array.shape, array.dtype, opened)
    return [(sequence, None) for sequence in _cut(path, "npy", name, member, options, None).sequences()]


def open_npz(path: epath.Path, name: str, options: ReadOptions) -> list[tuple[RawSequence, Stamps | None]]:
    """Sequences in a .npz file, and their times; an array is unpacked frame by frame.

    Raises InputError: a damaged file, no array or several that could be meant, wrong types, shapes, masks or times.
    """
    archive = _Archive(path)
    with damage_named(path):
        members = archive.members()
    return _open_members(path, "npz", name, members, options)


def open_hdf5(path: epath.Path, name: str, options: ReadOptions) -> list[tuple[RawSequence, Stamps | None]]:
    """Sequences in an HDF5 file, and their times; read slice by slice.

    Raises InputError as `open_npz`, and without h5py.
    """
    h5py = needed("h5py", "hdf5", path)

    @contextlib.contextmanager
    def opened(key: str) -> Iterator[Any]:
        with h5py.File(path, "r") as file:
            yield file[key]

    members = []
    with damage_named(path), h5py.File(path, "r") as file:
        found: list[Any] = []
        file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        for item in found:
            if item.shape is not None:  # a dataset may be empty
                key = item.name.lstrip("/")
                members.append(Member(key, item.shape, item.dtype, functools.partial(opened, key)))
    return _open_members(path, "hdf5", name, members, options)


class _Archive:
    """A .npz file, read forwards: the items of an n-axis come one after the other, and so do their frames."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._streams: dict[str, _Stream] = {}

    def members(self) -> list[Member]:
        """What its headers say. Raises InputError where they do not agree with the archive's directory."""
        members = []
        with zipfile.ZipFile(self._path) as file:
            for entry in file.infolist():
                if not entry.filename.endswith(".npy"):
                    continue
                with file.open(entry) as stream:
                    read_header = _HEADERS.get(np.lib.format.read_magic(stream))
                    if read_header is not None:  # newer headers belong to records, which are no frames
                        shape, in_columns, dtype = read_header(stream)
                        key = entry.filename.removesuffix(".npy")
                        size = dtype.itemsize * math.prod(shape)
                        if not dtype.hasobject and stream.tell() + size != entry.file_size:
                            raise InputError(
                                f"{self._path}: the header of {key} declares {dtype} {list(shape)}, {size:,} bytes, the "
                                f"archive has {entry.file_size - stream.tell():,} of it; the file is damaged or made to do harm"
                            )
                        opened = functools.partial(self._opened, key, in_columns, size)
                        members.append(Member(key, shape, dtype, opened))
        return members

    @contextlib.contextmanager
    def _opened(self, key: str, in_columns: bool, size: int) -> Iterator[Any]:
        if key not in self._streams:
            self._streams[key] = _Stream(self._path, key) if not in_columns else self._whole(key, size)
        yield self._streams[key]

    def _whole(self, key: str, size: int) -> np.ndarray:
        """An array in Fortran's order has its last axis outside: there are no frames to read one by one."""
        if size > memory_available() / 2:
            raise InputError(
                f"{self._path}#{key} is stored in Fortran's order and has {size / 2**20:,.0f} MiB, more than this machine can "
                f"hold; save it with numpy.ascontiguousarray"
            )
        with np.load(self._path, allow_pickle=False) as file:
            return file[key]


class _Stream:
    """An array in C order in a .npz file, of which slices along the outer axes are read; going back begins anew."""

    def __init__(self, path: epath.Path, key: str):
        self._label = f"{path}#{key}"
        self._file = zipfile.ZipFile(path)
        self._stream = self._file.open(f"{key}.npy")
        shape, _, self._dtype = _HEADERS[np.lib.format.read_magic(self._stream)](self._stream)
        self._shape, self._start = tuple(shape), self._stream.tell()

    def __getitem__(self, index: Any) -> np.ndarray:
        """Args: numbers, then at most one slice, then whole axes."""
        index = index if isinstance(index, tuple) else (index,)
        shape, place = list(self._shape), 0
        for part in index:
            inner = math.prod(shape[1:])
            if isinstance(part, slice):
                first, last, _ = part.indices(shape[0])
                place, shape = place + first * inner, [last - first, *shape[1:]]
                break
            place, shape = place + part * inner, shape[1:]
        at = self._start + place * self._dtype.itemsize
        if self._stream.tell() != at:
            self._stream.seek(at)
        size = math.prod(shape) * self._dtype.itemsize
        if size > _MUCH and size > memory_available() / 2:
            raise InputError(f"{self._label}: {size / 2**20:,.0f} MiB are needed at once, more than this machine can hold")
        array = np.empty(shape, self._dtype)
        content = memoryview(array.reshape(-1).view(np.uint8))
        done = 0
        while done < len(content):
            count = self._stream.readinto(content[done : done + _BYTES_AT_A_TIME])
            if not count:
                raise EOFError("the array is cut off")
            done += count
        return array


def _open_members(
    path: epath.Path, kind: str, name: str, members: list[Member], options: ReadOptions
) -> list[tuple[RawSequence, Stamps | None]]:
    chosen = choose(path, members, options)
    mask = _named(path, members, options.mask, "mask") if options.mask else None
    cuts = [_cut(path, kind, f"{name}#{member.key}", member, options, mask) for member in chosen]
    if len({_frame_of(cut) for cut in cuts}) > 1:
        raise InputError(f"{path} holds arrays of different frames; choose one with --config.data.variable: {listed(chosen)}")
    stamps = _Times(path, members, options, {cut.sizes["t"] for cut in cuts})
    results: list[tuple[RawSequence, Stamps | None]] = []
    for cut in cuts:
        times = stamps.of(cut)
        results.extend((sequence, times) for sequence in cut.sequences())
    return results


def choose(path: epath.Path, members: list[Member], options: ReadOptions) -> list[Member]:
    """The members that hold frames: the named one, or all that could. Raises InputError if there are none."""
    if options.variable:
        return [_named(path, members, options.variable, "variable")]
    chosen = [member for member in members if member.numeric and len(member.shape) >= 3 and member.key != options.mask]
    if not chosen:
        raise InputError(f"{path} holds no array of at least 3 axes that could be frames; it holds {listed(members)}")
    return chosen


def listed(members: list[Member]) -> str:
    """Names, types and shapes, for messages."""
    shown = ", ".join(map(str, members[:12])) or "nothing"
    return f"{shown} and {len(members) - 12} more" if len(members) > 12 else shown


def _named(path: epath.Path, members: list[Member], key: str, option: str) -> Member:
    for member in members:
        if member.key == key.lstrip("/"):
            return member
    raise InputError(f"{path}: data.{option} is {key!r}, which it does not hold; it holds {listed(members)}")


def _cut(path: epath.Path, kind: str, name: str, member: Member, options: ReadOptions, mask: Member | None) -> Cut:
    label = f"{path}#{member.key}" if member.key else str(path)
    return Cut(label, Origin(path, kind), name, member, resolve_layout(label, member.shape, options.layout), options, mask)


def _frame_of(cut: Cut) -> tuple[Any, ...]:
    return cut.member.dtype, *(cut.sizes[axis] for axis in "hwc"), "n" in cut.axes


class _Times:
    """The time coordinates of a file, each parsed once, so that arrays that share one share its stamps."""

    def __init__(self, path: epath.Path, members: list[Member], options: ReadOptions, lengths: set[int]):
        self._path, self._members, self._options, self._lengths = path, members, options, lengths
        self._parsed: dict[str, Stamps] = {}

    def of(self, cut: Cut) -> Stamps | None:
        """Its times, or None. Raises InputError if their number is wrong or several coordinates could be meant."""
        member = self._find(cut)
        if member is None:
            return None
        if member.shape != (cut.sizes["t"],):
            raise InputError(
                f"{cut.label} has {cut.sizes['t']} frames, its times {member.key!r} have shape {list(member.shape)}; expected "
                f"one for each frame, or ignore them with --config.data.time=none"
            )
        if member.key not in self._parsed:
            with damage_named(self._path), member.opened() as values:
                self._parsed[member.key] = parse_stamps(values[:], member.key, str(self._path))
        return self._parsed[member.key]

    def _find(self, cut: Cut) -> Member | None:
        if self._options.time == "none":
            return None
        if self._options.time:
            return _named(self._path, self._members, self._options.time, "time")
        flat = [member for member in self._members if len(member.shape) == 1 and member.dtype.kind in "iufMSUO"]
        flat = [member for member in flat if not _SPACE_NAMES.fullmatch(_leaf(member))]
        fitting = [member for member in flat if member.shape[0] == cut.sizes["t"]]
        named = [member for member in fitting if TIME_NAMES.fullmatch(_leaf(member))]
        if len(named) == 1 or len(fitting) == 1:
            return (named or fitting)[0]
        if fitting:
            raise InputError(f"{self._path}: name its times with --config.data.time=NAME (or none); it holds {listed(fitting)}")
        # Times that fit no array at all are a mistake, not a choice.
        lost = [member for member in flat if TIME_NAMES.fullmatch(_leaf(member)) and member.shape[0] not in {1, *self._lengths}]
        return lost[0] if lost else None


def _leaf(member: Member) -> str:
    return member.key.rsplit("/", 1)[-1].lower()
