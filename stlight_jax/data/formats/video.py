"""Videos, read and written through PyAV."""

from __future__ import annotations

import contextlib
import fractions
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.pillow_frames import is_colourful
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import FrameSource, ReadOptions, SourceInfo, in_blocks, integer_fill
from stlight_jax.data.formats.value_conversion import to_grey_levels
from stlight_jax.data.times import format_duration
from stlight_jax.errors import InputError

_X264_QUALITY = "10"  # a constant rate factor at which frames hardly differ from the original
_MPEG4_QUALITY = "2"
_MAX_RATE_DENOMINATOR = 1001


class Video:
    """The first video stream of a file, grey or rgb as `frame_source` gets it; a `PictureFile`.

    Args:
      path: the file.
      name: name of the sequence.
      options: the user's options.

    Raises:
      InputError: the file is damaged or has no frames.
    """

    def __init__(self, path: epath.Path, name: str, options: ReadOptions):
        self._path, self._name, self._options = path, name, options
        with self._opened() as (container, stream):
            self._declared, rate = stream.frames, stream.average_rate
            if self._declared:
                # Of the frames that a container declares, some are never shown.
                self._declared -= sum(_is_hidden(packet) for packet in container.demux(stream))
        self._rate = float(rate) if rate else None
        first = next(self._decode(), None)
        if first is None:
            raise InputError(f"{path} is a video without frames")
        self._size, self._is_grey = (first.height, first.width), first.format.name.startswith("gray")
        # A container that does not declare its frames has to be counted through.
        self._frames = self._declared or sum(1 for _ in self._decode())

    def has_colour(self) -> bool:
        """Reads frames until one has colours.

        Raises:
          InputError: the file is damaged.
        """
        return not self._is_grey and any(is_colourful(frame.to_ndarray(format="rgb24")) for frame in self._decode())

    def frame_source(self, rgb: bool) -> FrameSource:
        """Returns the sequence, with three channels if `rgb`, else with one.

        Raises:
          InputError: the user asks for an impossible fill value.
        """
        shape, dtype = (*self._size, 3 if rgb else 1), np.dtype(np.uint8)
        return FrameSource(
            name=self._name,
            frames=self._frames,
            shape=shape,
            dtype=dtype,
            blocks=lambda first=0: in_blocks(itertools.islice(self._arrays(rgb), first, None), shape, dtype),
            fill=integer_fill(self._path, self._options.fill_value, dtype),
            step=format_duration(1e6 / self._rate) if self._rate else "",
            info=SourceInfo(self._path, FORMAT.name, dtype, frame_rate=self._rate, is_pictures=True),
        )

    def _arrays(self, rgb: bool) -> Iterator[np.ndarray]:
        for number, frame in enumerate(self._decode()):
            if (frame.height, frame.width) != self._size:
                raise InputError(
                    f"{self._path}: frame {number} has {frame.height} x {frame.width} pixels, the first one "
                    f"{self._size[0]} x {self._size[1]}; all must be of one size"
                )
            yield frame.to_ndarray(format="rgb24") if rgb else frame.to_ndarray(format="gray")[..., None]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """Yields the container and its first video stream; turns the errors of FFmpeg in the block into InputError."""
        import av

        with (
            read_errors(self._path, av.error.FFmpegError),
            av.open(os.path.abspath(self._path)) as container,  # FFmpeg takes letters before a colon for a protocol
        ):
            if not container.streams.video:
                raise InputError(f"{self._path} holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InputError(
                    f"{self._path}: this build of PyAV has no decoder for it; convert it, e.g. to H.264 with ffmpeg"
                )
            stream.thread_type = "AUTO"
            yield container, stream

    def _decode(self) -> Iterator[Any]:
        """Yields all frames.

        Raises:
          InputError: the number of frames differs from the declared one; decoders just stop where a file is cut off.
        """
        count = 0
        with self._opened() as (container, stream):
            for packet in container.demux(stream):
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
        if count < self._declared:
            raise InputError(
                f"{self._path}: {count} frames could be decoded of the {self._declared} that its container declares; the file "
                f"is cut off or damaged; get a whole copy"
            )


def _is_hidden(packet: Any) -> bool:
    """Returns whether a packet is never shown: trimmed videos keep frames that others are decoded from."""
    return packet.is_discard or _is_empty(packet)


def _is_empty(packet: Any) -> bool:
    """Returns whether a packet repeats the last frame, as in AVI. The packet that ends a stream is empty, but has no time."""
    return packet.size == 0 and packet.dts is not None


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> Video:
    return Video(files[0], name, options)


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes H.264 if this build of PyAV has an encoder for it, else MPEG-4; with full colour where a side is odd."""
    import av

    is_h264 = "libx264" in av.codecs_available
    height, width, _ = spec.shape
    # FFmpeg takes letters before a colon for a protocol, unless a slash comes first.
    with av.open(str(path.absolute()), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264" if is_h264 else "mpeg4",
            rate=fractions.Fraction(spec.frame_rate).limit_denominator(_MAX_RATE_DENOMINATOR),
            options={"crf": _X264_QUALITY} if is_h264 else {"qscale": _MPEG4_QUALITY},
        )
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv444p" if is_h264 and (height % 2 or width % 2) else "yuv420p"

        def write(frame: np.ndarray, index: int) -> None:
            picture = np.ascontiguousarray(np.broadcast_to(to_grey_levels(frame, spec), (height, width, 3)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))

        yield write
        container.mux(stream.encode())


FORMAT = FileFormat(
    name="mp4",
    title="a video",
    endings=(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"),
    reader=_read,
    output_endings=(".mp4",),
    writer=_write,
    packages=("av",),
    extra="video",
    is_pictures=True,
    limits=OutputLimits(channels=(1, 3)),
)
