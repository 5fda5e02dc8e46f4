"""The forecasts of a plan as they are made, and a few of them to look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.forecasting.forecast_windows import Window, forecasts, windows_along
from stlight_jax.forecasting.plan import Plan
from stlight_jax.forecasting.read_options import named_by_flags
from stlight_jax.forecasting.verification import Error
from stlight_jax.reports.sprites import Clip, error_note

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster

_CLIPS = 4
_MOST_AT_ONCE, _BYTES_AT_ONCE = 8, 64 * 2**20


class Run:
    """The forecasts of a plan. Those in whose inputs there is no value are missing themselves.

    Attributes:
      total: how many there are.
      empty: how many of those made had no value to see.
    """

    def __init__(self, forecaster: Forecaster, plan: Plan):
        self._forecaster, self._plan = forecaster, plan
        self.total, self.empty = sum(map(len, plan.starts)), 0
        most = max(view.shape for view in plan.views)
        bytes_each = 4 * (forecaster.model.in_frames + plan.horizon) * int(np.prod(most))
        self._at_once = int(min(self.total, np.clip(_BYTES_AT_ONCE // bytes_each, 1, _MOST_AT_ONCE)))

    def all(self, ready: Callable[[int], None]) -> Iterator[tuple[Window, np.ndarray]]:
        """Every window with its prediction `[horizon, h, w, c]`, float32 in the data's units.

        Args:
          ready: told how many frames of the next forecasts are there.
        """
        predict = functools.partial(self._predict, ready=ready)
        for window, prediction in forecasts(predict, self._windows(self._plan.starts), self._at_once):
            self.empty += bool(np.isnan(window.inputs).all())
            yield window, prediction

    def again(self, view: int, start: int) -> tuple[Window, np.ndarray]:
        """One of them once more."""
        starts: list[list[int]] = [[] for _ in self._plan.views]
        starts[view].append(start)
        return next(forecasts(self._predict, self._windows(starts), self._at_once))

    def name_of(self, window: Window) -> str:
        """For people."""
        view = self._plan.views[window.view]
        return f"{view.sequence.name}, frame {view.place(window.start)}"

    def _windows(self, starts: list[list[int]]) -> Iterator[Window]:
        in_frames = self._forecaster.model.in_frames
        for number, (view, own, truth) in enumerate(zip(self._plan.views, starts, self._plan.truths, strict=True)):
            with named_by_flags():
                for window in windows_along(view, number, own, in_frames, self._plan.horizon):
                    yield window if truth is None else window._replace(truth=truth)

    def _predict(self, inputs: np.ndarray, ready: Callable[[int], None] | None = None) -> np.ndarray:
        empty = np.isnan(inputs).all(axis=(1, 2, 3, 4))
        if empty.all():
            shape = (len(inputs), self._plan.horizon, *inputs.shape[2:4], self._forecaster.model.out_channels)
            return np.full(shape, np.nan, np.float32)
        inputs[empty] = inputs[~empty][0]  # something has to be there
        # What is missing is NaN by now; to integers the forecaster would apply the training data's fill value.
        inputs = inputs.astype(np.float32) if inputs.dtype.kind in "iu" else inputs
        prediction = self._forecaster(inputs, self._plan.horizon, dtype="float32", ready=ready)
        prediction = np.ma.filled(prediction, np.nan) if isinstance(prediction, np.ma.MaskedArray) else np.asarray(prediction)
        return np.where(empty[:, None, None, None, None], np.float32(np.nan), prediction) if empty.any() else prediction


class Clips:
    """A few forecasts to look at: all of few, else the first, and the best, median and worst by their error per value.

    Of many only the first is kept; the others are made again when they are known.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Window, np.ndarray, Error | None]] = []
        self._errors: dict[tuple[int, int], Error] = {}  # by view and start
        self._count = 0

    def add(self, window: Window, prediction: np.ndarray, error: Error | None) -> None:
        """Args: error: None where it is not known."""
        self._count += 1
        if self._count <= _CLIPS:
            # Copies: these may be parts of a whole batch.
            kept = window._replace(inputs=window.inputs.copy(), truth=window.truth.copy())
            self._kept.append((kept, prediction.copy(), error))
        elif self._count == _CLIPS + 1:
            del self._kept[1:]
        if error is not None:
            self._errors[window.view, window.start] = error

    def chosen(self, run: Run, scaling: Scaling) -> list[Clip]:
        """Those that are to be shown."""
        if self._count <= _CLIPS:
            return [_clip("", run, scaling, *kept) for kept in self._kept]
        ((first, *of_first),) = self._kept
        names = {(first.view, first.start): ["first"]}
        places = list(self._errors)
        for name, of in best_median_worst(np.array([error.per_value for error in self._errors.values()]), each=1).items():
            for number in of:  # none where no error is known
                names.setdefault(places[number], []).append(name)
        clips = []
        for place, of_place in names.items():
            made = (first, *of_first) if place == (first.view, first.start) else (*run.again(*place), self._errors[place])
            clips.append(_clip(f"{' and '.join(of_place).capitalize()}: ", run, scaling, *made))
        return clips


def _clip(name: str, run: Run, scaling: Scaling, window: Window, prediction: np.ndarray, error: Error | None) -> Clip:
    truth, out_scaling = None, scaling.for_channels(prediction.shape[-1])
    if len(window.truth):  # of what is not known yet, all is missing
        truth = np.full(prediction.shape, np.nan, np.float32)
        truth[: len(window.truth)] = out_scaling.to_network_on_host(window.truth[..., : prediction.shape[-1]])
    inputs, prediction = scaling.to_network_on_host(window.inputs), out_scaling.to_network_on_host(prediction)
    return Clip(f"{name}{run.name_of(window)}", inputs, truth, prediction, "" if error is None else error_note(*error))
