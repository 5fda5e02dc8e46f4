"""What `auto` chooses for the shortcut and its periods: the best forecasts without a network."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from stlight_jax.config.run_config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.console.text_table import text_table
from stlight_jax.data.load import input_beside, network_config, with_history
from stlight_jax.data.periods import AUTO, suggested_periods
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.errors import InputError
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.metrics.metric import VALUES
from stlight_jax.metrics.pixel_errors import MAE, MSE
from stlight_jax.model.context import horizon_of, shorter_sequence
from stlight_jax.model.shortcut import Shortcut, fill_from_neighbours, flow_forecast
from stlight_jax.model.stlight import STLight
from stlight_jax.model.stlight_config import FITTED_SHORTCUTS, MOVING_SHORTCUTS, STLightConfig
from stlight_jax.parallel.launchers import Launcher
from stlight_jax.training.shortcut_fit import fitted_linear, shrunk
from stlight_jax.training.time_for_choices import TimeForChoices

Kind = Literal["last", "linear", "flow", "flow_linear"]
# Of equal errors, the earlier one is chosen.
KINDS: tuple[Kind, ...] = ("last", "linear", "flow", "flow_linear")
# Largest score of "flow_linear", and of a share of a fit, relative to that of a simpler choice.
_CLEARLY_LOWER = 0.98
_SHARE = 0.5
_GAIN_OF_MUCH_DATA = 0.02  # `train.least_gain` up to which fits are taken as they are
# The score of a shortcut for `train.loss`, of the mean squared and the mean absolute error of a value, in the units of the
# squared one, which is the score for other losses.
_SCORES: dict[str, Callable[[float, float], float]] = {
    "absolute": lambda _, absolute: absolute**2,
    "both": lambda squared, absolute: (math.sqrt(squared) + absolute) ** 2,
}
_MOST_WINDOWS = 200  # of the validation data
_BATCH_SIZE = 8


def leaves_choices(config: RunConfig) -> bool:
    """Returns whether `choose_shortcut` has a key to replace."""
    keys = (config.model.shortcut, config.model.input, getattr(config.data, "periods", ""))
    return AUTO in keys or config.train.shortcut_share < 0


class ShortcutChoice(NamedTuple):
    """The best shortcut.

    Attributes:
      config: The run's config with the choice.
      linear: The parameters of the linear shortcut, as from `shrunk`; None if another one is chosen.
    """

    config: RunConfig
    linear: dict[str, np.ndarray] | None = None


class Choice(NamedTuple):
    """A shortcut without a network.

    Attributes:
      kind: `model.shortcut`, one of `KINDS`.
      periods: `data.periods`.
      share: Share of what a fitted map adds to the last frame or the flow's forecast.
      copies: Whether a fitted map sees smoothed copies, as many as `model.shortcut_scales` of the config.
    """

    kind: Kind
    periods: str
    share: float = 1.0
    copies: bool = True

    @property
    def name(self) -> str:
        """The kind as tables show it."""
        return f"{'' if self.share == 1 else f'{self.share:g} of '}{self.kind}{'' if self.copies else ', no copies'}"


def choose_shortcut(
    config: RunConfig,
    training: Sequences,
    validation: Sequences,
    launcher: Launcher,
    time_for_choices: TimeForChoices,
    least_gain: float = 0.0,
    is_scales_open: bool = False,
) -> ShortcutChoice:
    """Replaces "auto" in `model.shortcut`, `model.input` and `data.periods` by the best choice on the validation windows.

    The best choice has the lowest score of the shortcut's forecasts without a network: the MSE, or with the loss "both"
    the square of the sum of RMSE and MAE, with "absolute" that of the MAE, all of single values. The score of maps that
    are fitted must be lower by `least_gain`, and that of "flow_linear" by 2 %. Where `train.shortcut_share` is left open
    and data are few, so that `least_gain` is above 0.02, the best fit of each kind is also tried with a half of what it adds to
    the last frame or the flow, see `shrunk`; the half is taken if its score is 2 % below that of the choice so far. Periods are
    judged by the linear shortcut. If that is the best, it is also tried without smoothed copies, which have more weights than
    few data of fields without motion can fit. Prints the errors of all choices.

    Args:
      config: The config, with the number of channels of the data.
      training: Training sequences, without earlier frames for periods that are still to be chosen.
      validation: Validation sequences, likewise.
      launcher: Runs the forecasts on all devices.
      time_for_choices: When it is over, no further fit is tried, and a message names the choices that are left out.
      least_gain: Fraction by which the score of a map that is fitted to the training data must be below that of the others.
      is_scales_open: Whether a user has left `model.shortcut_scales` open, which the config has for the size of the frames.

    Returns:
      The choice: no shortcut if the network predicts more channels than it sees.
    """
    if config.model.out_channels > config.model.in_channels:
        shortcut = "none" if config.model.shortcut == AUTO else config.model.shortcut
        return ShortcutChoice(_with_choice(config, shortcut, Choice("last", "")))
    if config.model.shortcut != AUTO and not _is_open(config):  # only the input, or the share of a fit
        return ShortcutChoice(_with_choice(config, config.model.shortcut, Choice("last", getattr(config.data, "periods", ""))))
    kinds = KINDS if config.model.shortcut == AUTO else ("linear",)
    if config.model.shortcut == AUTO and config.model.input == "frames_and_flow":
        kinds = tuple(kind for kind in kinds if kind in MOVING_SHORTCUTS)
    without_network = dataclasses.replace(config, model=dataclasses.replace(config.model, input="frames"))
    trials = _Trials(without_network, training, validation, launcher)
    choices = [Choice(kind, periods) for kind in kinds for periods in _periods_to_try(config, kind, training)]
    for choice in _in_time(*_most_important_first(choices), time_for_choices):
        trials.add(choice)
    best = _best(trials.scores, least_gain)
    has_copies = config.model.shortcut == AUTO and best.kind == "linear" and config.model.shortcut_scales > 0
    if has_copies and is_scales_open:
        for choice in _in_time([best._replace(copies=False)], 0, time_for_choices):
            trials.add(choice)
        best = _best(trials.scores, least_gain)
    if config.model.shortcut == AUTO and _leaves_share(config) and least_gain > _GAIN_OF_MUCH_DATA:
        best = trials.better_share(best)
    trials.print_table()
    shortcut = best.kind if config.model.shortcut == AUTO else config.model.shortcut
    chosen = _with_choice(config, shortcut, best)
    if shortcut == best.kind and not trials.errors[best][MSE.key]:
        raise InputError(
            f"the shortcut {shortcut} predicts all {trials.windows:,} validation windows without an error, so that a network "
            "has nothing to learn; check whether the frames change; if only those for validation do not, choose other ones, "
            "such as with data.validation_fraction"
        )
    fit = trials.fits.get(best._replace(share=1.0)) if shortcut == best.kind else None
    return ShortcutChoice(chosen, fit and shrunk(network_config(chosen), fit, chosen.train.shortcut_share))


class _Trials:
    """Forecasts of shortcuts without a network, on validation windows.

    Args:
      config: The config, whose shortcut and periods a trial replaces.
      training: As for `choose_shortcut`.
      validation: As for `choose_shortcut`.
      launcher: As for `choose_shortcut`.

    Attributes:
      errors: Metrics by choice, as from `shortcut_errors`.
      fits: The parameters of the choices that are fitted, as from `shrunk`.
      windows: Number of validation windows.
    """

    def __init__(self, config: RunConfig, training: Sequences, validation: Sequences, launcher: Launcher) -> None:
        self.errors: dict[Choice, dict[str, float]] = {}
        self.fits: dict[Choice, dict[str, np.ndarray]] = {}
        self.windows = 0
        self._config, self._sequences, self._launcher = config, (training, validation), launcher

    def add(self, choice: Choice) -> None:
        """Computes the errors of a choice; that of a share follows the fit that it is a share of."""
        config = _with_choice(self._config, choice.kind, choice._replace(share=1.0))
        sequences = with_history(config, *self._sequences) if _is_open(self._config) else self._sequences
        model, params = network_config(config), {}
        if choice.kind in FITTED_SHORTCUTS:
            whole = choice._replace(share=1.0)
            fit = self.fits[whole] if whole in self.fits else fitted_linear(model, *sequences, config.train.loss)
            self.fits[choice] = shrunk(model, fit, choice.share)
            params = {"shortcut": {"linear": self.fits[choice]}}
        sample = sampled(model, sequences[1])
        self.errors[choice], self.windows = shortcut_errors(model, params, sample, self._launcher), len(sample)

    @property
    def scores(self) -> dict[Choice, float]:
        """The score of each choice, by kind and number of periods."""
        return {choice: _score(self.errors[choice], self._config.train.loss) for choice in sorted(self.errors, key=_place)}

    def better_share(self, best: Choice) -> Choice:
        """Tries a half of the best fit of each kind, also if the time for choices is over: halves need no fit.

        Args:
          best: The best choice so far.

        Returns:
          The half with the lowest score, if that is clearly below the score of `best`; else `best`.
        """
        scores = self.scores
        for kind in sorted({choice.kind for choice in self.fits}, key=KINDS.index):
            fit = min((choice for choice in self.fits if choice.kind == kind), key=scores.__getitem__)
            self.add(fit._replace(share=_SHARE))
        shares = [choice for choice in self.errors if choice.share < 1]
        lowest = min(shares, key=self.scores.__getitem__, default=best)
        return lowest if self.scores[lowest] < _CLEARLY_LOWER * scores[best] else best

    def print_table(self) -> None:
        """Prints the errors of all choices."""
        rows = []
        for choice in sorted(self.errors, key=_place):
            errors = self.errors[choice]
            rows.append((choice.name, choice.periods, *(metric.format(errors[metric.key]) for metric in (MSE, MAE))))
        title = f"forecasts without a network, {self.windows:,} validation windows"
        print_message(text_table(("model.shortcut", "data.periods", MSE.label, MAE.label), rows, title))


def _place(choice: Choice) -> tuple[Any, ...]:
    """Returns the key of a choice for the order of a table."""
    return choice.share < 1, not choice.copies, KINDS.index(choice.kind), choice.periods.count(","), bool(choice.periods)


def _score(errors: Mapping[str, float], loss: str) -> float:
    """Returns the score of a shortcut, of the metrics of its forecasts and the mean number of valid values in a frame."""
    squared, absolute = errors[MSE.key] / errors[VALUES.key], errors[MAE.key] / errors[VALUES.key]
    return _SCORES[loss](squared, absolute) if loss in _SCORES else squared


def _best(scores: Mapping[Choice, float], least_gain: float) -> Choice:
    """Returns the best choice, see `choose_shortcut`."""

    def ratio(choice: Choice) -> float:  # of its score to that of a shortcut without a fit, for equality
        return 1 - least_gain if choice.kind in FITTED_SHORTCUTS else 1.0

    best = min((choice for choice in scores if choice.kind != "flow_linear"), key=lambda choice: scores[choice] / ratio(choice))
    for choice in scores:
        if choice.kind == "flow_linear" and scores[choice] < scores[best] * min(ratio(choice) / ratio(best), _CLEARLY_LOWER):
            best = choice
    return best


def _most_important_first(choices: Sequence[Choice]) -> tuple[list[Choice], int]:
    """Puts first a choice of each simple kind, "linear" with the most periods: any of them can be far better than the others.

    Next comes "flow_linear", which is mostly the best where things move.

    Args:
      choices: in the order of `KINDS`, of each kind that with the most periods last.

    Returns:
      The choices, and the number of those first ones.
    """
    of_kind = {choice.kind: choice for choice in choices}  # the last of each kind
    both = of_kind.pop("flow_linear", None)
    first = list(of_kind.values())
    ordered = [*first, *([both] if both else []), *(choice for choice in choices if choice not in (*first, both))]
    return ordered, max(len(first), 1)


def _in_time(choices: Sequence[Choice], always: int, time_for_choices: TimeForChoices) -> Iterator[Choice]:
    """Yields choices as long as there is time; the first ones, `always` many, in any case."""
    for number, choice in enumerate(choices):
        if number >= always and time_for_choices.is_over():
            names = [each.name + f" with data.periods={each.periods}" * bool(each.periods) for each in choices[number:]]
            print_message(f"the time of --minutes is too short to try all shortcuts; left out: {', '.join(names)}")
            return
        yield choice


def _is_open(config: RunConfig) -> bool:
    return bool(getattr(config.data, "periods", "") == AUTO)


def _periods_to_try(config: RunConfig, kind: str, training: Sequences) -> Sequence[str]:
    """Returns values of data.periods; those of the config if they are given. Shortcuts without a linear map ignore them.

    A period is tried if the frames cover it twice. The longest one is tried together with its next two multiples if the frames
    cover it six times, and with the mean of all earlier periods if they cover it four times: of 20 years of months, the test
    MSE with three years was 1.05, with that mean 0.86, and that of the climatology with the last anomaly 0.94.
    """
    if not _is_open(config):
        return (getattr(config.data, "periods", ""),)
    suggested = suggested_periods(training.description.get("step", "")) if kind == "linear" else ()
    ticks = training.ticks(np.linspace(0, len(training) - 1, min(len(training), _MOST_WINDOWS)).astype(int))
    span = 0 if ticks is None else np.ptp(ticks)
    found = [period for period in suggested if 2 * period <= span]
    several: list[list[Any]] = [found] if len(found) > 1 else []
    if found and 6 * found[-1] <= span:
        several.append([*found, 2 * found[-1], 3 * found[-1]])
    if found and 4 * found[-1] <= span:
        several.append([*found, f"mean:{found[-1]}"])
    return ("", *map(str, found), *(",".join(map(str, periods)) for periods in several))


def _leaves_share(config: RunConfig) -> bool:
    return config.train.shortcut_share < 0 and not config.train.init_from


def _with_choice(config: RunConfig, shortcut: Any, choice: Choice) -> RunConfig:
    """Replaces the shortcut, and by a choice the periods, an open input, an open share, and the number of copies.

    Where no motion is found, the network sees changes. From frames, it learns the level at each place, and draws forecasts
    back to it: on yearly temperatures that rise, the test MSE after 160 steps was 3.1 instead of 0.48 (linear shortcut alone:
    0.44), and on taxi counts 300 steps lowered the validation MSE by 1 % instead of 12 %. On radar, changes do not show the
    rain that moves: 10.4 instead of 9.7 with the linear shortcut. With the flow's forecast beside the frames, the test MSE
    of "flow_linear" and a network after 300 steps was 5.54 instead of 5.67 on that radar.
    """
    data = dataclasses.replace(config.data, periods=choice.periods) if hasattr(config.data, "periods") else config.data
    model = config.model if choice.copies else dataclasses.replace(config.model, shortcut_scales=0)
    if model.input == AUTO:
        still = model.shortcut == AUTO and shortcut in ("last", "linear")
        sees_changes = still and (model.in_frames > 1 or bool(choice.periods))
        model = dataclasses.replace(model, input="changes" if sees_changes else input_beside(shortcut))
    train = config.train
    train = train if train.shortcut_share >= 0 else dataclasses.replace(train, shortcut_share=choice.share)
    return dataclasses.replace(config, model=dataclasses.replace(model, shortcut=shortcut), data=data, train=train)


class ShortcutAlone(STLight):
    """The forecast of the shortcut, without the network."""

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Predicts, see `STLight`."""
        del train
        config = self.config
        filled = frames if valid is None else fill_from_neighbours(frames, valid, config.in_frames, config.context_periods)
        return Shortcut(config, name="shortcut")(filled, flow_forecast(config, filled, valid), valid)


def sampled(model: STLightConfig, validation: Sequences) -> Sequences:
    """Returns evenly spaced validation sequences, no longer than one pass of a network needs."""
    length = validation.shape[0]
    kept = shorter_sequence(model, length, min(model.out_frames, horizon_of(model, length)))
    return EvenlySpaced(validation, _MOST_WINDOWS, kept)


def shortcut_errors(model: STLightConfig, params: dict[str, Any], windows: Sequences, launcher: Launcher) -> dict[str, float]:
    """Computes the metrics of a shortcut's forecasts without a network.

    Args:
      model: The network.
      params: The parameters of the shortcut.
      windows: The sequences.
      launcher: Runs the forecasts on all devices.

    Returns:
      Key of a metric, or of the number of valid values in a frame -> mean over all predicted frames, in the metrics' range.
    """
    step = launcher.compile_eval_step(make_eval_step(ShortcutAlone(model), windows.scaling))
    title, batch_size = f"shortcut {model.shortcut}", launcher.round_up_batch_size(_BATCH_SIZE)
    sums = evaluate(step, launcher, {"params": params}, windows, batch_size, title)
    assert sums is not None  # nothing abandons it
    return {**sums.overall(), VALUES.key: float(sums.values.sum()) / float(sums.frames[VALUES.key].sum())}
