"""Sequences as pictures inside a page: all frames of a row in one PNG, small enough to be sent by mail."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from stlight_jax.evaluation.samples import evenly_spaced
from stlight_jax.reports.pictures import brightening, pixels

# The longest side of a frame and the most frames of a row, from good to the least that still shows something.
_SIZES = ((256, 48), (192, 48), (128, 48), (128, 24), (96, 24), (64, 12))
_LIMIT = 6_000_000  # bytes as base64


@dataclasses.dataclass(frozen=True)
class Clip:
    """A sequence to be shown: floats `[t, h, w, c]` in the network's range (0 is black, 1 white), NaN where values are missing.

    Attributes:
      title: its heading.
      inputs: the frames the network saw.
      truth: what came then; None if nobody knows.
      prediction: what the network says came then.
      note: said beside the heading.
    """

    title: str
    inputs: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray
    note: str = ""


def error_note(mse: float, per_value: float) -> str:
    """What is said beside a clip's heading of its error."""
    return f"MSE {mse:.4g}, {per_value:.3g} per value"


def gallery(clips: Sequence[Clip], limit: int = _LIMIT) -> tuple[list[dict[str, Any]], list[str]]:
    """Clips for `page.js`, and what has to be said of them.

    Args:
      limit: of all pictures together, in bytes. Frames are made smaller and fewer until it is kept; if even that is not enough,
        the last clips are left out.

    Returns:
      JSON of each clip: "title", "note", "width" and "height" of its frames, and "rows": each a "name", the "source" of its PNG
      (a data: URI), in how many "columns" the frames stand there, "of" how many frames they were taken, and the number of each
      in "frames"; then sentences.
    """
    scale = brightening([part[..., : clip.prediction.shape[-1]] for clip in clips for part in _known(clip)])
    shown: list[dict[str, Any]] = []
    for side, most in _SIZES:
        shown, size = [], 0
        for clip in clips:
            encoded = _encoded(clip, scale, side, most)
            size += sum(len(row["source"]) for row in encoded["rows"])
            if size > limit:
                break
            shown.append(encoded)
        if len(shown) == len(clips):
            break
    return shown, _remarks(clips, shown, scale)


def _known(clip: Clip) -> list[np.ndarray]:
    return [clip.inputs] if clip.truth is None else [clip.inputs, clip.truth]


def _encoded(clip: Clip, scale: float, side: int, most: int) -> dict[str, Any]:
    rows = [("input", clip.inputs)]
    if clip.truth is not None:
        rows.append(("truth", clip.truth))
    rows.append(("prediction", clip.prediction))
    height, width = clip.prediction.shape[1:3]
    factor = min(1.0, side / max(height, width))
    width, height = max(1, round(width * factor)), max(1, round(height * factor))
    encoded = []

    def encode(name: str, of: int, picture: Callable[[int], np.ndarray]) -> None:
        chosen = evenly_spaced(of, most).tolist()
        # One by one: coloured, a frame takes many times the memory that it takes as it is.
        source, columns = _sprite([_reduced(picture(number), width, height) for number in chosen])
        numbers = [number + 1 for number in chosen]
        encoded.append({"name": name, "source": source, "columns": columns, "frames": numbers, "of": of})

    for name, frames in rows:
        encode(name, len(frames), lambda number, frames=frames: pixels(frames[number] * scale))
    if clip.truth is not None:
        truth, prediction = clip.truth, clip.prediction
        encode("difference", len(truth), lambda number: pixels((prediction[number] - truth[number]) * scale, error=True))
    return {"title": clip.title, "note": clip.note, "width": width, "height": height, "rows": encoded}


def _reduced(frame: np.ndarray, width: int, height: int) -> Image.Image:
    """Args: frame, uint8 `[h, w, 3]`."""
    image = Image.fromarray(frame)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BOX)


def _sprite(images: Sequence[Image.Image]) -> tuple[str, int]:
    """Pictures of one size -> a PNG of all of them, line by line, as a data: URI, and its columns.

    As square as it can be, because browsers draw nothing of pictures that are tens of thousands of pixels wide.
    """
    width, height = images[0].size
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * height))
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    channels = np.asarray(sheet)
    if (channels == channels[..., :1]).all():
        sheet = sheet.getchannel(0)  # grey takes a third of the room
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}", columns


def _remarks(clips: Sequence[Clip], shown: Sequence[dict[str, Any]], scale: float) -> list[str]:
    remarks = []
    if any(clip.truth is not None for clip in clips):
        remarks.append(
            "Difference: red where the prediction is too bright, blue where it is too dark, black where it is right."
        )
    if any(np.isnan(frame).all(-1).any() for clip in clips for part in _known(clip) for frame in part):
        remarks.append("Slate: missing values.")
    if scale > 1:
        remarks.append(f"Most values are small; all frames are brightened {scale:.3g} times.")
    for channels in sorted({clip.prediction.shape[-1] for clip in clips} - {1, 3}):
        remarks.append(f"Of {channels} channels the first one is shown.")
    if any(len(clip.inputs) != len(clip.prediction) for clip in clips):
        remarks.append("Input and prediction run side by side; the shorter one waits at its end.")
    for what, row in (("input frames", 0), ("lead times", -1)):
        for of, count in sorted({(clip["rows"][row]["of"], len(clip["rows"][row]["frames"])) for clip in shown}):
            if count < of:
                remarks.append(f"Of {of} {what} {count} are shown, evenly spaced.")
    for clip, encoded in zip(clips, shown, strict=False):
        height, width = clip.prediction.shape[1:3]
        if (height, width) != (encoded["height"], encoded["width"]):
            said = f"Frames of {width} x {height} pixels are reduced to {encoded['width']} x {encoded['height']}."
            remarks += [said] if said not in remarks else []
    if len(shown) < len(clips):
        remarks.append(f"Of {len(clips)} sequences only the first {len(shown)} are shown, to keep this page small.")
    return remarks
