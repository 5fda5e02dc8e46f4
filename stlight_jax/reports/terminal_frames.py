"""Frames drawn with characters, for terminals without a window, such as those over SSH."""

import numpy as np
from PIL import Image
from rich.console import Console
from rich.text import Text

from stlight_jax.reports.frame_display import ChannelDisplay, FrameDisplay
from stlight_jax.reports.sprites import Clip

_UPPER_HALF = "▀"  # its foreground is one pixel, its background the pixel below
_BRIGHTNESS = " .:-=+*#%@"  # from black to white, where a terminal has no colours
_LABELS, _GAP = 12, 2  # characters
_NARROWEST, _WIDEST, _FEWEST = 12, 32, 3  # characters in a column of frames, and frames in a line
_HIGHEST = 32  # lines of a frame


def draw_clip(clip: Clip, display: FrameDisplay, width: int, coloured: bool) -> str:
    """Draws some frames of a forecast: rows input, truth (where it is known) and prediction; the first channel or colours.

    Args:
      clip: The forecast.
      display: The colours.
      width: Characters in a line of the terminal; lines are longer if it is less than 26.
      coloured: Whether to draw with colours, two pixels to a character, or with characters of different darkness.

    Returns:
      The lines, each ending in a newline.
    """
    view, side = display.views[0], clip.prediction.shape[2]
    columns = max(min(side, _WIDEST, (width - _LABELS) // _FEWEST - _GAP), _NARROWEST)
    most = max((width - _LABELS) // (columns + _GAP), 1)
    text = Text()
    for label, frames in (("input", clip.inputs), ("truth", clip.truth), ("prediction", clip.prediction)):
        if frames is None or not len(frames):
            continue
        shown = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
        unit = "frame" if label == "input" else "lead time"
        names = [f"{unit} {number + 1}" for number in shown]
        text.append(label.ljust(_LABELS) + "".join(name.ljust(columns + _GAP) for name in names).rstrip() + "\n")
        drawn = [_lines(frames[number], view, columns, coloured) for number in shown]
        for parts in zip(*drawn, strict=True):
            text.append(" " * _LABELS)
            for part in parts:
                part.align("left", columns)
                text.append(part).append(" " * _GAP)
            text.append("\n")
    console = Console(
        width=width, force_terminal=coloured, color_system="truecolor" if coloured else None, no_color=not coloured
    )
    with console.capture() as capture:
        console.print(text, end="", soft_wrap=True)
    return capture.get()


def _lines(frame: np.ndarray, view: ChannelDisplay, columns: int, coloured: bool) -> list[Text]:
    """Draws a frame `[h, w, c]`, in at most `columns` characters."""
    height, width = frame.shape[:2]
    columns = max(min(columns, round(2 * _HIGHEST * width / height)), 1)  # a character is about twice as high as wide
    rows = min(max(round(columns * height / width / 2), 1), _HIGHEST)
    picture = Image.fromarray(view.pixels(frame))
    if not coloured:
        grey = np.asarray(picture.convert("L").resize((columns, rows), Image.Resampling.BOX), int)
        return [Text("".join(_BRIGHTNESS[level * len(_BRIGHTNESS) // 256] for level in row)) for row in grey]
    colours = np.asarray(picture.resize((columns, 2 * rows), Image.Resampling.BOX))
    lines = []
    for upper, lower in zip(colours[::2], colours[1::2], strict=True):
        line = Text()
        for above, below in zip(upper, lower, strict=True):
            line.append(_UPPER_HALF, f"{_hex(above)} on {_hex(below)}")
        lines.append(line)
    return lines


def _hex(colour: np.ndarray) -> str:
    return "#" + "".join(f"{level:02x}" for level in colour.tolist())
