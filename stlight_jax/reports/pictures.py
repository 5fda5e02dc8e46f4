"""Pictures of predictions, as files."""

import io
import math
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

_CELL = 96  # pixels, at least, per frame side
_GAP = 4
_LABEL_WIDTH, _HEADER = 92, 30
_MISSING = (96, 112, 144)
_BRIGHTEST = 99.5  # percentile of the true frames that is drawn white
_ENOUGH_VALUES = 10**6  # to find that percentile
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_MILLISECONDS = 350


def displayed(inputs: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, ...]:
    """Brightens frames for pictures, all by the same factor, if nearly all values are small, as in traffic and rain.

    Args:
      inputs: floats in the network's range, NaN where values are missing.
      truth: as `inputs`.
      prediction: as `inputs`.

    Returns:
      Inputs, truth and prediction.
    """
    scale = brightening([inputs[..., : truth.shape[-1]], truth])
    return inputs * scale, truth * scale, prediction * scale


def brightening(frames: Sequence[np.ndarray]) -> float:
    """Finds the factor by which frames are brightened in pictures: above 1 if nearly all values are small.

    Args:
      frames: floats `[..., h, w, c]`. Of very many pixels only every second, third, ... of a row and of a column is used.
    """
    stride = 1 + math.isqrt(sum(part.size for part in frames) // _ENOUGH_VALUES)
    values = np.concatenate([part[..., ::stride, ::stride, :].ravel() for part in frames])
    values = values[~np.isnan(values)]
    brightest = float(np.percentile(values, _BRIGHTEST, overwrite_input=True)) if values.size else 0.0
    return 1 / brightest if 0 < brightest < 0.5 else 1.0


def draw_strip(path: epath.PathLike, inputs: np.ndarray, truth: np.ndarray | None, prediction: np.ndarray) -> None:
    """Draws one sequence as a PNG: rows input, truth, prediction, error; a column per frame.

    Args:
      path: of the PNG.
      inputs: floats in [0, 1], `[T, h, w, c]`.
      truth: floats in [0, 1], `[t, h, w, c]`; None leaves out its row and the error's.
      prediction: floats in [0, 1], `[t, h, w, c]`.
    """
    rows = {"input": inputs, "prediction": prediction}
    if truth is not None:
        rows = {"input": inputs, "truth": truth, "prediction": prediction, "error": prediction - truth}
    columns = max(len(inputs), len(prediction))
    cells = [[_picture(frames[t], name) if t < len(frames) else None for t in range(columns)] for name, frames in rows.items()]
    header = [str(t + 1) for t in range(columns)]
    _save(path, [_grid(cells, list(rows), header)])


def animate(path: epath.PathLike, inputs: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
    """Draws several sequences as a GIF: a column each, rows input, truth, prediction, error, all running together.

    Args:
      path: of the GIF.
      inputs: floats in [0, 1], `[n, T, h, w, c]`.
      truth: floats in [0, 1], `[n, t, h, w, c]`.
      prediction: floats in [0, 1], `[n, t, h, w, c]`.
    """
    images = []
    for time in range(max(inputs.shape[1], truth.shape[1])):
        seen, ahead = min(time, inputs.shape[1] - 1), min(time, truth.shape[1] - 1)
        frames = {
            "input": inputs[:, seen],
            "truth": truth[:, ahead],
            "prediction": prediction[:, ahead],
            "error": prediction[:, ahead] - truth[:, ahead],
        }
        cells = [[_picture(frame, name) for frame in row] for name, row in frames.items()]
        title = f"input frame {seen + 1} of {inputs.shape[1]}     lead time {ahead + 1} of {truth.shape[1]}"
        images.append(_grid(cells, list(frames), title))
    _save(path, images)


def pixels(frames: np.ndarray, error: bool = False) -> np.ndarray:
    """Colours frames: three channels as they are, else the first channel in grey; missing values in slate.

    Args:
      frames: floats `[..., h, w, c]`, drawn from 0 to 1; a pixel with NaN in every channel is missing.
      error: whether the frames are errors: red is too bright, blue too dark, black right.

    Returns:
      uint8 `[..., h, w, 3]`.
    """
    missing = np.isnan(frames).all(-1)
    frames = np.nan_to_num(frames)
    if error:
        shown = frames if frames.shape[-1] == 3 else frames[..., :1]
        signed = shown[..., 0]
        if shown.shape[-1] == 3:  # a mean over colours would cancel
            signed = np.take_along_axis(shown, np.abs(shown).argmax(-1, keepdims=True), -1)[..., 0]
        channels = np.stack([np.maximum(signed, 0), np.maximum(np.abs(signed) - 0.5, 0), np.maximum(-signed, 0)], -1)
    else:
        channels = frames if frames.shape[-1] == 3 else frames[..., :1]
    np.clip(channels, 0, 1, out=channels)  # in place: a page has frames of any size
    channels *= 255
    coloured = np.rint(channels, out=channels).astype(np.uint8)
    coloured = np.repeat(coloured, 3, -1) if coloured.shape[-1] == 1 else coloured
    coloured[missing] = _MISSING
    return coloured


def _picture(frame: np.ndarray, kind: str) -> Image.Image:
    """An image of a frame `[h, w, c]`, large enough to see."""
    image = Image.fromarray(pixels(frame, error=kind == "error"))
    scale = max(1, -(-_CELL // max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _grid(cells: Sequence[Sequence[Image.Image | None]], names: Sequence[str], header: str | Sequence[str]) -> Image.Image:
    """Joins rows of pictures, with their names on the left and a header above: one title, or a heading per column."""
    width, height = next(picture.size for row in cells for picture in row if picture is not None)
    columns = len(cells[0])
    canvas = Image.new("RGB", (_LABEL_WIDTH + columns * (width + _GAP), _HEADER + len(cells) * (height + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    if isinstance(header, str):
        draw.text((_LABEL_WIDTH, _HEADER // 2), header, _INK, font, anchor="lm")
    else:
        for column, heading in enumerate(header):
            draw.text((_LABEL_WIDTH + column * (width + _GAP) + width // 2, _HEADER // 2), heading, _INK, font, anchor="mm")
    for row, (name, pictures) in enumerate(zip(names, cells, strict=True)):
        top = _HEADER + row * (height + _GAP)
        draw.text((8, top + height // 2), name, _INK, font, anchor="lm")
        for column, picture in enumerate(pictures):
            if picture is not None:
                canvas.paste(picture, (_LABEL_WIDTH + column * (width + _GAP), top))
    return canvas


def _save(path: epath.PathLike, images: list[Image.Image]) -> None:
    path, content = epath.Path(path), io.BytesIO()
    if path.suffix == ".gif":
        first, *rest = [image.quantize(256, dither=Image.Dither.NONE) for image in images]
        first.save(content, "GIF", save_all=True, append_images=rest, duration=_MILLISECONDS, loop=0)
    else:
        images[0].save(content, "PNG", optimize=True)
    path.write_bytes(content.getvalue())
