"""Pictures of predictions, as files."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from stlight_jax.reports.frame_display import ChannelDisplay, FrameDisplay, pixels

_CELL = 96  # pixels, at least, per frame side
_GAP = 4
_LABEL_WIDTH, _HEADER = 92, 30
_LINE, _BAR_WIDTH, _BAR_HEIGHT = 20, 90, 10  # of a line of the legend, and of a colour bar in it
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_MILLISECONDS = 350


def draw_strip(
    path: epath.PathLike,
    inputs: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    display: FrameDisplay | None = None,
) -> None:
    """Draws one sequence as a PNG: rows input, truth, prediction, error for each channel; a column per frame.

    Args:
      path: of the PNG.
      inputs: floats in the metrics' range, `[T, h, w, c]`.
      truth: floats, `[t, h, w, c]`; None leaves out its row and the error's.
      prediction: floats, `[t, h, w, c]`.
      display: the colours; None chooses them for these frames.
    """
    rows = {"input": inputs, "prediction": prediction}
    if truth is not None:
        rows = {"input": inputs, "truth": truth, "prediction": prediction, "error": prediction - truth}
    display = display or FrameDisplay.of([inputs] if truth is None else [inputs, truth], prediction.shape[-1])
    columns = max(len(inputs), len(prediction))
    blocks = []
    for view in display.views:
        cells = [
            [_picture(frames[t], name, view) if t < len(frames) else None for t in range(columns)]
            for name, frames in rows.items()
        ]
        header = [str(t + 1) for t in range(columns)]
        blocks += [_grid(cells, list(rows), header, view.name), _legend(view, rows)]
    _save(path, [_below_each_other(blocks, display)])


def animate(
    path: epath.PathLike, inputs: np.ndarray, truth: np.ndarray, prediction: np.ndarray, display: FrameDisplay | None = None
) -> None:
    """Draws several sequences as a GIF: a column each, rows input, truth, prediction, error, all running together.

    Args:
      path: of the GIF.
      inputs: floats in the metrics' range, `[n, T, h, w, c]`.
      truth: floats, `[n, t, h, w, c]`.
      prediction: floats, `[n, t, h, w, c]`.
      display: the colours; None chooses them for these frames.
    """
    display = display or FrameDisplay.of([inputs, truth], prediction.shape[-1])
    images = []
    for time in range(max(inputs.shape[1], truth.shape[1])):
        seen, ahead = min(time, inputs.shape[1] - 1), min(time, truth.shape[1] - 1)
        frames = {
            "input": inputs[:, seen],
            "truth": truth[:, ahead],
            "prediction": prediction[:, ahead],
            "error": prediction[:, ahead] - truth[:, ahead],
        }
        title = f"input frame {seen + 1} of {inputs.shape[1]}     lead time {ahead + 1} of {truth.shape[1]}"
        blocks = []
        for view in display.views:
            cells = [[_picture(frame, name, view) for frame in row] for name, row in frames.items()]
            blocks += [_grid(cells, list(frames), title, view.name), _legend(view, {"error": frames["error"], "input": inputs})]
        images.append(_below_each_other(blocks, display))
    _save(path, images)


def _picture(frame: np.ndarray, kind: str, view: ChannelDisplay) -> Image.Image:
    """An image of a frame `[h, w, c]`, large enough to see."""
    image = Image.fromarray(view.error_pixels(frame) if kind == "error" else view.pixels(frame))
    scale = max(1, -(-_CELL // max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _grid(
    cells: Sequence[Sequence[Image.Image | None]], names: Sequence[str], header: str | Sequence[str], corner: str
) -> Image.Image:
    """Joins rows of pictures, with their names on the left and a header above: one title, or a heading per column."""
    width, height = next(picture.size for row in cells for picture in row if picture is not None)
    columns = len(cells[0])
    canvas = Image.new("RGB", (_LABEL_WIDTH + columns * (width + _GAP), _HEADER + len(cells) * (height + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    draw.text((8, _HEADER // 2), corner, _INK, font, anchor="lm")
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


class _Bar(NamedTuple):
    """A line of a legend.

    Attributes:
      name: on the left.
      left: text before the bar.
      colours: uint8 `[width, 3]`.
      right: text behind it.
    """

    name: str
    left: str
    colours: np.ndarray
    right: str


def _legend(view: ChannelDisplay, rows: dict[str, np.ndarray]) -> Image.Image:
    """Draws the colour bars of values and, if there is such a row, of errors; and the colour of missing values."""
    ramp = np.linspace(0, 1, _BAR_WIDTH)[:, None]
    bars = [_Bar("values", view.ends[0], pixels(ramp), view.ends[1])]
    if "error" in rows:
        bars.append(_Bar("error", f"-{view.span.split()[0]}", pixels(2 * ramp - 1, error=True), f"+{view.span}"))
    if any(np.isnan(frames[..., view.channels]).any() for frames in rows.values()):
        bars.append(_Bar("missing", "", pixels(np.full((_BAR_WIDTH, 1), np.nan)), ""))
    font = ImageFont.load_default(12)
    before, behind = (
        max(int(font.getlength(text)) for text in texts) for texts in ([bar.left for bar in bars], [bar.right for bar in bars])
    )
    canvas = Image.new("RGB", (_LABEL_WIDTH + before + _BAR_WIDTH + behind + 4 * _GAP, _LINE * len(bars)), _PAPER)
    draw, at = ImageDraw.Draw(canvas), _LABEL_WIDTH + before + _GAP
    for number, bar in enumerate(bars):
        middle = number * _LINE + _LINE // 2
        draw.text((8, middle), bar.name, _INK, font, anchor="lm")
        draw.text((at - _GAP, middle), bar.left, _INK, font, anchor="rm")
        canvas.paste(Image.fromarray(np.tile(bar.colours, (_BAR_HEIGHT, 1, 1))), (at, middle - _BAR_HEIGHT // 2))
        draw.text((at + _BAR_WIDTH + _GAP, middle), bar.right, _INK, font, anchor="lm")
    return canvas


def _below_each_other(blocks: list[Image.Image], display: FrameDisplay) -> Image.Image:
    """Joins blocks, and writes below how many channels are left out, if any are."""
    left_out = [remark for remark in display.remarks() if remark.startswith("Of ")]
    height = sum(block.height for block in blocks)
    canvas = Image.new("RGB", (max(block.width for block in blocks), height + _LINE * len(left_out)), _PAPER)
    top = 0
    for block in blocks:
        canvas.paste(block, (0, top))
        top += block.height
    for remark in left_out:
        ImageDraw.Draw(canvas).text((8, top + _LINE // 2), remark, _INK, ImageFont.load_default(12), anchor="lm")
    return canvas


def _save(path: epath.PathLike, images: list[Image.Image]) -> None:
    path, content = epath.Path(path), io.BytesIO()
    if path.suffix == ".gif":
        first, *rest = [image.quantize(256, dither=Image.Dither.NONE) for image in images]
        first.save(content, "GIF", save_all=True, append_images=rest, duration=_MILLISECONDS, loop=0)
    else:
        images[0].save(content, "PNG", optimize=True)
    path.write_bytes(content.getvalue())
