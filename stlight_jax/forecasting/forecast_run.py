"""Makes the forecasts of a plan, a few at a time."""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.missing_marks import highest, lowest
from stlight_jax.data.reading_flags import errors_name_flags
from stlight_jax.data.suspicion import ValueSurvey, remarks_on_empty_frames
from stlight_jax.forecasting.forecast_windows import Forecast, windows_along
from stlight_jax.forecasting.plan import ForecastPlan
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.inference.frame_remarks import remarks_on_units
from stlight_jax.inference.output_range import OutputRange

_MAX_BATCH, _BATCH_BYTES = 8, 64 * 2**20


class ForecastRun:
    """Makes the forecasts of a plan. A forecast without any valid input value is missing itself.

    Args:
      forecaster: Makes the predictions.
      plan: The forecasts.
      ready: Called during a prediction with the number of frames predicted so far.

    Attributes:
      total: Number of forecasts.
      empty: Forecasts made so far that had no valid input value.
      first_empty: Name of the first such forecast; "" before it.
      output: Values of the forecasts made so far that are far outside the trained range.
    """

    def __init__(self, forecaster: Forecaster, plan: ForecastPlan, ready: Callable[[int], None] | None = None):
        self._forecaster, self._plan, self._ready = forecaster, plan, ready
        self.total, self.empty, self.first_empty = sum(map(len, plan.starts)), 0, ""
        # Lowest and highest value of each channel in the input frames of the forecasts made so far.
        self._lows, self._highs = np.full((2, forecaster.channels), np.nan)
        largest = max(source.shape for source in plan.sources)
        forecast_bytes = 4 * (len(plan.history) + forecaster.model.in_frames + plan.horizon) * int(np.prod(largest))
        self.output = OutputRange(forecaster.scaling, forecaster.model.out_channels)
        self._surveys: dict[tuple[np.dtype, float | None], ValueSurvey] = {}
        self._empty_frames: dict[tuple[int, int], bool] = {}  # (source, index) -> whether the input frame has no values
        self._batch_size = int(min(self.total, np.clip(_BATCH_BYTES // forecast_bytes, 1, _MAX_BATCH)))

    def all(self) -> Iterator[Forecast]:
        """Yields every forecast of the plan, in order."""
        for forecast in self._predicted(self._windows(self._plan.starts, observed=True)):
            empty_frames = np.isnan(forecast.inputs).all(axis=(1, 2, 3)).tolist()
            first = forecast.start - len(empty_frames)
            self._empty_frames.update({(forecast.source, first + i): empty for i, empty in enumerate(empty_frames)})
            if all(empty_frames):
                self.empty, self.first_empty = self.empty + 1, self.first_empty or self.title(forecast)
            values = forecast.inputs.reshape(-1, forecast.inputs.shape[-1])  # [t*h*w, c]
            self._lows, self._highs = np.fmin(self._lows, lowest(values)), np.fmax(self._highs, highest(values))
            self.output.add(forecast.prediction)
            yield forecast

    def remarks(self) -> list[str]:
        """Returns messages on suspicious values among the frames read so far."""
        remarks = remarks_on_empty_frames(sum(self._empty_frames.values()), len(self._empty_frames), "frames to predict from")
        if 0 < self.empty < self.total:
            remarks.append(
                f"{self.empty:,} of {self.total:,} forecasts hold no values, as all values that they are predicted from are "
                f"missing; the first is {self.first_empty}"
            )
        elif self._empty_frames and not self.empty:  # a forecast is made
            remarks += self._empty_channels()
        for survey in self._surveys.values():
            remarks += survey.remarks("--fill_value")
            remarks += self._constant_channels(survey.constant_channels())
        if any(survey.marks() for survey in self._surveys.values()):
            return remarks  # marks of missing values give suspicious input and output
        scaling = self._forecaster.scaling
        ranges = np.stack([self._lows, self._highs], axis=1)  # [c, 2]
        ranges[list(scaling.constants)] = np.nan  # the plan names these channels
        units = remarks_on_units(ranges, scaling.for_channels(len(ranges)), self._forecaster.source)
        return remarks + (units or self.output.remarks())

    def _empty_channels(self) -> list[str]:
        """Names the channels that have no value in any input frame."""
        return [
            f"all values of channel {number + 1} are missing in the frames to predict from"
            + (", and so they are in its forecasts" if number < self._forecaster.model.out_channels else "")
            for number in np.flatnonzero(np.isnan(self._lows)).tolist()
        ]

    def _constant_channels(self, constants: dict[int, float]) -> list[str]:
        """Names channels of a single value, {number from 0: value}; the plan names the constants of the training."""
        if len(constants) == self._forecaster.channels and len(set(constants.values())) == 1:
            return [f"all values are {constants[0]:g}; a forecast of constant frames shows little; check the input"]
        return [
            f"channel {number + 1} is {value:g} everywhere"
            for number, value in constants.items()
            if number not in self._forecaster.scaling.constants
        ]

    def again(self, source: int, start: int) -> Forecast:
        """Makes one of the forecasts once more."""
        starts: list[list[int]] = [[] for _ in self._plan.sources]
        starts[source].append(start)
        return next(self._predicted(self._windows(starts)))

    def title(self, forecast: Forecast) -> str:
        """Returns the name of a forecast for the page."""
        source = self._plan.sources[forecast.source]
        return f"{source.original.name}, frame {source.file_index(forecast.start)}"

    def _windows(self, starts: list[list[int]], observed: bool = False) -> Iterator[Forecast]:
        in_frames = self._forecaster.model.in_frames
        for number, (source, own, truth) in enumerate(zip(self._plan.sources, starts, self._plan.truths, strict=True)):
            observe = functools.partial(self._survey(source.original).add, source.original.name) if observed else None
            with errors_name_flags():
                windows = windows_along(source, number, own, in_frames, self._plan.horizon, observe)
                earlier = self._plan.earlier(number, own)
                for window, before, history in zip(windows, earlier, source.read(earlier), strict=True):
                    moments = self._plan.moments(number, window.start, before)
                    true_frames = window.truth if truth is None else truth
                    yield window._replace(history=history, truth=true_frames, moments=moments)

    def _survey(self, original: FrameSource) -> ValueSurvey:
        key = original.dtype, original.fill
        if key not in self._surveys:
            self._surveys[key] = ValueSurvey(self._forecaster.channels, *key)
        return self._surveys[key]

    def _predicted(self, windows: Iterator[Forecast]) -> Iterator[Forecast]:
        """Predicts in batches of equal frames."""
        for _, alike in itertools.groupby(windows, lambda window: (window.inputs.shape, window.inputs.dtype)):
            while batch := list(itertools.islice(alike, self._batch_size)):
                # A batch of another size would need another compiled program.
                whole = batch + [batch[-1]] * (self._batch_size - len(batch))
                inputs, history = (np.stack([getattr(window, part) for window in whole]) for part in ("inputs", "history"))
                moments = [window.moments for window in whole if window.moments is not None]
                times = np.stack(moments) if len(moments) == len(whole) else None
                predictions = self._predict(inputs, history, times)
                for window, prediction in zip(batch, predictions, strict=False):
                    yield window._replace(prediction=prediction)

    def _predict(self, inputs: np.ndarray, history: np.ndarray, times: np.ndarray | None) -> np.ndarray:
        """`[b, in_frames, h, w, c]`, `[b, history, h, w, c]` and moments -> float32 `[b, horizon, h, w, c']`."""
        empty = np.isnan(inputs).all(axis=(1, 2, 3, 4))
        if empty.all():
            shape = (len(inputs), self._plan.horizon, *inputs.shape[2:4], self._forecaster.model.out_channels)
            return np.full(shape, np.nan, np.float32)
        inputs[empty] = inputs[~empty][0]  # the forecaster refuses sequences without values
        # Missing values are NaN; in integers the forecaster would look for the training data's fill value.
        frames = np.concatenate([history, inputs], axis=1, dtype=np.float32)
        # The remarks name suspicious numbers of input and output, with their share of all frames.
        prediction = self._forecaster(
            frames, self._plan.horizon, dtype="float32", ready=self._ready, survey=False, history_first=True, times=times
        )
        prediction = np.ma.filled(prediction, np.nan)
        return np.where(empty[:, None, None, None, None], np.float32(np.nan), prediction) if empty.any() else prediction
