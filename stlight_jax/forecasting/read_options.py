"""How the frames to predict from are read: as those were that the model was trained on, unless the user says otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stlight_jax.data.formats import registry
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.errors import InputError

# Options of commands; in configs they are keys of the section `data`.
KEYS = ("variable", "time", "layout", "channels", "fill_value", "mask", "frame_step", "height", "width")
_OF_NAMED_ARRAYS = ("variable", "time", "mask")


@dataclasses.dataclass(frozen=True)
class Reading:
    """Decided options.

    Attributes:
      options: for `open_sequences`.
      frame_step: 2 takes every other frame.
      size: (height, width) to resize to, or None.
      taken: the options that come from the model's training, {key: value}.
    """

    options: ReadOptions
    frame_step: int
    size: tuple[int, int] | None
    taken: dict[str, Any]


def decide(path: pathlib.Path, given: Mapping[str, Any], description: Mapping[str, Any], in_channels: int) -> Reading:
    """The user's options first, then those of the training, if that was on a user's own frames.

    Args:
      given: the options among `KEYS` that the user has set.
      description: the forecaster's.
      in_channels: the model's; pictures and videos are read as grey for 1 and as rgb for 3.

    Raises InputError for impossible values.
    """
    unknown = set(given) - set(KEYS)
    if unknown:
        raise InputError(f"there is no option {sorted(unknown)[0]!r} of reading; choose among {', '.join(KEYS)}")
    config = description.get("config") or {}
    trained = (config.get("data") or {}) if config.get("dataset") == "frames" else {}
    standard = {"channels": "auto", "frame_step": 1, "height": 0, "width": 0, "layout": "auto"}
    taken = {key: trained[key] for key in KEYS if key in trained and trained[key] not in (None, "", standard.get(key))}
    if not _has_named_arrays(path):  # names are of no use there
        taken = {key: value for key, value in taken.items() if key not in _OF_NAMED_ARRAYS}
    taken.pop("channels", None)  # by the model, below
    taken = {key: value for key, value in taken.items() if key not in given}
    if "height" in given or "width" in given:
        taken = {key: value for key, value in taken.items() if key not in ("height", "width")}
    values = {"channels": {1: "grey", 3: "rgb"}.get(in_channels, "auto"), **taken, **given}
    frame_step, height, width = (values.pop(key, standard[key]) for key in ("frame_step", "height", "width"))
    if frame_step < 1:
        raise InputError(f"--frame_step={frame_step}: give at least 1")
    if (height < 1) != (width < 1) or min(height, width) < 0:
        raise InputError(f"--height={height} and --width={width}: give both, each at least 1, or neither")
    options = ReadOptions(**values)
    return Reading(options, frame_step, (height, width) if height else None, taken)


def open_input(path: pathlib.Path, reading: Reading) -> list[FrameSource]:
    """As `open_sequences`. Raises InputError that names the command's options, where that names keys of a config."""
    with named_by_flags():
        return open_sequences(path, reading.options)


@contextlib.contextmanager
def named_by_flags() -> Iterator[None]:
    """Readers speak of a config's keys, `data.variable`; a command has flags, `--variable`."""
    try:
        yield
    except InputError as error:
        keys = "|".join(KEYS)
        text = re.sub(rf"--config\.data\.({keys})\b", r"--\1", str(error))
        raise InputError(re.sub(rf"(?<![\w/.-])data\.({keys})\b(?!\.)", r"--\1", text)) from None


def _has_named_arrays(path: pathlib.Path) -> bool:
    names = (name for _, _, names in os.walk(path) for name in names) if path.is_dir() else (path.name,)
    formats = (registry.input_format(os.path.splitext(name)[1]) for name in names)
    return any(item is not None and item.has_named_arrays for item in formats)
