"""OpenSTL's metrics (`openstl/core/metrics.py`), its slips included, as exact mergeable sums.

MSE and MAE are sums over channels and pixels, averaged over sequences and frames, of predictions as they are. PSNR and
SSIM are averages over frames of predictions clipped to [0, 1]. OpenSTL passes no data range to scikit-image, which then
takes 2 for floats: that is `ssim`, the published number. `ssim_unit_range` has data range 1, as the frames have.

Missing values count nowhere: MSE and MAE sum over those that are there, PSNR averages over them, SSIM averages over windows
in which none is missing, and a frame of which nothing is there is left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.errors import InputError

SSIM_WINDOW = 7
_FRAMES_AT_A_TIME = 80


class FrameMetrics(NamedTuple):
    """Per sequence and frame, float32 `[b, t]` each.

    The last two say how much there was to judge: values (of pixels and channels) that are there, and whole windows of SSIM.
    """

    squared_error: jax.Array
    absolute_error: jax.Array
    psnr: jax.Array
    ssim: jax.Array
    ssim_unit_range: jax.Array
    values: jax.Array
    windows: jax.Array


def frame_metrics(prediction: jax.Array, target: jax.Array, here: jax.Array | None = None) -> FrameMetrics:
    """Metrics of every frame.

    Args:
      prediction, target: float `[b, t, h, w, c]`, in [0, 1] but for overshoots of the prediction.
      here: bool like them, False where values are missing; None if none are.

    Raises InputError for frames smaller than SSIM's 7 x 7 window.
    """
    chex.assert_rank(prediction, 5)
    arrays = (prediction, target) if here is None else (prediction, target, here)
    chex.assert_equal_shape(arrays)
    flat = tuple(array.reshape(-1, *array.shape[2:]) for array in arrays)  # [b*t, h, w, c]
    # As many frames at a time as caches hold with everything that is computed from them.
    of_frames = jax.lax.map(lambda frame: _of_one_frame(*frame), flat, batch_size=_FRAMES_AT_A_TIME)
    return jax.tree.map(lambda values: values.reshape(prediction.shape[:2]), of_frames)


def _of_one_frame(prediction: jax.Array, target: jax.Array, here: jax.Array | None = None) -> FrameMetrics:
    if here is not None:  # what is missing is made equal, so that it adds no error
        prediction = jnp.where(here, prediction, target)
    error = prediction - target
    clipped = jnp.clip(prediction, 0.0, 1.0)
    squares = jnp.square(clipped - target)
    values = jnp.float32(error.size) if here is None else jnp.sum(here, dtype=jnp.float32)
    published, unit_range, windows = _ssim(clipped, target, (2.0, 1.0), here)
    return FrameMetrics(
        squared_error=jnp.sum(jnp.square(error)),
        absolute_error=jnp.sum(jnp.abs(error)),
        psnr=-10.0 * jnp.log10(jnp.mean(squares) if here is None else _mean_where(squares, here)),
        ssim=published,
        ssim_unit_range=unit_range,
        values=values,
        windows=windows,
    )


def check_frame_size(height: int, width: int) -> None:
    """Raises InputError for frames smaller than SSIM's window."""
    if min(height, width) < SSIM_WINDOW:
        raise InputError(f"frames are {height} x {width}; SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW}")


def ssim(a: jax.Array, b: jax.Array, data_ranges: tuple[float, ...]) -> list[jax.Array]:
    """Structural similarity as scikit-image computes it by default: 7 x 7 uniform window, sample covariance.

    Args:
      a, b: float `[..., h, w, c]`.
      data_ranges: the assumed distances between the darkest and the brightest value.

    Returns:
      `[...]` for each data range, the mean over all whole windows and channels.

    Raises:
      InputError: frames are smaller than the window.
    """
    *results, _ = _ssim(a, b, data_ranges, None)
    return results


def _ssim(a: jax.Array, b: jax.Array, data_ranges: tuple[float, ...], here: jax.Array | None) -> list[jax.Array]:
    """As `ssim`, over the windows in which nothing is missing, and last how many these are."""
    height, width = a.shape[-3:-1]
    check_frame_size(height, width)
    a, b = (jnp.moveaxis(x, -1, -3) for x in (a, b))  # [..., c, h, w]
    pixels = SSIM_WINDOW**2
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _window_means(jnp.stack([a, b, a * a, b * b, a * b]))
    whole = None if here is None else _window_means(jnp.moveaxis(here, -1, -3).astype(a.dtype)) > 1 - 0.5 / pixels
    unbiased = pixels / (pixels - 1)
    variance_a = unbiased * (mean_aa - mean_a * mean_a)
    variance_b = unbiased * (mean_bb - mean_b * mean_b)
    covariance = unbiased * (mean_ab - mean_a * mean_b)
    results = []
    for data_range in data_ranges:
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
        structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
        results.append(_mean_where(luminance * structure, whole, axis=(-3, -2, -1)))
    count = jnp.float32(np.prod(mean_a.shape[-3:])) if whole is None else jnp.sum(whole, axis=(-3, -2, -1), dtype=jnp.float32)
    return [*results, count]


def _mean_where(values: jax.Array, here: jax.Array | None, axis: tuple[int, ...] | None = None) -> jax.Array:
    """The mean over what is there; 0 where nothing is, which is not counted later."""
    if here is None:
        return jnp.mean(values, axis)
    count = jnp.sum(here, axis, dtype=values.dtype)
    return jnp.sum(jnp.where(here, values, 0.0), axis) / jnp.maximum(count, 1.0)


def _window_means(x: jax.Array) -> jax.Array:
    """Mean over every whole window: `[..., h, w] -> [..., h - 6, w - 6]`, rows first, then columns.

    Behind barriers: XLA would fuse both sums with each other and with all that follows, and make 49 additions for every use
    of a mean.
    """
    for axis in (-2, -1):
        size = x.shape[axis] - SSIM_WINDOW + 1
        x = jax.lax.optimization_barrier(x)
        x = sum(jax.lax.slice_in_dim(x, shift, shift + size, axis=axis) for shift in range(SSIM_WINDOW))
    return jax.lax.optimization_barrier(x / SSIM_WINDOW**2)


# Which count a metric is averaged over: frames of which something is there, or in which SSIM has a window.
_COUNTED_BY = {
    "squared_error": "values",
    "absolute_error": "values",
    "psnr": "values",
    "ssim": "windows",
    "ssim_unit_range": "windows",
}


@dataclasses.dataclass(frozen=True)
class MetricSums:
    """Sums over sequences, float64 per lead time; adding two gives the sums over both sets of sequences.

    Attributes:
      count: sequences.
      sums: name of a field of `FrameMetrics` -> float64 `[t]`.
      frames: "values" and "windows" -> how many frames have any, float64 `[t]`.
    """

    count: int
    sums: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]

    @classmethod
    def of(cls, metrics: FrameMetrics, mask: np.ndarray) -> MetricSums:
        """Sums `metrics` (`[b, t]` each) over the sequences where `mask` (bool `[b]`) is True."""
        chosen = {name: np.asarray(value, np.float64)[mask] for name, value in metrics._asdict().items()}
        sums = {
            name: value.sum(0, where=True if name not in _COUNTED_BY else chosen[_COUNTED_BY[name]] > 0)
            for name, value in chosen.items()
        }
        frames = {name: (chosen[name] > 0).sum(0).astype(np.float64) for name in ("values", "windows")}
        return cls(int(mask.sum()), sums, frames)

    def __add__(self, other: MetricSums) -> MetricSums:
        sums, frames = (
            {name: value + theirs[name] for name, value in ours.items()}
            for ours, theirs in ((self.sums, other.sums), (self.frames, other.frames))
        )
        return MetricSums(self.count + other.count, sums, frames)

    def over_processes(self, add: Callable[[Any], Any]) -> MetricSums:
        """The sums over all processes' sequences; `add` adds equal trees of numbers and arrays of theirs."""
        count, sums, frames = add((float(self.count), self.sums, self.frames))
        return MetricSums(round(count), sums, frames)

    def per_lead_time(self) -> dict[str, list[float]]:
        """mse, mae, rmse, psnr (dB), ssim, ssim_unit_range of each predicted frame; first the frame right after the input.

        NaN where no frame of a lead time could be judged.
        """
        return _by_openstls_names(self.sums, self.frames)

    def overall(self) -> dict[str, float]:
        """The same over all predicted frames; rmse is the root of the overall mse."""
        sums, frames = ({name: value.sum(keepdims=True) for name, value in of.items()} for of in (self.sums, self.frames))
        return {name: values[0] for name, values in _by_openstls_names(sums, frames).items()}

    def rmse_per_value(self) -> float:
        """Root of the mean squared error of a single value that is there, over all predicted frames."""
        return math.sqrt(self.sums["squared_error"].sum() / max(self.sums["values"].sum(), 1.0))


def _by_openstls_names(sums: dict[str, np.ndarray], frames: dict[str, np.ndarray]) -> dict[str, list[float]]:
    with np.errstate(invalid="ignore"):
        means = {name: sums[name] / frames[counted_by] for name, counted_by in _COUNTED_BY.items()}
    return {
        "mse": means["squared_error"].tolist(),
        "mae": means["absolute_error"].tolist(),
        "rmse": np.sqrt(means["squared_error"]).tolist(),
        "psnr": means["psnr"].tolist(),
        "ssim": means["ssim"].tolist(),
        "ssim_unit_range": means["ssim_unit_range"].tolist(),
    }


class SequenceErrors:
    """The squared error of every single sequence, kept by its index in the whole set.

    Args:
      count: sequences of the whole set, over all processes.
    """

    def __init__(self, count: int) -> None:
        self._squares, self._frames, self._values = np.zeros((3, count))

    def add(self, first: int, metrics: FrameMetrics, mask: np.ndarray) -> None:
        """Args: first, the index of the batch's first sequence; metrics `[b, t]` each; mask bool `[b]`, False for fillers."""
        indices = first + np.flatnonzero(mask)
        values = np.asarray(metrics.values, np.float64)[mask]
        there = values > 0
        self._squares[indices] = np.asarray(metrics.squared_error, np.float64)[mask].sum(1, where=there)
        self._frames[indices], self._values[indices] = there.sum(1), values.sum(1)

    def over_processes(self, add: Callable[[Any], Any]) -> None:
        """Takes in the sequences of all processes, see `MetricSums.over_processes`: what is not one's own is zero."""
        self._squares, self._frames, self._values = add((self._squares, self._frames, self._values))

    def mse(self) -> np.ndarray:
        """float64 `[n]`, summed over pixels and channels, averaged over frames; NaN where nothing could be judged."""
        return np.where(self._frames > 0, self._squares / np.maximum(self._frames, 1), np.nan)

    def per_value(self) -> np.ndarray:
        """float64 `[n]`, averaged over the values that are there: unlike `mse`, it is not less where more is missing."""
        return np.where(self._values > 0, self._squares / np.maximum(self._values, 1), np.nan)
