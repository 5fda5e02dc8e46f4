"""Sequences as pictures inside a page: all frames of a row in one PNG, small enough to send by mail."""

import base64
import dataclasses
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from stlight_jax.evaluation.samples import evenly_spaced
from stlight_jax.reports.frame_display import ChannelDisplay, FrameDisplay

# The longest side of a frame in pixels and the most frames of a row, from the best to the least that is still of use.
_SIZES = ((256, 48), (192, 48), (128, 48), (128, 24), (96, 24), (64, 12))
_LIMIT = 6_000_000  # bytes as base64
_ENOUGH_ERRORS = 10**5  # of a clip, to choose their colours


@dataclasses.dataclass(frozen=True)
class Clip:
    """A sequence to show: floats `[t, h, w, c]` in the network's range (0 is black, 1 is white), NaN where values are missing.

    Attributes:
      title: its heading.
      inputs: the input frames.
      truth: the true frames after the input; None if unknown.
      prediction: the predicted frames after the input.
      note: text beside the heading.
    """

    title: str
    inputs: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray
    note: str = ""

    @property
    def true_parts(self) -> list[np.ndarray]:
        """The input, and the truth if it is known."""
        return [self.inputs] if self.truth is None else [self.inputs, self.truth]

    @property
    def errors(self) -> list[np.ndarray]:
        """The errors of the predicted frames whose truth is known; of large frames not those of all pixels."""
        if self.truth is None:
            return []
        known = min(len(self.truth), len(self.prediction))
        stride = 1 + math.isqrt(self.prediction.size // _ENOUGH_ERRORS)
        chosen = slice(known), slice(None, None, stride), slice(None, None, stride)
        return [self.prediction[chosen] - self.truth[chosen][..., : self.prediction.shape[-1]]]


def error_note(mse: float, per_value: float) -> str:
    """Returns the note of a clip with a known error."""
    return f"MSE {mse:.4g}, {per_value:.3g} per value"


def encode_clips(
    clips: Sequence[Clip], limit: int = _LIMIT, display: FrameDisplay | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Encodes clips for `page.js`; each channel that is shown is a clip of its own.

    Args:
      clips: in order.
      limit: of all pictures together, in bytes. Frames are made smaller and fewer to keep it; if even the smallest size exceeds
        it, the last clips are left out.
      display: the colours; None chooses them for these clips.

    Returns:
      JSON of each clip: "title", "note", "width" and "height" of its frames, "bars" and "rows". "bars" has the texts at both
      ends of the colour bars of "values" and, with truth, of "difference". A row has a "name", the "source" of
      its PNG (a data: URI), the number of "columns" of frames in it, the number of frames "of" which these were chosen, and the
      number of each in "frames". Second, remarks: sentences about the pictures.
    """
    channels = min((clip.prediction.shape[-1] for clip in clips), default=1)
    if display is None:
        display = FrameDisplay.of(
            [part[..., :channels] for clip in clips for part in clip.true_parts] or [np.ones((1, 1, 1))],
            channels,
            errors=[errors for clip in clips for errors in clip.errors],
        )
    encoded: list[list[dict[str, Any]]] = []
    for side, most in _SIZES:
        encoded = _within(limit, clips, display, side, most)
        if len(encoded) == len(clips):
            break
    shown = [one for of_clip in encoded for one in of_clip]
    return shown, _remarks(clips, [of_clip[0] for of_clip in encoded], display)


def _within(limit: int, clips: Sequence[Clip], display: FrameDisplay, side: int, most: int) -> list[list[dict[str, Any]]]:
    """The first clips, up to a limit in bytes; a list for each, with an item for each channel."""
    encoded, size = [], 0
    for clip in clips:
        shown = [_encode(clip, view, side, most) for view in display.views]
        size += sum(len(row["source"]) for one in shown for row in one["rows"])
        if size > limit:
            break
        encoded.append(shown)
    return encoded


def _encode(clip: Clip, view: ChannelDisplay, side: int, most: int) -> dict[str, Any]:
    height, width = clip.prediction.shape[1:3]
    factor = min(1.0, side / max(height, width))
    width, height = max(1, round(width * factor)), max(1, round(height * factor))
    rows = []
    for name, count, frame in _rows(clip):
        chosen = evenly_spaced(count, most).tolist()
        # One by one: a coloured frame takes many times the memory of the frame itself.
        colour = view.error_pixels if name == "difference" else view.pixels
        source, columns = _sprite([_reduced(colour(frame(number)), width, height) for number in chosen])
        numbers = [number + 1 for number in chosen]
        rows.append({"name": name, "source": source, "columns": columns, "frames": numbers, "of": count})
    bars = {"values": list(view.ends)}
    if clip.truth is not None:
        bars["difference"] = [f"-{view.span.split()[0]}", f"+{view.span}"]
    title = f"{clip.title}, {view.name}" if view.name else clip.title
    return {"title": title, "note": clip.note, "width": width, "height": height, "bars": bars, "rows": rows}


def _rows(clip: Clip) -> Iterator[tuple[str, int, Callable[[int], np.ndarray]]]:
    """Yields the name of each row, its number of frames, and a function that returns one of them."""
    truth, prediction = clip.truth, clip.prediction
    yield "input", len(clip.inputs), clip.inputs.__getitem__
    if truth is not None:
        yield "truth", len(truth), truth.__getitem__
    yield "prediction", len(prediction), prediction.__getitem__
    if truth is not None:
        yield "difference", len(truth), lambda number: prediction[number] - truth[number]


def _reduced(frame: np.ndarray, width: int, height: int) -> Image.Image:
    """Reduces a frame, uint8 `[h, w, 3]`, to a size in pixels."""
    image = Image.fromarray(frame)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BOX)


def _sprite(images: Sequence[Image.Image]) -> tuple[str, int]:
    """Joins pictures of one size, line by line, in a PNG; returns it as a data: URI, and the number of its columns.

    The PNG is as square as possible, because browsers do not draw pictures that are tens of thousands of pixels wide.
    """
    width, height = images[0].size
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * height))
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    channels = np.asarray(sheet)
    if (channels == channels[..., :1]).all():
        sheet = sheet.getchannel(0)  # grey takes a third of the bytes
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}", columns


def _remarks(clips: Sequence[Clip], encoded: Sequence[dict[str, Any]], display: FrameDisplay) -> list[str]:
    remarks = []
    if any(clip.truth is not None for clip in clips):
        remarks.append("Difference: red where the prediction is too bright, blue where too dark, black where right.")
    if any(np.isnan(frame).all(-1).any() for clip in clips for part in clip.true_parts for frame in part):
        remarks.append("Slate: missing values.")
    remarks += display.remarks()
    if any(len(clip.inputs) != len(clip.prediction) for clip in clips):
        remarks.append("Input and prediction run side by side; the shorter one waits at its end.")
    for name, row in (("input frames", 0), ("lead times", -1)):
        for of, count in sorted({(clip["rows"][row]["of"], len(clip["rows"][row]["frames"])) for clip in encoded}):
            if count < of:
                remarks.append(f"Of {of} {name} {count} are shown, evenly spaced.")
    sizes = [
        (*clip.prediction.shape[1:3], shown["height"], shown["width"]) for clip, shown in zip(clips, encoded, strict=False)
    ]
    for height, width, shown_height, shown_width in dict.fromkeys(sizes):
        if (height, width) != (shown_height, shown_width):
            remarks.append(f"Frames of {width} x {height} pixels are reduced to {shown_width} x {shown_height}.")
    if len(encoded) < len(clips):
        remarks.append(f"Of {len(clips)} sequences only the first {len(encoded)} are shown, to keep this page small.")
    return remarks
