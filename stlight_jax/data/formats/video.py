"""Videos, read and written through PyAV."""

import contextlib
import fractions
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.file_contents import PICTURES, require_kind
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_sequence import DecodedPicture, PictureSequence, Turn, to_grey
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_grey_levels
from stlight_jax.data.formats.video_containers import require_whole
from stlight_jax.data.frame_clock import clock_ticks, presented_rate, remarks_on_spacing
from stlight_jax.data.ticks import format_duration
from stlight_jax.errors import InputError

_X264_QUALITY = "10"  # a constant rate factor at which frames hardly differ from the original
_MPEG4_QUALITY = "2"
_MAX_RATE_DENOMINATOR = 1001
_TURNS = {"90": Turn(True, False, True), "180": Turn(False, True, True), "270": Turn(True, True, False)}  # clockwise
_TURNS["-90"] = _TURNS["270"]
_NO_TURN = 0.01
_PADDING = 64  # pixels by which decoders may enlarge a frame
# FFmpeg's pixel formats of one number for each channel, and the letters of the channels as they are stored.
_DEEP_FORMAT = re.compile("(gray|ya|gbrp|gbrap|rgb|bgr|rgba|bgra)(f?)[0-9]+(le|be)")
_LETTERS = {"gray": "y", "ya": "ya", "gbrp": "gbr", "gbrap": "gbra"} | {kind: kind for kind in ("rgb", "bgr", "rgba", "bgra")}


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[PictureSequence]:
    """Opens the first video stream of a file."""
    (path,) = files
    require_kind(path, *PICTURES)  # FFmpeg reads them, too
    with read_errors(path):
        require_whole(path)
    with _opened(path) as (container, stream):
        declared, unit = stream.frames, float(1e6 * (stream.time_base or 0))
        rates = [float(declared_rate or 0) for declared_rate in (stream.average_rate, stream.guessed_rate, stream.base_rate)]
        remarks = _remarks(stream)
        if declared:
            # Some of the frames that a container declares are never shown.
            packets = [(_is_hidden(packet), packet.size, _moment(packet)) for packet in container.demux(stream)]
            declared -= sum(is_hidden for is_hidden, _, _ in packets)
            moments = [moment for is_hidden, size, moment in packets if size and not is_hidden]
            known = sorted(moment for moment in moments if moment is not None)  # packets are in the order of decoding
            if container.format.name == "avi" and known:  # counts frames, and leaves out those that are repeated
                declared -= max(0, known[-1] - known[0] + 1 - len(known) - sum(is_hidden for is_hidden, _, _ in packets))
            moments = [*known] if len(known) == len(moments) else []

    def decode(first: int) -> Iterator[DecodedPicture]:
        return itertools.islice(_decode(path, declared), first, None)

    if not declared:  # the container has to be counted through
        moments = [frame.pts for frame, _ in _frames(path, 0)]
    frames = declared or len(moments)
    rate = presented_rate(moments if frames == len(moments) else [], unit, rates)
    step, ticks = format_duration(1e6 / rate) if rate else "", None
    if options.time != "none" and frames == len(moments):
        ticks = clock_ticks(moments, unit, rates)
        remarks += remarks_on_spacing(moments, unit) if ticks is None else ()
    if ticks is not None:
        step, remarks = ticks.step, remarks + ticks.remarks
    return [
        PictureSequence(
            path,
            FORMAT.name,
            name,
            frames,
            decode,
            options,
            frame_rate=rate or None,
            step=step,
            ticks=None if ticks is None else ticks.ticks,
            remarks=remarks,
        )
    ]


def _remarks(stream: Any) -> tuple[str, ...]:
    # The alpha of WebM is a stream of its own, which FFmpeg's own decoders leave out.
    if _tag(stream, "alpha_mode") == "1" and not any(part.is_alpha for part in stream.format.components):
        return ("its transparency is not read: transparent pixels have the values that are stored",)
    return ()


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
    """Yields all frames as they are shown; see `_frames`."""
    for number, (frame, turn) in enumerate(_frames(path, declared)):
        pixels = _FramePixels(frame, turn)
        to_alpha = pixels.alpha if pixels.has_alpha else None
        label = f"{path}, frame {number}"
        yield DecodedPicture(label, pixels.dtype, pixels.is_grey, pixels.array, to_alpha, pixels.remark)


def _frames(path: epath.Path, declared: int) -> Iterator[tuple[Any, Turn]]:
    """Yields all frames, and how each is turned to be shown.

    Args:
      path: the file.
      declared: number of frames that the container declares and shows; 0 if unknown.

    Raises:
      InputError: the number of frames differs from the declared one (decoders just stop where a file is cut off), or a frame is
        larger than declared.
    """
    count = 0
    with _opened(path) as (container, stream):
        turn, size = _TURNS.get(_tag(stream, "rotate"), Turn()), (stream.width, stream.height)
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
                if max(frame.width - size[0], frame.height - size[1]) > _PADDING:  # damage can declare gigabytes
                    raise InputError(
                        f"{path}, frame {count - 1} has {frame.width} x {frame.height} pixels, the container declares "
                        f"{size[0]} x {size[1]}; the file is damaged, or changes its size: convert it with ffmpeg"
                    )
                turn = _display_turn(path, frame) or turn
                yield frame, turn
    if count < declared:
        raise InputError(
            f"{path}: {count} frames could be decoded of the {declared} that its container declares; the file is cut off or "
            f"damaged; get a whole copy"
        )


def _tag(stream: Any, name: str) -> str:
    return next((value.strip() for key, value in stream.metadata.items() if key.lower() == name), "")


def _display_turn(path: epath.Path, frame: Any) -> Turn | None:
    """Returns how a frame is turned to be shown, by its display matrix; None if it has none.

    Raises:
      InputError: it is turned by other than quarter turns.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    # [x', y'] = [a x + c y, b x + d y] are the places on the screen of the stored places x (columns) and y (rows).
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    largest = max(map(abs, (a, b, c, d)))
    if not largest:
        return None
    if max(abs(b), abs(c)) < _NO_TURN * largest:
        return Turn(False, d < 0, a < 0)
    if max(abs(a), abs(d)) < _NO_TURN * largest:
        return Turn(True, b < 0, c < 0)
    raise InputError(
        f"{path} is shown turned by other than quarter turns; turn its frames with `ffmpeg -i {path.name} turned{path.suffix}`"
    )


class _FramePixels:
    """The pixels of a frame. Those of more than 8 bits are read as they are stored, unless they are YUV.

    Args:
      frame: the decoded frame.
      turn: how it is turned to be shown.
    """

    def __init__(self, frame: Any, turn: Turn):
        self._frame, self._turn = frame, turn
        name, components = frame.format.name, frame.format.components
        match = _DEEP_FORMAT.fullmatch(name)
        self._letters, self.remark = "", ""
        self.dtype: np.dtype = np.dtype(np.uint8)
        bits = max(part.bits for part in components)
        if match and bits > 8:
            kind, is_float, order = match.groups()
            self._letters = _LETTERS[kind]
            size = 2 if bits <= 16 else 4
            self._stored = np.dtype(f"{'<' if order == 'le' else '>'}{'f' if is_float else 'u'}{size}")
            self.dtype = np.dtype(np.float32) if is_float else self._stored.newbyteorder("=")
        elif bits > 8:
            self.remark = f"its {bits}-bit colours ({name}) are read with 8 bits"
        elif frame.interlaced_frame:
            self.remark = "its frames are interlaced (two moments in alternate rows); `ffmpeg -i IN -vf yadif OUT` mends this"
        self.is_grey = name.startswith(("gray", "ya", "mono"))
        self.has_alpha = name == "pal8" or any(part.is_alpha for part in components)

    def array(self, rgb: bool) -> np.ndarray:
        """Returns `[h, w, 3]` if `rgb`, else `[h, w, 1]`."""
        if not self._letters:
            frame = self._frame
            return self._turn(frame.to_ndarray(format="rgb24") if rgb else frame.to_ndarray(format="gray")[..., None])
        colours = "rgb" if "r" in self._letters else "y"
        pixels = self._turn(np.stack([self._channels[letter] for letter in colours], axis=-1))
        if rgb:
            return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return pixels if pixels.shape[-1] == 1 else to_grey(pixels)

    def alpha(self) -> np.ndarray:
        """Returns float32 `[h, w]`, from 0 where the frame is transparent to 1 where it is opaque."""
        if self._letters:
            alpha, components = self._channels["a"], self._frame.format.components
            largest = 1 if self.dtype.kind == "f" else 2 ** max(part.bits for part in components) - 1
        else:
            alpha, largest = self._frame.to_ndarray(format="rgba")[..., 3], 255
        return self._turn(alpha / np.float32(largest))

    @functools.cached_property
    def _channels(self) -> dict[str, np.ndarray]:
        """The channels `[h, w]` of a deep format by their letters, as stored: PyAV has no arrays of some, and scales others."""
        planes = self._frame.planes
        width, each = self._frame.width, len(self._letters) // len(planes)
        channels = []
        for plane in planes:
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: self._frame.height]
            row = np.ascontiguousarray(rows[:, : width * each * self._stored.itemsize]).view(self._stored)
            channels += list(row.reshape(-1, width, each).transpose(2, 0, 1).astype(self.dtype))
        return dict(zip(self._letters, channels, strict=True))


def _moment(packet: Any) -> int | None:
    return packet.dts if packet.pts is None else packet.pts


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
    limits=OutputLimits(channels=(1, 3), marks_missing=False),
)
