"""OpenSTL's metrics (`openstl/core/metrics.py`), its slips included, as exact mergeable sums.

MSE and MAE are sums over channels and pixels, averaged over sequences and frames, of predictions as they are. PSNR and
SSIM are averages over frames of predictions clipped to [0, 1]. OpenSTL passes no data range to scikit-image, which then
takes 2 for floats: that is `ssim`, the published number. `ssim_unit_range` has data range 1, as the frames have.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.errors import InputError

SSIM_WINDOW = 7
_FRAMES_AT_A_TIME = 80


class FrameMetrics(NamedTuple):
    """Per sequence and frame, float32 `[b, t]` each."""

    squared_error: jax.Array
    absolute_error: jax.Array
    psnr: jax.Array
    ssim: jax.Array
    ssim_unit_range: jax.Array


def frame_metrics(prediction: jax.Array, target: jax.Array) -> FrameMetrics:
    """Metrics of every frame. Args: float `[b, t, h, w, c]`, in [0, 1] but for overshoots of the prediction.

    Raises InputError for frames smaller than SSIM's 7 x 7 window.
    """
    chex.assert_rank(prediction, 5)
    chex.assert_equal_shape([prediction, target])
    flat = (array.reshape(-1, *array.shape[2:]) for array in (prediction, target))  # [b*t, h, w, c]
    # As many frames at a time as caches hold with everything that is computed from them.
    of_frames = jax.lax.map(lambda pair: _of_one_frame(*pair), tuple(flat), batch_size=_FRAMES_AT_A_TIME)
    return jax.tree.map(lambda values: values.reshape(prediction.shape[:2]), of_frames)


def _of_one_frame(prediction: jax.Array, target: jax.Array) -> FrameMetrics:
    error = prediction - target
    clipped = jnp.clip(prediction, 0.0, 1.0)
    published, unit_range = ssim(clipped, target, (2.0, 1.0))
    return FrameMetrics(
        squared_error=jnp.sum(jnp.square(error)),
        absolute_error=jnp.sum(jnp.abs(error)),
        psnr=-10.0 * jnp.log10(jnp.mean(jnp.square(clipped - target))),
        ssim=published,
        ssim_unit_range=unit_range,
    )


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
    height, width = a.shape[-3:-1]
    if min(height, width) < SSIM_WINDOW:
        raise InputError(f"frames are {height} x {width}; SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW}")
    a, b = (jnp.moveaxis(x, -1, -3) for x in (a, b))  # [..., c, h, w]
    pixels = SSIM_WINDOW**2
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _window_means(jnp.stack([a, b, a * a, b * b, a * b]))
    unbiased = pixels / (pixels - 1)
    variance_a = unbiased * (mean_aa - mean_a * mean_a)
    variance_b = unbiased * (mean_bb - mean_b * mean_b)
    covariance = unbiased * (mean_ab - mean_a * mean_b)
    results = []
    for data_range in data_ranges:
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
        structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
        results.append(jnp.mean(luminance * structure, axis=(-3, -2, -1)))
    return results


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


@dataclasses.dataclass(frozen=True)
class MetricSums:
    """Sums over sequences, float64 per lead time; adding two gives the sums over both sets of sequences.

    Attributes:
      count: sequences.
      sums: name of a field of `FrameMetrics` -> float64 `[t]`.
    """

    count: int
    sums: dict[str, np.ndarray]

    @classmethod
    def of(cls, metrics: FrameMetrics, mask: np.ndarray) -> MetricSums:
        """Sums `metrics` (`[b, t]` each) over the sequences where `mask` (bool `[b]`) is True."""
        values = metrics._asdict().items()
        return cls(int(mask.sum()), {name: np.asarray(value, np.float64)[mask].sum(0) for name, value in values})

    def __add__(self, other: MetricSums) -> MetricSums:
        return MetricSums(self.count + other.count, {name: value + other.sums[name] for name, value in self.sums.items()})

    def per_lead_time(self) -> dict[str, list[float]]:
        """mse, mae, rmse, psnr (dB), ssim, ssim_unit_range of each predicted frame; first the frame right after the input."""
        return _by_openstls_names({name: value / self.count for name, value in self.sums.items()})

    def overall(self) -> dict[str, float]:
        """The same over all predicted frames; rmse is the root of the overall mse."""
        means = {name: np.array([value.mean() / self.count]) for name, value in self.sums.items()}
        return {name: values[0] for name, values in _by_openstls_names(means).items()}


def _by_openstls_names(means: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {
        "mse": means["squared_error"].tolist(),
        "mae": means["absolute_error"].tolist(),
        "rmse": [math.sqrt(value) for value in means["squared_error"]],
        "psnr": means["psnr"].tolist(),
        "ssim": means["ssim"].tolist(),
        "ssim_unit_range": means["ssim_unit_range"].tolist(),
    }


class BestConstantImage:
    """MSE of the one image that, predicted for every frame, has the lowest: the mean of all target frames.

    Closed form, from exact integer sums: no second pass over the data.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum: np.ndarray | int = 0
        self._sum_of_squares: np.ndarray | int = 0

    def add(self, targets: np.ndarray) -> None:
        """Args: targets uint8 `[b, t, h, w, c]`."""
        wide = targets.astype(np.int64)
        self._count += len(targets)
        self._sum = self._sum + wide.sum(0)  # [t, h, w, c]
        self._sum_of_squares = self._sum_of_squares + np.square(wide).sum(0)

    def mse_per_lead_time(self) -> list[float]:
        """Summed over pixels and channels, in units of [0, 1] squared."""
        mean = self._sum / self._count / 255.0  # [t, h, w, c]
        mean_square = self._sum_of_squares / self._count / 255.0**2
        image = mean.mean(0)
        return (mean_square - 2 * image * mean + image**2).sum((1, 2, 3)).tolist()
