"""Context in time: which earlier frames a network sees beside its input frames, in every pass of a roll-out.

For a lead time of L sampling steps and a period of p, the context frame lies k*p steps before the predicted frame, k the least
number with k*p >= L, so that it is never later than the last frame that is known. One more frame lies a period before the last
frame that is known (L = 0, k = 1): from it a network sees how far the present is from one period earlier.

For a mean period, the context has in each of these places the mean of that frame and of those whole periods before it. A mean
has no predicted frame: where the frame of its place is one, it begins with the latest frame of its phase that is known.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

from stlight_jax.errors import InputError
from stlight_jax.model.stlight_config import STLightConfig

MISSING = -1
_MOST_IN_MEAN = 30  # as the years of a climatological standard normal of the World Meteorological Organization


class HistoryFrame(NamedTuple):
    """A frame before the input frames, or a mean of such frames of one phase.

    Attributes:
      time: Time of the frame, or of the latest one of a mean, in sampling steps since the last input frame; at most 0.
      mean_period: 0 for a single frame; else the sampling steps between the frames of a mean.
    """

    time: int
    mean_period: int = 0

    @property
    def times(self) -> tuple[int, ...]:
        """The times of all its frames, the latest one first."""
        return tuple(self.time - number * self.mean_period for number in range(_MOST_IN_MEAN if self.mean_period else 1))


@dataclasses.dataclass(frozen=True)
class ContextPlan:
    """The frames that the passes of a roll-out see. A sequence is `[history | T input frames | predictions]`.

    Attributes:
      history: The history frames, ascending. Single frames that are input frames are left out.
      passes: For each pass, the indices in the sequence of the `[context | T]` frames that the network sees. The context has
        the frames of the lead times 0 to T' for the first period, then for the next one, and after all periods for the mean
        periods; `MISSING` where no predicted frame has its time.
    """

    history: tuple[HistoryFrame, ...]
    passes: tuple[tuple[int, ...], ...]


@functools.lru_cache(maxsize=64)
def plan_context(config: STLightConfig, horizon: int, kept: int | None = None) -> ContextPlan:
    """Plans the passes of a roll-out.

    Args:
      config: The network's shape.
      horizon: Frames to predict.
      kept: Predicted frames that a pass adds to the sequence; None for all T'.

    Returns:
      The plan. That of a shorter horizon has the first of its passes and a part of its history.
    """
    step, in_frames, kept = config.frame_step, config.in_frames, kept or config.out_frames
    starts = range(0, horizon, kept)  # predictions known before each pass
    contexts = [context_of_pass(config, start) for start in starts]
    inputs = {HistoryFrame(-number * step) for number in range(in_frames)}
    history = sorted({frame for context in contexts for frame in context if frame.time <= 0} - inputs)
    last = len(history) + in_frames - 1  # index of the last input frame

    def index(frame: HistoryFrame) -> int:
        if frame.time > 0 or frame in inputs:
            return last + frame.time // step if frame.time % step == 0 else MISSING
        return history.index(frame)

    recent = range(last - in_frames + 1, last + 1)
    passes = (
        (*map(index, context), *(start + number for number in recent)) for start, context in zip(starts, contexts, strict=True)
    )
    return ContextPlan(tuple(history), tuple(passes))


def context_of_pass(config: STLightConfig, start: int = 0) -> list[HistoryFrame]:
    """Returns the context of a pass, in the order in which the network sees it.

    Args:
      config: The network's shape.
      start: Number of predicted frames before the pass. The context of later passes can have frames of times above 0, which
        are predicted.
    """
    now, leads = start * config.frame_step, [number * config.frame_step for number in range(config.out_frames + 1)]

    def latest(lead: int, period: int, known: int) -> int:
        """The latest time of the phase of a lead, before that lead and at most `known`."""
        return now + lead - max(1, -((known - now - lead) // period)) * period

    single = [HistoryFrame(latest(lead, period, now)) for period in config.periods for lead in leads]
    means = [HistoryFrame(latest(lead, period, 0), period) for period in config.mean_periods for lead in leads]
    return [*single, *means]


def sequence_length(config: STLightConfig, horizon: int) -> int:
    """Counts the frames of a sequence `[history | T input frames | horizon targets]`."""
    return len(plan_context(config, horizon).history) + config.in_frames + horizon


def horizon_of(config: STLightConfig, length: int) -> int:
    """Returns the number of targets of a sequence.

    Args:
      config: The network's shape.
      length: Frames of the sequence, history included.

    Raises:
      InputError: No sequence has so many frames.
    """
    horizon = 1
    while sequence_length(config, horizon) < length:
        horizon += 1
    if sequence_length(config, horizon) != length:
        periods = f", data.periods={config.periods_text}" if config.context_periods else ""
        raise InputError(
            f"a sequence has {length} frames; expected {sequence_length(config, horizon)} to predict {horizon} "
            f"(model.in_frames={config.in_frames}{periods}); check how the sequences were made"
        )
    return horizon


def first_target(config: STLightConfig, length: int) -> int:
    """Returns the index of the first target in a sequence of `length` frames, history included."""
    return length - horizon_of(config, length)


def shorter_sequence(config: STLightConfig, length: int, horizon: int) -> list[int]:
    """Returns the indices of the frames of a sequence that make one of fewer targets.

    Args:
      config: The network's shape.
      length: Frames of the sequence.
      horizon: Targets to keep, at most as many as the sequence has.
    """
    history = plan_context(config, horizon_of(config, length)).history
    kept = [history.index(time) for time in plan_context(config, horizon).history]
    return [*kept, *range(len(history), len(history) + config.in_frames + horizon)]


def first_pass(config: STLightConfig, length: int, horizon: int) -> list[int]:
    """Returns the indices of the frames of a sequence that the network sees in its first pass, then of its first targets.

    Args:
      config: The network's shape.
      length: Frames of the sequence.
      horizon: Targets to keep, at most as many as the sequence has.
    """
    plan, first = plan_context(config, horizon_of(config, length)), first_target(config, length)
    return [*plan.passes[0], *range(first, first + horizon)]


def check_horizon(key: str, horizon: int, config: STLightConfig, covariates: int = 0) -> None:
    """Checks that a network can predict a horizon, which beyond T' requires that it takes its own predictions as input.

    Args:
      key: Name of the key or flag of the horizon, for the message.
      horizon: Number of frames to predict.
      config: The network's shape.
      covariates: Number of its input channels that are known for predicted frames, too.

    Raises:
      InputError: The network would have to take its own predictions, but predicts another number of channels.
    """
    if horizon > config.out_frames and config.in_channels - covariates != config.out_channels:
        raise InputError(
            f"{key} is {horizon}, more than model.out_frames {config.out_frames}, so predictions are fed back; but the network "
            f"predicts {config.out_channels} channels and sees {config.in_channels}"
        )


class SeenFrames:
    """The frames that the network sees in each pass of a roll-out: known frames first, then its own predictions.

    Args:
      plan: The passes.
      known: `[b, history + T, h, w, c]`, floats, of JAX or NumPy.
    """

    def __init__(self, plan: ContextPlan, known: Any) -> None:
        self._plan, self._known = plan, known
        self._frames: list[Any] = []

    def of_pass(self, number: int) -> Any:
        """Returns the frames of a pass, `[b, context + T, h, w, c]`, NaN where no frame has the time of a context frame."""
        indices, arrays = self._plan.passes[number], self._known.__array_namespace__()
        if indices == tuple(range(self._known.shape[1])):
            return self._known
        if not self._frames:
            self._append(self._known)
        unknown = arrays.full_like(self._frames[0], arrays.nan) if MISSING in indices else None
        return arrays.concatenate([unknown if index == MISSING else self._frames[index] for index in indices], axis=1)

    def append(self, block: Any) -> None:
        """Adds predicted frames, `[b, t, h, w, c]`."""
        if not self._frames:
            self._append(self._known)
        self._append(block.astype(self._known.dtype))

    def _append(self, frames: Any) -> None:
        self._frames += [frames[:, time : time + 1] for time in range(frames.shape[1])]
