"""Videos, GIFs and folders of pictures, frame by frame."""

from __future__ import annotations

import contextlib
import fractions
import io
import pathlib
import struct
from collections.abc import Iterator

import numpy as np
from PIL import GifImagePlugin, Image

from stlight_jax.data.formats.output import Form, Write, as_grey_levels, as_type
from stlight_jax.data.formats.types import needed

_FINE = "10"  # x264's constant rate factor: hardly to be told from the frames themselves


@contextlib.contextmanager
def mp4(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """H.264 where this build of PyAV has an encoder for it, else MPEG-4. Sides that are odd keep all colours, as they must."""
    av = needed("av", "video", path)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    height, width, _ = form.shape
    # FFmpeg takes what comes before a colon for a protocol, unless there is a slash before it.
    with av.open(str(path.absolute()), "w", format="mp4") as container:
        options = {"crf": _FINE} if codec == "libx264" else {"qscale": "2"}
        stream = container.add_stream(codec, rate=fractions.Fraction(form.rate).limit_denominator(1001), options=options)
        stream.height, stream.width = height, width
        odd = height % 2 or width % 2
        stream.pix_fmt = "yuv444p" if odd and codec == "libx264" else "yuv420p"

        def write(frames: np.ndarray) -> None:
            for frame in frames:
                levels = as_grey_levels(frame, form)
                picture = np.repeat(levels, 3, -1) if levels.shape[-1] == 1 else levels
                for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")):
                    container.mux(packet)

        yield write
        for packet in stream.encode():
            container.mux(packet)


@contextlib.contextmanager
def gif(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """A GIF with a palette for each frame. Pillow would keep all frames in memory, and make one of two that are equal."""
    milliseconds = max(20, round(1000 / form.rate))
    height, width, _ = form.shape
    with open(path, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # again and again

        def write(frames: np.ndarray) -> None:
            for frame in frames:
                levels = as_grey_levels(frame, form)
                image = _grey(levels) if levels.shape[-1] == 1 else Image.fromarray(levels).quantize(256, dither=0)
                parts = GifImagePlugin.getdata(image, duration=milliseconds, include_color_table=True)
                file.write(b"".join(parts))

        yield write
        file.write(b";")


@contextlib.contextmanager
def folder(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """PNGs that are numbered by the places of their frames; of 16 bits if the frames have them."""
    path.mkdir()
    done = 0

    def write(frames: np.ndarray) -> None:
        nonlocal done
        for frame in frames:
            deep = np.nan_to_num(frame) if form.fill is None else frame
            picture = as_type(deep, form.dtype, form.fill) if form.is_deep else as_grey_levels(frame, form)
            content = io.BytesIO()
            Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(content, "PNG")
            (path / f"{form.name_of(done)}.png").write_bytes(content.getvalue())
            done += 1

    yield write


def _grey(levels: np.ndarray) -> Image.Image:
    image = Image.fromarray(levels[..., 0], "L").copy()
    palette = Image.new("P", image.size)
    palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    palette.frombytes(image.tobytes())
    return palette
