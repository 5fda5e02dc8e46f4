"""Time in channels: the frames of a sequence as one picture with many channels, and back (paper section 3.1)."""

import jax


def fold_time(frames: jax.Array) -> jax.Array:
    """Folds time into channels: `[b, t, h, w, c]` to `[b, h, w, t*c]`, channel index t*C + c."""
    batch, time, height, width, channels = frames.shape
    return frames.transpose(0, 2, 3, 1, 4).reshape(batch, height, width, time * channels)


def unfold_time(x: jax.Array, time: int) -> jax.Array:
    """Inverts `fold_time`: `[b, h, w, t*c]` to `[b, t, h, w, c]`."""
    batch, height, width, folded = x.shape
    return x.reshape(batch, height, width, time, folded // time).transpose(0, 3, 1, 2, 4)
