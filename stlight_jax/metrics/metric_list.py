"""The list of all metrics. To add a metric: write its file, and add one line here."""

from typing import TypeVar

from stlight_jax.metrics.metric import DerivedMetric, FrameMetric, Metric
from stlight_jax.metrics.pixel_errors import MAE, MSE, PSNR, RMSE
from stlight_jax.metrics.sharpness import SHARPNESS
from stlight_jax.metrics.ssim import SSIM, SSIM_UNIT_RANGE

# In the order of tables and charts.
METRICS: tuple[Metric, ...] = (
    MSE,
    MAE,
    RMSE,
    PSNR,
    SSIM,
    SSIM_UNIT_RANGE,
    SHARPNESS,
)

_M = TypeVar("_M", bound=Metric)


def metrics_of(kind: type[_M]) -> tuple[_M, ...]:
    """Returns the metrics of one kind, in the order of the list."""
    return tuple(metric for metric in METRICS if isinstance(metric, kind))


def averaged_metrics() -> tuple[FrameMetric | DerivedMetric, ...]:
    """Returns the metrics with a mean over all frames: the columns of tables, and the keys of "overall" in JSON."""
    return tuple(metric for metric in METRICS if isinstance(metric, FrameMetric | DerivedMetric))


def metric(key: str) -> Metric:
    """Returns the metric with a key in JSON."""
    return next(each for each in METRICS if each.key == key)
