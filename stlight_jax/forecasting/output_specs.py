"""How predictions are stored: shape, type, missing values, value range and times of each output file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.types import ReadOptions, SourceInfo
from stlight_jax.data.formats.value_conversion import can_hold
from stlight_jax.forecasting.plan import ForecastPlan
from stlight_jax.forecasting.request import Request

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster

_DEFAULT_RATE = 10.0  # frames per second, if the input has none


def make_specs(request: Request, plan: ForecastPlan, forecaster: Forecaster, stacked: bool) -> list[OutputSpec]:
    """Describes each output file.

    Args:
      request: The request.
      plan: Its forecasts.
      forecaster: Its scaling gives the value range of pictures.
      stacked: Whether one array holds the forecasts of all sources.

    Returns:
      A description for each source; a single one if `stacked`.
    """
    return [_spec(request, plan, forecaster, source, stacked) for source in range(1 if stacked else len(plan.sources))]


def _spec(request: Request, plan: ForecastPlan, forecaster: Forecaster, number: int, stacked: bool) -> OutputSpec:
    source, starts, scaling = plan.sources[number], plan.starts[number], forecaster.scaling
    info, channels = source.original.info, forecaster.model.out_channels
    fill = plan.reader.options.fill_value
    dtype = np.dtype(request.dtype) if request.dtype else _dtype(info, plan.reader.options)
    windows = plan.rolling and not plan.joined
    return OutputSpec(
        source=info,
        frames=plan.horizon if windows else len(plan.written_indices(number)),
        shape=(*source.shape[:2], channels),
        dtype=dtype,
        fill=fill if fill is not None and can_hold(dtype, fill) else None,
        low=scaling.low[:channels],
        high=scaling.high[:channels],
        items=len(plan.sources) if stacked else None,
        window_starts=np.array([source.file_index(start) for start in starts]) if windows else None,
        frame_numbers=None if windows else source.file_index(plan.written_indices(number)),
        times=plan.times(number),
        frame_rate=(info.frame_rate or _DEFAULT_RATE) / (source.step if info.frame_rate else 1),
        dtype_requested=bool(request.dtype),
    )


def _dtype(info: SourceInfo, options: ReadOptions) -> np.dtype:
    """Returns the type of the input, or float32 if it cannot hold missing values."""
    fill = options.fill_value
    unmarked = options.mask and fill is None
    if info.dtype.kind != "f" and (unmarked or (fill is not None and not can_hold(info.dtype, fill))):
        return np.dtype(np.float32)
    return info.dtype
