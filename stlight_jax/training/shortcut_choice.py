"""The shortcut before the first step: its linear map fitted to the training data, and what `auto` chooses for it."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
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
from stlight_jax.evaluation.ridge import FurtherInputs, fit_linear, known_frames
from stlight_jax.metrics.metric import VALUES
from stlight_jax.metrics.pixel_errors import MAE, MSE
from stlight_jax.model.context import first_pass, horizon_of, shorter_sequence
from stlight_jax.model.shortcut import Shortcut, fill_from_neighbours, flow_forecast, smoothed_inputs, unfitted_kernel
from stlight_jax.model.stlight import STLight
from stlight_jax.model.stlight_config import FITTED_SHORTCUTS, MOVING_SHORTCUTS, STLightConfig
from stlight_jax.parallel import agreement
from stlight_jax.parallel.launchers import Launcher
from stlight_jax.training.flow_fit import fit_flow_linear
from stlight_jax.training.time_for_choices import TimeForChoices

# Of equal errors, the earlier one is chosen.
KINDS: tuple[Literal["last", "linear", "flow", "flow_linear"], ...] = ("last", "linear", "flow", "flow_linear")
# Largest score of "flow_linear", relative to that of a simpler shortcut, which an export can have.
_FLOW_LINEAR_RATIO = 0.98
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
    return AUTO in (config.model.shortcut, config.model.input, getattr(config.data, "periods", ""))


class ShortcutChoice(NamedTuple):
    """The best shortcut.

    Attributes:
      config: The run's config with the choice.
      linear: The parameters of the linear shortcut, as from `fitted_linear`; None if another one is chosen.
    """

    config: RunConfig
    linear: dict[str, np.ndarray] | None = None


def choose_shortcut(
    config: RunConfig,
    training: Sequences,
    validation: Sequences,
    launcher: Launcher,
    time_for_choices: TimeForChoices,
    least_gain: float = 0.0,
) -> ShortcutChoice:
    """Replaces "auto" in `model.shortcut`, `model.input` and `data.periods` by the best choice on the validation windows.

    The best choice has the lowest score of the shortcut's forecasts without a network: the MSE, or with the loss "both"
    the square of the sum of RMSE and MAE, with "absolute" that of the MAE, all of single values. The score of maps that
    are fitted must be lower by `least_gain`, and that of "flow_linear" by 2 %. Periods are judged by the linear
    shortcut. Prints the errors of all choices.

    Args:
      config: The config, with the number of channels of the data.
      training: Training sequences, without earlier frames for periods that are still to be chosen.
      validation: Validation sequences, likewise.
      launcher: Runs the forecasts on all devices.
      time_for_choices: When it is over, no further choice is tried, and a message names the choices that are left out.
      least_gain: Fraction by which the score of a map that is fitted to the training data must be below that of the others.

    Returns:
      The choice: no shortcut if the network predicts more channels than it sees.
    """
    if config.model.out_channels > config.model.in_channels:
        shortcut = "none" if config.model.shortcut == AUTO else config.model.shortcut
        return ShortcutChoice(_with_choice(config, shortcut, ""))
    if config.model.shortcut != AUTO and not _is_open(config):  # only the input
        return ShortcutChoice(_with_choice(config, config.model.shortcut, getattr(config.data, "periods", "")))
    kinds = KINDS if config.model.shortcut == AUTO else ("linear",)
    if config.model.shortcut == AUTO and config.model.input == "frames_and_flow":
        kinds = tuple(kind for kind in kinds if kind in MOVING_SHORTCUTS)
    without_network = dataclasses.replace(config, model=dataclasses.replace(config.model, input="frames"))
    choices = [(kind, periods) for kind in kinds for periods in _periods_to_try(config, kind, training)]
    errors, fits, windows = {}, {}, 0
    params: dict[str, Any]
    for kind, periods in _in_time(choices, time_for_choices):
        candidate = _with_choice(without_network, kind, periods)
        sequences = with_history(candidate, training, validation) if _is_open(config) else (training, validation)
        model, params = network_config(candidate), {}
        if kind in FITTED_SHORTCUTS:
            fits[kind, periods] = fitted_linear(model, *sequences, config.train.loss)
            params = {"shortcut": {"linear": fits[kind, periods]}}
        sample = sampled(model, sequences[1])
        errors[kind, periods], windows = shortcut_errors(model, params, sample, launcher), len(sample)
    scores = {choice: _score(of_choice, config.train.loss) for choice, of_choice in errors.items()}
    kind, periods = _best(scores, least_gain)
    rows = [(*choice, *(metric.format(of_choice[metric.key]) for metric in (MSE, MAE))) for choice, of_choice in errors.items()]
    title = f"forecasts without a network, {windows:,} validation windows"
    print_message(text_table(("model.shortcut", "data.periods", MSE.label, MAE.label), rows, title))
    shortcut = kind if config.model.shortcut == AUTO else config.model.shortcut
    chosen = _with_choice(config, shortcut, periods)
    if shortcut == kind and not errors[kind, periods][MSE.key]:
        raise InputError(
            f"the shortcut {kind} predicts all {windows:,} validation windows without an error, so that a network has nothing "
            "to learn; check whether the frames change; if only those for validation do not, choose other ones, such as with "
            "data.validation_fraction"
        )
    return ShortcutChoice(chosen, fits.get((shortcut, periods)))


def _score(errors: Mapping[str, float], loss: str) -> float:
    """Returns the score of a shortcut, of the metrics of its forecasts and the mean number of valid values in a frame."""
    squared, absolute = errors[MSE.key] / errors[VALUES.key], errors[MAE.key] / errors[VALUES.key]
    return _SCORES[loss](squared, absolute) if loss in _SCORES else squared


def _best(scores: Mapping[tuple[Any, str], float], least_gain: float) -> tuple[Any, str]:
    """Chooses the shortcut and its periods.

    Args:
      scores: By kind and periods.
      least_gain: As for `choose_shortcut`.
    """

    def share(choice: tuple[Any, str]) -> float:  # of the score of another kind, below which it must be
        return 1 - least_gain if choice[0] in FITTED_SHORTCUTS else 1.0

    best = min((choice for choice in scores if choice[0] != "flow_linear"), key=lambda choice: scores[choice] / share(choice))
    for choice in scores:
        if choice[0] == "flow_linear" and scores[choice] < scores[best] * min(share(choice) / share(best), _FLOW_LINEAR_RATIO):
            best = choice
    return best


def _in_time(choices: Sequence[tuple[Any, str]], time_for_choices: TimeForChoices) -> Iterator[tuple[Any, str]]:
    """Yields shortcuts with their periods, as long as there is time; the first in any case."""
    for number, choice in enumerate(choices):
        if number and time_for_choices.is_over():
            names = [f"{kind} with data.periods={periods}" if periods else kind for kind, periods in choices[number:]]
            print_message(f"the time of --minutes is too short to try all shortcuts; left out: {', '.join(names)}")
            return
        yield choice


def _is_open(config: RunConfig) -> bool:
    return bool(getattr(config.data, "periods", "") == AUTO)


def _periods_to_try(config: RunConfig, kind: str, training: Sequences) -> Sequence[str]:
    """Returns values of data.periods; those of the config if they are given. Shortcuts without a linear map ignore them.

    A period is tried if the frames cover it twice, and the longest one together with its next two multiples, which average over
    several weeks or years, if the frames cover it six times.
    """
    if not _is_open(config):
        return (getattr(config.data, "periods", ""),)
    suggested = suggested_periods(training.description.get("step", "")) if kind == "linear" else ()
    ticks = training.ticks(np.linspace(0, len(training) - 1, min(len(training), _MOST_WINDOWS)).astype(int))
    span = 0 if ticks is None else np.ptp(ticks)
    found = [period for period in suggested if 2 * period <= span]
    several = [found] if len(found) > 1 else []
    if found and 6 * found[-1] <= span:
        several.append([*found, 2 * found[-1], 3 * found[-1]])
    return ("", *map(str, found), *(",".join(map(str, periods)) for periods in several))


def _with_choice(config: RunConfig, shortcut: Any, periods: str) -> RunConfig:
    """Replaces shortcut and periods, and an open input.

    Where no motion is found, the network sees changes. From frames, it learns the level at each place, and draws forecasts
    back to it: on yearly temperatures that rise, the test MSE after 160 steps was 3.1 instead of 0.48 (linear shortcut alone:
    0.44), and on taxi counts 300 steps lowered the validation MSE by 1 % instead of 12 %. On radar, changes do not show the
    rain that moves: 10.4 instead of 9.7 with the linear shortcut. With the flow's forecast beside the frames, the test MSE
    of "flow_linear" and a network after 300 steps was 5.54 instead of 5.67 on that radar.
    """
    data = dataclasses.replace(config.data, periods=periods) if hasattr(config.data, "periods") else config.data
    model = config.model
    if model.input == AUTO:
        still = model.shortcut == AUTO and shortcut in ("last", "linear")
        sees_changes = still and (model.in_frames > 1 or bool(periods))
        model = dataclasses.replace(model, input="changes" if sees_changes else input_beside(shortcut))
    return dataclasses.replace(config, model=dataclasses.replace(model, shortcut=shortcut), data=data)


def fitted_linear(
    model: STLightConfig, training: Sequences, validation: Sequences, loss: str = "squared"
) -> dict[str, np.ndarray]:
    """Fits the linear map of a shortcut by ridge regression, in the first process.

    Args:
      model: The network, with the shortcut "linear" or "flow_linear".
      training: Training sequences.
      validation: Validation sequences, which choose the strength of the regularisation of "linear".
      loss: `train.loss`, which the map of "flow_linear" minimises.

    Returns:
      The parameters "kernel", `[inputs, t'*c']`, see `unfitted_kernel`, and "bias", `[t'*c']`, float32. Lead times beyond the
      horizon of the training, which the network predicts and no window has, repeat the last frame or the flow's forecast.
      Periods that hardly any training window knows have no weight.
    """
    weights = None
    if jax.process_index() == 0:
        out_frames = min(model.out_frames, *(horizon_of(model, source.shape[0]) for source in (training, validation)))
        context = EvenlySpaced(training, len(training), first_pass(model, training.shape[0], 1)[: model.context_frames])
        seen = [*known_frames(context, model.context_frames), *range(model.context_frames, model.seen_frames)]
        sampled = []
        for source in (training, validation):
            frames = first_pass(model, source.shape[0], out_frames)
            chosen = [*(frames[index] for index in seen), *frames[model.seen_frames :]]
            sampled.append(EvenlySpaced(source, len(source), chosen))
        if model.shortcut in MOVING_SHORTCUTS:
            kernel, bias = fit_flow_linear(sampled[0], model, len(seen), out_frames, loss)
        else:
            further = _smoothed(model, len(seen)) if model.smoothed_copies else None
            fit = fit_linear(sampled[0], sampled[1], len(seen), out_frames, model.out_channels, further)
            kernel, bias = fit.kernel, fit.bias
        weights = {"seen": seen, "kernel": kernel.tolist(), "bias": bias.tolist()}
    fitted = {name: np.asarray(value) for name, value in agreement.broadcast_from_first(weights).items()}
    outputs, count = model.out_frames * model.out_channels, len(fitted["bias"])
    kernel, bias = np.array(unfitted_kernel(model, (model.shortcut_inputs, outputs))), np.zeros(outputs, np.float32)
    kernel[:, :count] = 0
    kernel[_fitted_rows(model, fitted["seen"], count), :count], bias[:count] = fitted["kernel"], fitted["bias"]
    return {"kernel": kernel, "bias": bias}


def _smoothed(model: STLightConfig, seen: int) -> FurtherInputs:
    """Makes the smoothed inputs of "linear" in a fit with some of the frames that the network sees."""

    def smoothed(frames: jax.Array, valid: jax.Array | None) -> jax.Array:
        recent = slice(frames.shape[1] - model.in_frames, None)
        inputs, known = frames[:, recent], None
        if valid is not None:
            known = valid[:, recent]
            inputs = fill_from_neighbours(inputs, known, model.in_frames)
        return jnp.concatenate(smoothed_inputs(model, inputs, valid=known), axis=-1)  # [b, h, w, n]

    compiled, count = jax.jit(smoothed), model.fitted_inputs(seen, model.out_frames) - seen * model.in_channels
    return FurtherInputs(count, lambda frames, valid: np.asarray(compiled(frames.astype(np.float32), valid)))


def _fitted_rows(model: STLightConfig, seen: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of a kernel that a fit has, in its order.

    Args:
      model: The network.
      seen: Indices of the frames in the fit, of all that the network sees.
      count: Number of outputs in the fit, the first ones.
    """
    of_flow = model.out_frames * model.out_channels if model.shortcut in MOVING_SHORTCUTS else 0
    flow = np.arange(min(of_flow, count))
    recent = np.arange(model.in_frames * (model.in_channels - model.covariates))
    frames = (seen[:, None] * model.in_channels + np.arange(model.in_channels)).ravel()
    first = model.seen_frames * model.in_channels
    parts = [frames, first + flow]
    first += of_flow
    for _ in range(model.shortcut_scales):
        parts += [first + recent, first + len(recent) + flow]
        first += len(recent) + of_flow
    return np.concatenate(parts)


class ShortcutAlone(STLight):
    """The forecast of the shortcut, without the network."""

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Predicts, see `STLight`."""
        del train
        filled = frames if valid is None else fill_from_neighbours(frames, valid, self.config.in_frames, self.config.periods)
        return Shortcut(self.config, name="shortcut")(filled, flow_forecast(self.config, filled, valid), valid)


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
