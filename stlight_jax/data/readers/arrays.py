"""Arrays in .npy, .npz and HDF5 files."""

from __future__ import annotations

import contextlib
import functools
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.readers.members import Cut, Member, damage_named, resolve_layout
from stlight_jax.data.readers.raw import RawSequence, ReadOptions, needed, refuse_array_options
from stlight_jax.data.readers.times import Stamps, parse_stamps
from stlight_jax.errors import InputError

TIME_NAMES = re.compile(r"((valid|date)_?)?times?|dates?|time_?stamps?|t|(days|hours|minutes|seconds|milliseconds)(_.*)?")
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
    return [(sequence, None) for sequence in _cut(path, name, member, options, None).sequences()]


def open_npz(path: epath.Path, name: str, options: ReadOptions) -> list[tuple[RawSequence, Stamps | None]]:
    """Sequences in a .npz file, and their times; an array is loaded when its first frame is asked for.

    Raises InputError: a damaged file, no array or several that could be meant, wrong types, shapes, masks or times.
    """
    archive = _Archive(path)
    with damage_named(path):
        members = archive.members()
    return _open_members(path, name, members, options)


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
    return _open_members(path, name, members, options)


class _Archive:
    """A .npz file. It keeps the array it loaded last: the items of an n-axis are read one after the other."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._key = ""
        self._array: np.ndarray | None = None

    def members(self) -> list[Member]:
        """What its headers say."""
        members = []
        with zipfile.ZipFile(self._path) as file:
            for entry in file.namelist():
                if not entry.endswith(".npy"):
                    continue
                with file.open(entry) as stream:
                    read_header = {
                        (1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0,
                    }.get(np.lib.format.read_magic(stream))
                    if read_header is not None:  # newer headers belong to records, which are no frames
                        shape, _, dtype = read_header(stream)
                        key = entry.removesuffix(".npy")
                        members.append(Member(key, shape, dtype, functools.partial(self._opened, key)))
        return members

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[np.ndarray]:
        if self._array is None or self._key != key:
            self._array = None  # before the next one is loaded
            with np.load(self._path, allow_pickle=False) as file:
                self._array, self._key = file[key], key
        yield self._array


def _open_members(
    path: epath.Path, name: str, members: list[Member], options: ReadOptions
) -> list[tuple[RawSequence, Stamps | None]]:
    chosen = choose(path, members, options)
    mask = _named(path, members, options.mask, "mask") if options.mask else None
    cuts = [_cut(path, f"{name}#{member.key}", member, options, mask) for member in chosen]
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


def _cut(path: epath.Path, name: str, member: Member, options: ReadOptions, mask: Member | None) -> Cut:
    label = f"{path}#{member.key}" if member.key else str(path)
    return Cut(label, name, member, resolve_layout(label, member.shape, options.layout), options, mask)


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
