"""The bounds of outputs that a user names with `data.clip`."""

import math

from stlight_jax.errors import InputError


def parse_clip(text: str) -> tuple[float | None, float | None] | None:
    """Reads the key `data.clip`.

    Args:
      text: "none", "auto", or LOW,HIGH in the data's units, of which one may be infinite.

    Returns:
      Lower and upper bound, None without one; None for "auto".

    Raises:
      InputError: the text has another form.
    """
    if text == "none":
        return None, None
    if text == "auto":
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not low < high:
        raise InputError(f"data.clip is {text!r}; expected none, auto, or two numbers LOW,HIGH, such as 0,100 or 0,inf")
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)
