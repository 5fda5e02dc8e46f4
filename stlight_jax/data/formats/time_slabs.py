"""Arrays whose chunks hold many frames: each chunk is unpacked once, however many blocks of frames are read from it.

HDF5 unpacks a whole chunk for each read of a part of it, unless its cache holds the chunk (h5py#977).
"""

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

_MAX_IN_MEMORY = 256 * 2**20  # bytes


class TimeSlabs:
    """An array to slice by frames, of which all frames of a row of chunks are unpacked at once.

    They are held in memory, or in a temporary file if they are larger than 256 MiB.

    Args:
      stored: the array.
      dtype: its stored element type.
      chunks: sizes of its chunks.
      time_axis: its axis of frames.
    """

    def __init__(self, stored: Any, dtype: np.dtype, chunks: Sequence[int], time_axis: int):
        self._stored, self._dtype, self._chunks, self._axis = stored, dtype, chunks, time_axis
        self._first = -1
        self._slabs: dict[tuple[tuple[int, Any], ...], np.ndarray] = {}

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        """Returns a part of the array: numbers, whole axes, and one slice of frames that lies within a row of chunks."""
        length, frames = self._chunks[self._axis], index[self._axis]
        first = frames.start // length * length
        if first != self._first:
            self._first, self._slabs = first, {}
        fixed = tuple((axis, part) for axis, part in enumerate(index) if not isinstance(part, slice))
        if fixed not in self._slabs:
            self._slabs[fixed] = self._load(index, first, min(first + length, self._stored.shape[self._axis]))
        axis = self._axis - sum(place < self._axis for place, _ in fixed)
        part = [slice(None)] * (len(index) - len(fixed))
        part[axis] = slice(frames.start - first, frames.stop - first)
        return self._slabs[fixed][tuple(part)]

    def _load(self, index: tuple[Any, ...], first: int, stop: int) -> np.ndarray:
        sizes = {axis: self._stored.shape[axis] for axis, part in enumerate(index) if isinstance(part, slice)}
        sizes[self._axis] = stop - first
        needed = int(np.prod([*sizes.values()])) * self._dtype.itemsize
        whole = tuple(slice(first, stop) if axis == self._axis else part for axis, part in enumerate(index))
        if needed <= _MAX_IN_MEMORY or shutil.disk_usage(tempfile.gettempdir()).free < 2 * needed:
            return np.asarray(self._stored[whole])
        # Frames follow each other in the file, whatever the order of the axes.
        order = [self._axis, *(axis for axis in sizes if axis != self._axis)]
        with tempfile.TemporaryFile() as file:
            slab: np.ndarray = np.memmap(file, self._dtype, "w+", shape=tuple(sizes[axis] for axis in order))
        slab = slab.transpose(np.argsort(order))
        others = order[1:]
        for starts in itertools.product(*(range(0, sizes[axis], self._chunks[axis]) for axis in others)):
            tile = {axis: slice(start, start + self._chunks[axis]) for axis, start in zip(others, starts, strict=True)}
            slab[tuple(tile.get(axis, slice(None)) for axis in sizes)] = self._stored[
                tuple(tile.get(axis, part) for axis, part in enumerate(whole))
            ]
        return slab
