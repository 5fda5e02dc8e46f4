"""The flag --frame_size, for configs that do not fix the size of the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from stlight_jax.errors import InputError

if TYPE_CHECKING:
    from stlight_jax.config import RunConfig


def define_frame_size_flag(values: flags.FlagValues) -> None:
    """Defines --frame_size."""
    flags.DEFINE_string("frame_size", None, "HEIGHTxWIDTH of the frames in pixels, if the config does not fix it.", values)


def chosen_frame_size(config: RunConfig, given: str | None) -> tuple[int, int]:
    """Returns the height and the width of the frames in pixels.

    Args:
      config: a checked config.
      given: value of --frame_size, which wins over the config's.

    Raises:
      InputError: if the flag is no size, or neither the flag nor the config fixes one.
    """
    if given:
        return parse_frame_size(given)
    from stlight_jax.data.load import frame_size

    known = frame_size(config)
    if known is None:
        raise InputError("the config does not fix the size of the frames; give --frame_size=HEIGHTxWIDTH")
    return known


def parse_frame_size(text: str) -> tuple[int, int]:
    """Returns (height, width) of HEIGHTxWIDTH.

    Raises:
      InputError: if the text is not of this form.
    """
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--frame_size={text[:40]}: expected HEIGHTxWIDTH, such as 64x64")
    return int(sides[0]), int(sides[1])
