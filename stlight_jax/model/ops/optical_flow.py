"""Motion between frames and extrapolation along it, as in nowcasting of rain and clouds.

The motion is the least-squares solution of Lucas & Kanade, "An iterative image registration technique with an application
to stereo vision" (IJCAI 1981), dense, from coarse to fine. The extrapolation is the backward semi-Lagrangian scheme of Germann
& Zawadzki, "Scale-dependence of the predictability of precipitation from continental radar images" (Monthly Weather Review
130, 2002), as in pysteps (Pulkkinen et al., Geoscientific Model Development 12, 2019).
"""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Chosen on the radar clips of KNMI and FMI in benchmarks/pysteps_extrapolation.py. In brackets: by how much the MSE of the
# extrapolation rises with another value, on each of the three clips.
_FRAMES = 4  # the last ones of the input (2: 0.2 to 1.7 %; 6: 0.4 to 2.1 %)
_WINDOW = 6.0  # standard deviation of the Gaussian window, in pixels of each level (3: 0.4 to 2 %; 12: 3 to 6 %)
_RIDGE = 0.05  # weight of the coarser level's motion, relative to the mean squared gradient (0.1: 0.5 %)
_COARSEST = 16  # frames are halved while both sides have at least so many pixels
_STEPS = 2  # Gauss-Newton steps on each level (1: 1 %; 4: -0.3 %)
_STEPS_OF_WHOLE_FRAME = 8  # at the coarsest level, where one vector for the whole frame is found first
_LARGEST_STEP = 1.5  # pixels of a level that one Gauss-Newton step may move
_ROUNDING = 1e-5  # relative; smaller differences are errors of float32


def motion(frames: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """Estimates the motion that carries each frame into its successor.

    Positive and negative factors and summands of a channel do not change the result. No gradient passes through it.

    Args:
      frames: float `[b, t, h, w, c]`. All channels move alike.
      valid: bool of the same shape, False where values are missing; None if none is. NaN and infinity are missing, too.

    Returns:
      float32 `[b, h, w, 2]`, down and to the right, in pixels per frame. Where nothing can be seen to move, it is the motion
      of the neighbourhood, or of the whole frame; 0 for a single frame and for constant frames.
    """
    chex.assert_rank(frames, 5)
    recent = lax.stop_gradient(frames[:, -_FRAMES:])
    b, t, h, w, c = recent.shape
    if t == 1:
        return jnp.zeros((b, h, w, 2), jnp.float32)
    normalised = _normalised(recent, None if valid is None else valid[:, -_FRAMES:])
    levels = [jnp.moveaxis(normalised, 1, 3).reshape(b, h, w, t * c)]
    while min(levels[-1].shape[1:3]) >= _COARSEST:
        levels.append(_halved(levels[-1]))
    vectors = jnp.zeros((*levels[-1].shape[:3], 2), jnp.float32)
    vectors = _refined(levels[-1], vectors, c, math.inf, _STEPS_OF_WHOLE_FRAME)
    vectors = _refined(levels[-1], vectors, c, _WINDOW, _STEPS)
    for level in reversed(levels[:-1]):
        h, w = level.shape[1:3]
        coarse_h, coarse_w = vectors.shape[1:3]
        # A level with an odd side was padded by one row before it was halved.
        vectors = 2 * jax.image.resize(vectors, (b, 2 * coarse_h, 2 * coarse_w, 2), "linear")[:, :h, :w]
        vectors = _refined(level, vectors, c, _WINDOW, _STEPS)
    return vectors


def extrapolate(
    last: jax.Array, vectors: jax.Array, out_frames: int, valid: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Carries a frame along a steady motion.

    Args:
      last: float `[b, h, w, c]`, the last frame.
      vectors: float `[b, h, w, 2]`, down and to the right, in pixels per frame.
      out_frames: number of frames to extrapolate.
      valid: bool `[b, h, w, c]`, False where values of `last` are missing; None if none is. NaN and infinity are missing, too.

    Returns:
      float32 `[b, out_frames, h, w, c]`, finite, and a bool mask of the same shape, False where the value comes from outside
      of the frame or from missing values. A pixel there has the value of the frame's edge, or its previous value (0 if it has
      never had one).
    """
    chex.assert_rank([last, vectors], 4)
    c = last.shape[-1]
    known = jnp.isfinite(last) if valid is None else valid & jnp.isfinite(last)
    vectors = lax.stop_gradient(vectors)
    pixels = _pixels(*last.shape[1:3])
    values = jnp.concatenate([jnp.where(known, last, 0), known.astype(jnp.float32)], axis=-1)  # [b, h, w, 2*c]

    def step(state: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        origin, previous = state
        # Midpoint rule with one iteration, as in pysteps.
        middle = origin - _sampled(vectors, origin)[0] / 2
        origin = origin - _sampled(vectors, middle)[0]
        sampled, inside = _sampled(values, origin)
        frame, weight = sampled[..., :c], sampled[..., c:]  # [b, h, w, c]
        frame = jnp.where(weight > 0, frame / jnp.where(weight > 0, weight, 1), previous)
        return (origin, frame), (frame, inside & (weight > 1 - _ROUNDING))

    start = (jnp.broadcast_to(pixels, vectors.shape), values[..., :c])
    _, (extrapolated, found) = lax.scan(step, start, length=out_frames)
    return jnp.moveaxis(extrapolated, 0, 1), jnp.moveaxis(found, 0, 1)


def _normalised(frames: jax.Array, valid: jax.Array | None) -> jax.Array:
    """Brings each channel of each sequence to mean 0 and variance 1; missing values become NaN."""
    known = jnp.isfinite(frames) if valid is None else valid & jnp.isfinite(frames)
    count = jnp.maximum(known.sum((1, 2, 3), keepdims=True), 1)
    frames = jnp.where(known, frames, 0).astype(jnp.float32)
    scale = jnp.abs(frames).max((1, 2, 3), keepdims=True)  # first, lest the squares overflow
    frames = frames / jnp.where(scale > 0, scale, 1)
    centred = jnp.where(known, frames - frames.sum((1, 2, 3), keepdims=True) / count, 0)
    deviation = jnp.sqrt(jnp.square(centred).sum((1, 2, 3), keepdims=True) / count)
    # The mean of equal values differs from them by rounding.
    changes = deviation > _ROUNDING
    return jnp.where(known, jnp.where(changes, centred / jnp.where(changes, deviation, 1), 0), jnp.nan)


def _halved(frames: jax.Array) -> jax.Array:
    """Means of the known values of 2x2 pixels."""
    _, h, w, _ = frames.shape
    frames = jnp.pad(frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), constant_values=jnp.nan)
    known = jnp.isfinite(frames)

    def sums(values: jax.Array) -> jax.Array:
        return lax.reduce_window(values, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    count = sums(known.astype(jnp.float32))
    return jnp.where(count > 0, sums(jnp.where(known, frames, 0)) / jnp.maximum(count, 1), jnp.nan)


def _refined(frames: jax.Array, prior: jax.Array, channels: int, window: float, steps: int) -> jax.Array:
    """Improves a motion by Gauss-Newton steps.

    The motion minimises, in the window around each pixel, the squared differences between each frame and its successor, read
    at the end of the vector, plus the squared distance from `prior`, weighted.

    Args:
      frames: `[b, h, w, t*c]`; NaN where values are missing.
      prior: `[b, h, w, 2]`, where the steps begin.
      channels: c.
      window: standard deviation of the Gaussian window in pixels; infinity for the whole frame.
      steps: number of steps.

    Returns:
      `[b, h, w, 2]`.
    """
    _, h, w, _ = frames.shape
    earlier, later = frames[..., :-channels], frames[..., channels:]  # [b, h, w, (t-1)*c]
    padded = jnp.pad(earlier, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=jnp.nan)
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    right = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    over_rows, over_columns = (jnp.asarray(_window_weights(side, window)) for side in (h, w))

    def step(_: int, vectors: jax.Array) -> jax.Array:
        ends, inside = _sampled(later, _pixels(h, w) + vectors)
        difference = earlier - ends
        used = inside & jnp.isfinite(difference) & jnp.isfinite(down) & jnp.isfinite(right)
        y, x, d = (jnp.where(used, values, 0) for values in (down, right, difference))
        products = jnp.stack([(a * b).sum(-1) for a, b in ((y, y), (y, x), (x, x), (y, d), (x, d))], axis=1)
        # Products of matrices, because XLA convolves single channels 60 times as slowly on CPUs.
        yy, yx, xx, yd, xd = jnp.einsum("ij,bkjw,vw->kbiv", over_rows, products, over_columns, precision=lax.Precision.HIGHEST)
        weight = _RIDGE * (yy + xx).mean((1, 2), keepdims=True)  # [b, 1, 1]
        pull = weight[..., None] * (prior - vectors)
        yy, xx, yd, xd = yy + weight, xx + weight, yd + pull[..., 0], xd + pull[..., 1]
        determinant = yy * xx - yx * yx
        change = jnp.stack([xx * yd - yx * xd, yy * xd - yx * yd], axis=-1)  # [b, h, w, 2]
        change = change / jnp.where(determinant > 0, determinant, jnp.inf)[..., None]
        return vectors + jnp.clip(change, -_LARGEST_STEP, _LARGEST_STEP)

    return lax.fori_loop(0, steps, step, prior)


def _window_weights(side: int, window: float) -> np.ndarray:
    """Weights `[side, side]` of a Gaussian window around each pixel of a row or column."""
    distance = np.arange(side)[:, None] - np.arange(side)
    return np.exp(-0.5 * np.square(distance / window)).astype(np.float32)


def _pixels(height: int, width: int) -> jax.Array:
    """The coordinates of all pixels, `[h, w, 2]`."""
    return jnp.stack(jnp.meshgrid(jnp.arange(float(height)), jnp.arange(float(width)), indexing="ij"), axis=-1)


def _sampled(values: jax.Array, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Interpolates bilinearly; positions outside of the frame are moved to its edge.

    Args:
      values: `[b, h, w, k]`.
      positions: `[b, h, w, 2]`, row and column.

    Returns:
      `[b, h, w, k]`, and a bool `[b, h, w, 1]` that is False outside of the frame.
    """
    b, h, w, k = values.shape
    last = jnp.asarray([h - 1, w - 1], jnp.float32)
    inside = jnp.all((positions >= 0) & (positions <= last), axis=-1, keepdims=True)
    positions = jnp.clip(positions, 0, last)
    first = jnp.clip(jnp.floor(positions), 0, jnp.maximum(last - 1, 0))
    down, right = jnp.split(positions - first, 2, axis=-1)  # [b, h, w, 1]
    first_row, first_column = jnp.moveaxis(first.astype(jnp.int32), -1, 0)  # [b, h, w]
    rows = values.reshape(b, h * w, k)

    def corner(row: jax.Array, column: jax.Array) -> jax.Array:
        indices = (row * w + column).reshape(b, -1)
        return jax.vmap(lambda row, index: row.at[index].get(mode="promise_in_bounds"))(rows, indices).reshape(b, h, w, k)

    second_row, second_column = jnp.minimum(first_row + 1, h - 1), jnp.minimum(first_column + 1, w - 1)
    upper = corner(first_row, first_column) * (1 - right) + corner(first_row, second_column) * right
    lower = corner(second_row, first_column) * (1 - right) + corner(second_row, second_column) * right
    return upper * (1 - down) + lower * down, inside
