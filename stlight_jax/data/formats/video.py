"""Videos, read and written through PyAV."""

import contextlib
import fractions
import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_sequence import DecodedPicture, PictureSequence
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_grey_levels
from stlight_jax.data.times import format_duration
from stlight_jax.errors import InputError

_X264_QUALITY = "10"  # a constant rate factor at which frames hardly differ from the original
_MPEG4_QUALITY = "2"
_MAX_RATE_DENOMINATOR = 1001


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> PictureSequence:
    """Opens the first video stream of a file."""
    (path,) = files
    with _opened(path) as (container, stream):
        declared, rate = stream.frames, float(stream.average_rate or 0)
        if declared:
            # Some of the frames that a container declares are never shown.
            declared -= sum(_is_hidden(packet) for packet in container.demux(stream))

    def decode(first: int) -> Iterator[DecodedPicture]:
        return itertools.islice(_decode(path, declared), first, None)

    # A container that does not declare its frames has to be counted through.
    frames = declared or sum(1 for _ in decode(0))
    step = format_duration(1e6 / rate) if rate else ""
    return PictureSequence(path, FORMAT.name, name, frames, decode, options, rate or None, step)


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[tuple[Any, Any]]:
    """Yields the container and its first video stream; turns the errors of FFmpeg in the block into InputError."""
    import av

    with (
        read_errors(path, av.error.FFmpegError),
        av.open(os.path.abspath(path)) as container,  # FFmpeg takes letters before a colon for a protocol
    ):
        if not container.streams.video:
            raise InputError(f"{path} holds no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{path}: this build of PyAV has no decoder for it; convert it, e.g. to H.264 with ffmpeg")
        stream.thread_type = "AUTO"
        yield container, stream


def _decode(path: epath.Path, declared: int) -> Iterator[DecodedPicture]:
    """Yields all frames.

    Args:
      path: the file.
      declared: number of frames that the container declares and shows; 0 if unknown.

    Raises:
      InputError: the number of frames differs from the declared one; decoders just stop where a file is cut off.
    """
    count = 0
    with _opened(path) as (container, stream):
        for packet in container.demux(stream):
            if _is_empty(packet):  # decoders would take it for the end
                continue
            for frame in packet.decode():
                count += 1
                if declared and count > declared:
                    raise InputError(
                        f"{path} has more frames than the {declared} that its container declares; write it anew with "
                        f"`ffmpeg -i {path.name} -c copy fixed{path.suffix}`"
                    )
                is_grey, to_array = frame.format.name.startswith("gray"), functools.partial(_to_array, frame)
                yield DecodedPicture(f"{path}, frame {count - 1}", (frame.height, frame.width), 8, is_grey, to_array)
    if count < declared:
        raise InputError(
            f"{path}: {count} frames could be decoded of the {declared} that its container declares; the file is cut off or "
            f"damaged; get a whole copy"
        )


def _to_array(frame: Any, rgb: bool) -> np.ndarray:
    return frame.to_ndarray(format="rgb24") if rgb else frame.to_ndarray(format="gray")[..., None]


def _is_hidden(packet: Any) -> bool:
    """Returns whether a packet is never shown: trimmed videos keep frames that others are decoded from."""
    return packet.is_discard or _is_empty(packet)


def _is_empty(packet: Any) -> bool:
    """Returns whether a packet repeats the last frame, as in AVI. The packet that ends a stream is empty, but has no time."""
    return packet.size == 0 and packet.dts is not None


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
