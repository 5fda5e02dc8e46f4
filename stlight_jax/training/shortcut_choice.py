"""The shortcut before the first step: its linear map fitted to the training data, and the best kind for `auto`."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from stlight_jax.config.sections import ModelSection
from stlight_jax.console.messages import print_message
from stlight_jax.console.text_table import text_table
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.evaluation.eval_steps import make_baseline_step
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.evaluation.ridge import fit_linear
from stlight_jax.metrics.pixel_errors import MAE, MSE
from stlight_jax.model.shortcut import Shortcut, copying_kernel, fill_from_neighbours
from stlight_jax.model.stlight import STLight
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.parallel import agreement
from stlight_jax.parallel.launchers import Launcher

KINDS: tuple[Literal["last", "linear", "flow"], ...] = ("last", "linear", "flow")  # of equal errors, the earlier one is chosen
_MOST_WINDOWS = 200  # of the validation data
_BATCH_SIZE = 8


def choose_shortcut(section: ModelSection, training: Sequences, validation: Sequences, launcher: Launcher) -> ModelSection:
    """Replaces `shortcut="auto"` by the kind whose forecast without a network has the lowest MSE on the validation windows.

    Prints the errors of all kinds.

    Args:
      section: The config's section `model`, with the number of channels of the data.
      training: Training sequences.
      validation: Validation sequences.
      launcher: Runs the forecasts on all devices.

    Returns:
      The section with another value of `shortcut`: "none" if the network predicts more channels than it sees.
    """
    if section.out_channels > section.in_channels:
        return dataclasses.replace(section, shortcut="none")
    windows = EvenlySpaced(validation, _MOST_WINDOWS, section.in_frames + section.out_frames)
    errors = {}
    for kind in KINDS:
        model = STLightConfig.from_section(dataclasses.replace(section, shortcut=kind))
        params = {"linear": fitted_linear(model, training, validation)} if kind == "linear" else {}
        errors[kind] = _errors(model, params, windows, launcher)
    chosen = min(KINDS, key=lambda kind: errors[kind][MSE.key])
    rows = [(kind, *(metric.format(of_kind[metric.key]) for metric in (MSE, MAE))) for kind, of_kind in errors.items()]
    title = f"forecasts without a network, {len(windows):,} validation windows"
    print_message(text_table(("model.shortcut", MSE.label, MAE.label), rows, title))
    print_message(f"model.shortcut=auto: {chosen}")
    return dataclasses.replace(section, shortcut=chosen)


def fitted_linear(model: STLightConfig, training: Sequences, validation: Sequences) -> dict[str, np.ndarray]:
    """Fits the linear shortcut by ridge regression, in the first process.

    Args:
      model: The network.
      training: Training sequences.
      validation: Validation sequences, which choose the strength of the regularisation.

    Returns:
      The parameters "kernel", `[t*c, t'*c']`, and "bias", `[t'*c']`, float32. Lead times beyond the horizon of the training,
      which the network predicts and no window has, repeat the last frame.
    """
    weights = None
    if jax.process_index() == 0:
        out_frames = min(model.out_frames, training.shape[0] - model.in_frames, validation.shape[0] - model.in_frames)
        fit = fit_linear(training, validation, model.in_frames, out_frames, model.out_channels)
        weights = {"kernel": fit.kernel.tolist(), "bias": fit.bias.tolist()}
    fitted = {name: np.asarray(value, np.float32) for name, value in agreement.broadcast_from_first(weights).items()}
    inputs, outputs = len(fitted["kernel"]), model.out_frames * model.out_channels
    kernel, bias = np.array(copying_kernel(model, (inputs, outputs))), np.zeros(outputs, np.float32)
    kernel[:, : len(fitted["bias"])], bias[: len(fitted["bias"])] = fitted["kernel"], fitted["bias"]
    return {"kernel": kernel, "bias": bias}


def _errors(model: STLightConfig, params: dict[str, Any], windows: Sequences, launcher: Launcher) -> dict[str, float]:
    """Returns the metrics of a shortcut's forecasts."""
    step = launcher.compile_eval_step(make_baseline_step(_forecast(model, params), STLight(model), windows.scaling))
    sums = evaluate(step, launcher, {}, windows, launcher.round_up_batch_size(_BATCH_SIZE), f"shortcut {model.shortcut}")
    assert sums is not None  # nothing abandons it
    return sums.overall()


def _forecast(model: STLightConfig, params: dict[str, Any]) -> Callable[[jax.Array, jax.Array | None], jax.Array]:
    def forecast(inputs: jax.Array, valid: jax.Array | None) -> jax.Array:
        filled = inputs if valid is None else fill_from_neighbours(inputs, valid, model.in_frames)
        prediction: Any = Shortcut(model).apply({"params": params}, filled, valid)  # [b, t', h, w, c']
        return prediction

    return forecast
