"""An array in a file, cut into sequences of frames: axes, types, missing values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from stlight_jax.data.formats.types import Origin, RawSequence, ReadOptions, frames_per_block, integer_fill, memory_available
from stlight_jax.errors import InputError

NUMERIC = "biuf"
_KEPT = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int16))
_AUTO_LAYOUTS = {3: "thw", 4: "thwc", 5: "nthwc"}
_MOST_AUTO_CHANNELS = 16
_FEWEST_AUTO_ROWS = 5
_EXACT_IN_FLOAT32 = 2**24
_MOST_SEQUENCES = 10**7


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """An array that is not read yet.

    Attributes:
      key: its name in the file; "" if it is the file.
      shape, dtype: as stored.
      opened: a context that gives something to slice like an array.
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    opened: Callable[[], contextlib.AbstractContextManager[Any]]

    def __str__(self) -> str:
        return f"{self.key or 'array'} {self.dtype} {list(self.shape)}"

    @property
    def numeric(self) -> bool:
        """Whether frames can be made of its type."""
        return self.dtype.kind in NUMERIC


@contextlib.contextmanager
def damage_named(path: Any) -> Iterator[None]:
    """Turns what libraries raise for damaged files into InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged, or not what its name says: {error}") from None


def resolve_layout(label: str, shape: tuple[int, ...], layout: str) -> str:
    """The axes of an array; raises InputError if it has not that many, or nothing in it, or if "auto" would be a guess."""
    if 0 in shape:
        raise InputError(f"{label} has shape {list(shape)}; expected at least one frame and one pixel")
    if layout == "auto":
        if len(shape) not in _AUTO_LAYOUTS:
            raise InputError(f"{label} has shape {list(shape)}; expected frames: [t, h, w], [t, h, w, c] or [n, t, h, w, c]")
        layout = _AUTO_LAYOUTS[len(shape)]
        sizes = dict(zip(layout, shape, strict=True))
        channels = sizes.get("c", 1)
        if channels > _MOST_AUTO_CHANNELS or (sizes["h"] < _FEWEST_AUTO_ROWS and sizes["h"] < channels):
            others = {4: "nthw or tchw", 5: "ntchw"}[len(shape)]
            raise InputError(
                f"{label} has shape {list(shape)}; read as [{', '.join(layout)}] its frames are {sizes['h']} x {sizes['w']} "
                f"with {channels} channels; say what its axes are, e.g. --config.data.layout={others} or {layout}"
            )
    if len(layout) != len(shape):
        raise InputError(f"{label} has shape {list(shape)}; --config.data.layout={layout} asks for {len(layout)} axes")
    return layout


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """How a member becomes sequences.

    Attributes:
      label: of the member, for messages.
      origin: of its frames.
      name: of the sequences; item i of an n-axis is name[i].
      member: the array.
      axes: a letter of "nthwc" for each of its axes, in any order.
      options: the user's.
      mask: where it is missing, if told.
      always_float: make float32 of integers, too.
      remarks: what is to be said of it.
    """

    label: str
    origin: Origin
    name: str
    member: Member
    axes: str
    options: ReadOptions
    mask: Member | None = None
    always_float: bool = False
    remarks: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.member.numeric:
            raise InputError(f"{self.label} holds {self.member.dtype}; expected integers, floats or bool")
        if self.mask is not None and self._mask_axes() is None:
            raise InputError(
                f"{self.label} has shape {list(self.member.shape)}, its mask {self.mask.key!r} {list(self.mask.shape)}; "
                f"expected [h, w], [t, h, w] or the shape of the data"
            )
        frame_bytes = self.sizes["h"] * self.sizes["w"] * self.sizes["c"] * self.member.dtype.itemsize
        if frame_bytes > memory_available() / 4:  # a header may promise anything
            raise InputError(
                f"{self.label} has shape {list(self.member.shape)}: a single frame has {frame_bytes / 2**20:,.0f} MiB, more "
                f"than this machine can hold; is the file what it should be?"
            )
        if self.sizes["n"] > _MOST_SEQUENCES:
            raise InputError(
                f"{self.label} has shape {list(self.member.shape)}: {self.sizes['n']:,} sequences, at most {_MOST_SEQUENCES:,} "
                "can be read; is the file, or --config.data.layout, what it should be?"
            )

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """Of the axes, by letter; n and c are 1 if there are none."""
        return {"n": 1, "c": 1, **dict(zip(self.axes, self.member.shape, strict=True))}

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """Of the frames."""
        stored = self.member.dtype.newbyteorder("=")
        if self.mask is not None or self.always_float:
            return np.dtype(np.float32)
        if stored.kind == "b":
            return np.dtype(np.uint8)
        return stored if stored in _KEPT else np.dtype(np.float32)

    def sequences(self) -> list[RawSequence]:
        """One, or one for each item of the n-axis. Raises InputError for a fill value that cannot occur."""
        shape = (self.sizes["h"], self.sizes["w"], self.sizes["c"])
        fill = None if self.dtype.kind == "f" else integer_fill(self.label, self.options.fill_value, self.dtype)
        remarks = tuple(self.remarks)
        if self.member.dtype.newbyteorder("=") not in (self.dtype, np.dtype(bool)):
            remarks += (f"{self.member.dtype} is read as {self.dtype}",)
        return [
            RawSequence(
                name=f"{self.name}[{item}]" if "n" in self.axes else self.name,
                frames=self.sizes["t"],
                shape=shape,
                dtype=self.dtype,
                fill=fill,
                ticks=None,
                step="",
                remarks=remarks if item == 0 else (),  # they hold for all items, and there may be thousands
                blocks=functools.partial(self._blocks, item, shape),
                origin=dataclasses.replace(
                    self.origin,
                    key=self.member.key,
                    axes=self.axes,
                    dtype=self.member.dtype.newbyteorder("="),
                    item=item if "n" in self.axes else None,
                ),
            )
            for item in range(self.sizes["n"])
        ]

    def _blocks(self, item: int, shape: tuple[int, int, int], first: int = 0) -> Iterator[np.ndarray]:
        size = frames_per_block(shape, self.dtype)
        no_mask = contextlib.nullcontext(None)
        with (
            damage_named(self.label),
            self.member.opened() as stored,
            no_mask if self.mask is None else self.mask.opened() as masked,
        ):
            for start in range(first, self.sizes["t"], size):
                place = {"n": item, "t": slice(start, min(start + size, self.sizes["t"]))}
                block = _sliced(stored, self.axes, place)  # [t, h, w, c]
                missing = None if masked is None else _sliced(masked, self._mask_axes(), place) != 0
                yield self._converted(block, missing, start)

    def _mask_axes(self) -> str | None:
        if self.mask.shape == self.member.shape:
            return self.axes
        frame = "".join(letter for letter in self.axes if letter in "hw")
        for axes in (frame, f"t{frame}"):
            if self.mask.shape == tuple(self.sizes[letter] for letter in axes):
                return axes
        return None

    def _converted(self, block: np.ndarray, missing: np.ndarray | None, first: int) -> np.ndarray:
        """Args: block `[t, h, w, c]` as stored; missing: bool that broadcasts to it; first: number of its first frame."""
        if self.dtype.kind != "f":
            return np.array(block, self.dtype, order="C")
        gone = np.zeros(block.shape, bool) if missing is None else np.broadcast_to(missing, block.shape).copy()
        if self.options.fill_value is not None:
            # A fill value like 1e20 has no exact float32; the file holds the nearest one.
            gone |= block == (block.dtype.type(self.options.fill_value) if block.dtype.kind == "f" else self.options.fill_value)
        if block.dtype.kind in "iu" and block.dtype.itemsize > 2:
            large = ((block > _EXACT_IN_FLOAT32) | (block < -_EXACT_IN_FLOAT32)) & ~gone
            if large.any():
                raise InputError(
                    f"{self.label}, frame {_first_with(large, first)}: value {block[large][0]} has no exact float32; expected "
                    f"integers of at most 2**24 in size; scale them, or name what means missing with --config.data.fill_value"
                )
        with np.errstate(over="ignore", invalid="ignore"):
            frames = np.array(block, np.float32, order="C")
        infinite = np.isinf(frames) & ~gone
        if infinite.any():
            raise InputError(
                f"{self.label}, frame {_first_with(infinite, first)}: found an infinite value (or one beyond float32); "
                f"expected finite numbers, and NaN where values are missing"
            )
        frames[gone] = np.nan
        return frames


def _sliced(stored: Any, axes: str, place: dict[str, Any]) -> np.ndarray:
    """-> `[t, h, w, c]`, of size 1 along axes that there are not."""
    block = np.asarray(stored[tuple(place.get(axis, slice(None)) for axis in axes)])
    left = axes.replace("n", "")
    order = [axis for axis in "thwc" if axis in left]
    block = block.transpose([left.index(axis) for axis in order])
    return np.expand_dims(block, [place for place, axis in enumerate("thwc") if axis not in left])


def _first_with(bad: np.ndarray, first: int) -> int:
    return first + int(bad.any(axis=(1, 2, 3)).argmax())
