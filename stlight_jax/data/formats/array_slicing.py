"""Sequences of frames out of an array in a file: its axes, its element type and its missing values."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.formats.array_layouts import resolve_layout
from stlight_jax.data.formats.cf_attributes import ValueRules, attribute_text, read_rules
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.formats.time_slabs import TimeSlabs
from stlight_jax.data.formats.types import FrameSource, ReadOptions, SourceInfo, frames_per_block, integer_fill
from stlight_jax.data.times import TimeAxis
from stlight_jax.errors import InputError

_UNCONVERTED = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int16))
MERGED = "e"  # letter of an axis whose entries are parts of one thing, such as ERA5's `expver`
_ALWAYS_AVAILABLE = 2**26  # bytes that every machine has
_MEANING = ("units", "standard_name", "long_name", "place")  # attributes that tell what values are
_MAX_EXACT_IN_FLOAT32 = 2**24
_MAX_SEQUENCES = 10**7


@dataclasses.dataclass(eq=False)
class ArraySlicer:
    """Slices an array into sequences of frames.

    Attributes:
      path: the file.
      format: name of the file's format.
      file_name: the file's name relative to the root.
      array: the array.
      options: the user's options.
      mask: an array that is non-zero where values are missing.
      axes: a letter of "nthwc" for each axis of the array, in any order; by default, that of the option `layout`.
      file: the file that names it, if it has named arrays.
      remarks: messages for the user.
      grid: a digest of the coordinates of the pixels, see `SourceInfo`.
      rows_go_north: whether the rows go from south to north.

    Raises:
      InputError: frames cannot have the array's element type or shape, or the mask has another shape.
    """

    path: epath.Path
    format: str
    file_name: str
    array: StoredArray
    options: ReadOptions
    mask: StoredArray | None = None
    axes: str = ""
    file: ArrayFile | None = None
    remarks: Sequence[str] = ()
    grid: str = ""
    rows_go_north: bool = False

    def __post_init__(self) -> None:
        self.axes = self.axes or resolve_layout(self.label, self.array.shape, self.options.layout)
        if not self.array.is_numeric:
            raise InputError(f"{self.label} holds {self.array.dtype}; expected integers, floats or bool")
        if self.mask is not None and not self._mask_axes:
            raise InputError(
                f"{self.label} has shape {list(self.array.shape)}, its mask {self.mask.key!r} {list(self.mask.shape)}; "
                f"expected [h, w], [t, h, w] or the shape of the data"
            )
        frame_bytes = self.sizes["h"] * self.sizes["w"] * self.sizes["c"] * self.array.dtype.itemsize
        if frame_bytes > _ALWAYS_AVAILABLE and frame_bytes > memory_available() / 4:  # a damaged header can declare any shape
            raise InputError(
                f"{self.label} has shape {list(self.array.shape)}: a single frame has {frame_bytes / 2**20:,.0f} MiB, more "
                f"than this machine can hold; check the file"
            )
        if self.sizes["n"] > _MAX_SEQUENCES:
            raise InputError(
                f"{self.label} has shape {list(self.array.shape)}: {self.sizes['n']:,} sequences, at most {_MAX_SEQUENCES:,} "
                "can be read; check the file and --config.data.layout"
            )

    @functools.cached_property
    def label(self) -> str:
        """The array's name in messages."""
        return self._named(str(self.path))

    def _named(self, name: str) -> str:
        return f"{name}#{self.array.key}" if self.array.key else name

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """The size of each axis by its letter; n, t and c are 1 if the array has no such axis."""
        return {"n": 1, "t": 1, "c": 1, **dict(zip(self.axes, self.array.shape, strict=True))}

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """The shape of a frame, (h, w, c)."""
        return self.sizes["h"], self.sizes["w"], self.sizes["c"]

    @functools.cached_property
    def rules(self) -> ValueRules:
        """How stored numbers become values."""
        implied = self.array.implied_fill
        return read_rules(self.label, self.array.attributes, self.array.dtype, implied[0] if implied else None)

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """The element type of the frames."""
        stored = self.rules.dtype
        if self.mask is None and not (self.file and self.file.always_float):
            if stored.kind == "b":
                return np.dtype(np.uint8)
            if stored in _UNCONVERTED:
                return stored
        return np.dtype(np.float32)

    def sequences(self, times: TimeAxis | None = None) -> list[FrameSource]:
        """Returns one sequence, or one for each item of the n-axis.

        Args:
          times: the moments of the frames, if the file has any.

        Raises:
          InputError: the element type cannot hold the fill value.
        """
        fill = None if self.dtype.kind == "f" else integer_fill(self.label, self.options.fill_value, self.dtype)
        stored, has_items = self.rules.dtype, "n" in self.axes
        remarks = (*self.remarks, *self.rules.remarks, *(times.remarks if times else ()))
        if stored not in (self.dtype, np.dtype(bool)):
            remarks += (f"{self.rules.stored_dtype} is read as {self.dtype}",)
        if self._chunk_frames > self._frames_per_block:
            remarks += (
                f"its chunks have parts of {self._chunk_frames:,} frames each, which are unpacked together; "
                "chunks of few frames are faster to read",
            )
        name = self._named(self.file_name)
        info = SourceInfo(
            path=self.path,
            format=self.format,
            dtype=stored,
            key=self.array.key,
            axes=self.axes,
            item=0 if has_items else None,
            array=self.array if self.file else None,
            file=self.file,
            grid=self.grid,
            rows_go_north=self.rows_go_north,
            meaning=tuple(attribute_text(self.array.attributes.get(key, "")) for key in _MEANING),
        )
        return [
            FrameSource(
                name=f"{name}[{item}]" if has_items else name,
                frames=self.sizes["t"],
                shape=self.frame_shape,
                dtype=self.dtype,
                blocks=functools.partial(self._blocks, item),
                fill=fill,
                remarks=remarks if item == 0 else (),  # they hold for all items, which may be thousands
                info=info if item == 0 else dataclasses.replace(info, item=item),
                times=times,
                data_fill=self._data_fill,
            )
            for item in range(self.sizes["n"])
        ]

    @property
    def _data_fill(self) -> float | None:
        """The number that marks missing values in the file, if integers that are not scaled are read as floats."""
        rules = self.rules
        if self.dtype.kind != "f" or rules.stored_dtype.kind not in "iu" or rules.is_packed:
            return None
        if self.options.fill_value is not None:
            return self.options.fill_value
        numbers = rules.missing if rules.implied is None else np.append(rules.missing, rules.implied)
        return float(numbers[0]) if len(numbers) else None

    def _blocks(self, item: int, first: int = 0) -> Iterator[np.ndarray]:
        opened_mask = contextlib.nullcontext(None) if self.mask is None else self.mask.opened()
        with read_errors(self.label), self.array.opened() as stored, opened_mask as stored_mask:
            stored = self._by_blocks(stored)
            for start, stop in self._block_limits(first):
                index = {"n": item, "t": slice(start, stop)}
                masked = None if stored_mask is None else _slice_frames(stored_mask, self._mask_axes, index) != 0
                yield self._convert(*self._values(stored, index), masked, start)

    def count_missing(self) -> tuple[int, int]:
        """Returns how many stored numbers have the implied fill value, and how many are beyond the valid range; reads all."""
        implied = beyond = 0
        with read_errors(self.label), self.array.opened() as stored:
            stored = self._by_blocks(stored)
            for item in range(self.sizes["n"]):
                for start, stop in self._block_limits():
                    index = {"n": item, "t": slice(start, stop)}
                    counts = self.rules.count(_slice_frames(stored, self.axes, index))
                    implied, beyond = implied + counts[0], beyond + counts[1]
        return implied, beyond

    def _block_limits(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """Yields the first frame of each block and the one after its last."""
        size, frames = self._frames_per_block, self.sizes["t"]
        length = self._chunk_frames if self._chunk_frames > size else frames
        while first < frames:
            stop = min(first + size, frames, (first // length + 1) * length)  # not from one row of chunks into the next
            yield first, stop
            first = stop

    def _by_blocks(self, stored: Any) -> Any:
        """Returns the array so that reading it by blocks unpacks each chunk once."""
        if self._chunk_frames <= self._frames_per_block:
            return stored
        return TimeSlabs(stored, self.array.dtype, self.array.chunks or (), self.axes.index("t"))

    @property
    def _frames_per_block(self) -> int:
        return frames_per_block(self.frame_shape, self.dtype)

    @property
    def _chunk_frames(self) -> int:
        """The number of frames that each chunk has a part of; 1 if the array is stored in one piece."""
        return 1 if self.array.chunks is None or "t" not in self.axes else self.array.chunks[self.axes.index("t")]

    def _values(self, stored: Any, index: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns values `[t, h, w, c]` and where they are missing, or None, with the entries of a merged axis as one.

        Raises:
          InputError: two entries of the merged axis have a value for the same pixel.
        """
        values, missing = self.rules.decode(_slice_frames(stored, self.axes, {**index, MERGED: 0}))
        for entry in range(1, self.sizes.get(MERGED, 1)):
            more, more_missing = self.rules.decode(_slice_frames(stored, self.axes, {**index, MERGED: entry}))
            missing, more_missing = _all_missing(values, missing), _all_missing(more, more_missing)
            both = ~missing & ~more_missing
            if both.any():
                dim = self.array.dims[self.axes.index(MERGED)]
                raise InputError(
                    f"{self.label}, frame {_first_with(both, index['t'].start)}: several entries of its dimension {dim!r} have "
                    f"values; expected one for each frame; choose one, e.g. with isel({dim}=0) of xarray, and save it"
                )
            values, missing = np.where(missing, more, values), missing & more_missing
        return values, missing

    @functools.cached_property
    def _mask_axes(self) -> str:
        """The letters of the mask's axes; "" without a mask, or if its shape does not fit."""
        frame = "".join(letter for letter in self.axes if letter in "hw")
        shapes = {axes: tuple(self.sizes[letter] for letter in axes) for axes in (self.axes, frame, f"t{frame}")}
        return next((axes for axes, shape in shapes.items() if self.mask and self.mask.shape == shape), "")

    def _convert(self, block: np.ndarray, missing: np.ndarray | None, masked: np.ndarray | None, first: int) -> np.ndarray:
        """Converts a block to the element type of the frames, with NaN in floats where values are missing.

        Args:
          block: values, `[t, h, w, c]`.
          missing: bool of this shape, or None.
          masked: bool that broadcasts to the block, or None.
          first: index of the block's first frame, for messages.

        Raises:
          InputError: a value has no float32.
        """
        if self.dtype.kind != "f":
            return np.array(block, self.dtype, order="C")
        missing = np.zeros(block.shape, bool) if missing is None else missing
        if masked is not None:
            missing = missing | masked
        fill = self.options.fill_value
        if fill is not None:
            # A fill value like 1e20 has no exact float32; the file holds the nearest one.
            missing |= block == (block.dtype.type(fill) if block.dtype.kind == "f" else fill)
        if block.dtype.kind in "iu" and block.dtype.itemsize > 2:
            large = ((block > _MAX_EXACT_IN_FLOAT32) | (block < -_MAX_EXACT_IN_FLOAT32)) & ~missing
            if large.any():
                raise InputError(
                    f"{self.label}, frame {_first_with(large, first)}: value {block[large][0]} has no exact float32; expected "
                    f"integers of at most 2**24 in size; scale them, or name what means missing with --config.data.fill_value"
                )
        with np.errstate(over="ignore", invalid="ignore"):
            frames = np.array(block, np.float32, order="C")
            if fill is not None and np.isfinite(np.float32(fill)):  # as remarks name it, after rounding
                missing |= frames == np.float32(fill)
        infinite = np.isinf(frames) & ~missing
        if infinite.any():
            raise InputError(
                f"{self.label}, frame {_first_with(infinite, first)}: found an infinite value (or one beyond float32); "
                f"expected finite numbers, and NaN where values are missing"
            )
        frames[missing] = np.nan
        return frames


def _slice_frames(stored: Any, axes: str, index: dict[str, Any]) -> np.ndarray:
    """Returns `[t, h, w, c]`, with size 1 along the axes that the array does not have."""
    block = np.asarray(stored[tuple(index.get(axis, slice(None)) for axis in axes)])
    remaining = axes.replace("n", "").replace(MERGED, "")
    block = block.transpose([remaining.index(axis) for axis in "thwc" if axis in remaining])
    return np.expand_dims(block, tuple(place for place, axis in enumerate("thwc") if axis not in remaining))


def _all_missing(values: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """Returns where values are missing, by the rules or as NaN."""
    nan = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    return nan if missing is None else nan | missing


def _first_with(flagged: np.ndarray, first: int) -> int:
    return first + int(np.argmax(flagged.any(axis=(1, 2, 3))))
