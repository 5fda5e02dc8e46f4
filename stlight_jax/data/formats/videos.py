"""Videos, through PyAV."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.images import is_colourful
from stlight_jax.data.formats.types import (
    Origin,
    RawSequence,
    ReadOptions,
    in_blocks,
    integer_fill,
    needed,
    refuse_array_options,
)
from stlight_jax.data.times import duration_text
from stlight_jax.errors import InputError


class Video:
    """The first video stream of a file; whether it is grey or rgb is said when the sequence is made.

    Raises InputError: PyAV is missing, the file is damaged or has no frames, options for arrays.
    """

    def __init__(self, path: epath.Path, name: str, options: ReadOptions):
        refuse_array_options(path, options, "a video", keys=("variable", "time", "mask"))
        self._path, self._name, self._options = path, name, options
        self._av = needed("av", "video", path)
        with self._container() as container:
            stream = self._stream(container)
            self._declared, rate = stream.frames, stream.average_rate
            if self._declared:
                # Of the frames that a container declares, some are never shown.
                self._declared -= sum(_is_hidden(packet) for packet in self._packets(container, stream))
        self._rate = float(rate) if rate else None
        self._step = duration_text(1e6 / self._rate) if self._rate else ""
        first = next(self._decoded(), None)
        if first is None:
            raise InputError(f"{path} is a video without frames")
        self._size, self._grey = (first.height, first.width), first.format.name.startswith("gray")
        # A container that does not declare its frames has to be counted through.
        self._frames = self._declared or sum(1 for _ in self._decoded())

    def is_colourful(self) -> bool:
        """Looks at the frames until one has colours. Raises InputError for damage."""
        return not self._grey and any(is_colourful(frame.to_ndarray(format="rgb24")) for frame in self._decoded())

    def sequence(self, rgb: bool) -> RawSequence:
        """Raises InputError for an impossible fill value."""
        shape, dtype = (*self._size, 3 if rgb else 1), np.dtype(np.uint8)
        return RawSequence(
            name=self._name,
            frames=self._frames,
            shape=shape,
            dtype=dtype,
            fill=integer_fill(self._path, self._options.fill_value, dtype),
            ticks=None,
            step=self._step,
            remarks=(),
            blocks=lambda first=0: in_blocks(itertools.islice(self._arrays(rgb), first, None), shape, dtype),
            origin=Origin(self._path, "video", rate=self._rate),
        )

    def _arrays(self, rgb: bool) -> Iterator[np.ndarray]:
        for place, frame in enumerate(self._decoded()):
            if (frame.height, frame.width) != self._size:
                raise InputError(
                    f"{self._path}: frame {place} has {frame.height} x {frame.width} pixels, the first one "
                    f"{self._size[0]} x {self._size[1]}; all must be of one size"
                )
            yield frame.to_ndarray(format="rgb24") if rgb else frame.to_ndarray(format="gray")[..., None]

    def _container(self) -> Any:
        try:
            return self._av.open(os.path.abspath(self._path))  # what comes before a colon would be a protocol
        except (self._av.error.FFmpegError, OSError) as error:
            raise self._damaged(error) from None

    def _stream(self, container: Any) -> Any:
        if not container.streams.video:
            raise InputError(f"{self._path} holds no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{self._path}: this build of PyAV has no decoder for it; convert it, e.g. to H.264 with ffmpeg")
        stream.thread_type = "AUTO"
        return stream

    def _decoded(self) -> Iterator[Any]:
        """All frames; at the end InputError if there were fewer than declared: decoders just stop where a file is cut."""
        count = 0
        with self._container() as container:
            try:
                for packet in self._packets(container, self._stream(container)):
                    if _is_empty(packet):  # decoders would take it for the end
                        continue
                    for frame in packet.decode():
                        count += 1
                        if self._declared and count > self._declared:
                            raise InputError(
                                f"{self._path} has more frames than the {self._declared} that its container declares; write it "
                                f"anew with `ffmpeg -i {self._path.name} -c copy fixed{self._path.suffix}`"
                            )
                        yield frame
            except (self._av.error.FFmpegError, OSError) as error:
                raise self._damaged(error) from None
        if count < self._declared:
            raise InputError(
                f"{self._path}: {count} frames could be decoded of the {self._declared} that its container declares; the file "
                f"is cut off or damaged; get a whole copy"
            )

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        try:
            yield from container.demux(stream)
        except (self._av.error.FFmpegError, OSError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self._path} is damaged, or not what its name says: {error}")


def _is_hidden(packet: Any) -> bool:
    """Whether it is never shown: trimmed videos keep frames that others are decoded from."""
    return packet.is_discard or _is_empty(packet)


def _is_empty(packet: Any) -> bool:
    """Whether it says "the same again", as AVI does. The packet that ends a stream is empty, too, but has no time."""
    return packet.size == 0 and packet.dts is not None
