"""JSON files, written in one step."""

from __future__ import annotations

import json
import math
from typing import Any

from etils import epath

from stlight_jax.storage import paths


def write_json(path: epath.PathLike, content: Any) -> None:
    """Writes a JSON file in one step: a reader sees the old one or the new one. Infinite values and NaN become null.

    Raises InputError if it cannot be written.
    """
    with paths.writing(path):
        paths.write_at_once(epath.Path(path), json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """The same with None for infinity (the PSNR of an exact frame) and NaN, which JSON does not know."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
