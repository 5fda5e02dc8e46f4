"""JSON files without NaN."""

from __future__ import annotations

import json
import math
from typing import Any

from etils import epath

from stlight_jax.storage.atomic import write_atomic


def write_json(path: epath.PathLike, content: Any) -> None:
    """Writes a JSON file in one step, with null for infinite values and NaN.

    Raises:
      InputError: the file cannot be written.
    """
    write_atomic(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Returns the content with None for infinity (the PSNR of an exact frame) and NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
