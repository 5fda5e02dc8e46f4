"""The pipeline of `compare`: every quantity of every case and the losses of a training, in both frameworks; a report out."""

import math
from typing import Any

import jax
import numpy as np
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import track
from stlight_jax.console.text_table import text_table
from stlight_jax.data.load import network_config, open_training, with_windows
from stlight_jax.data.pipeline import training_batches
from stlight_jax.errors import InputError, ParityError
from stlight_jax.model.stlight import STLight
from stlight_jax.reports.figures import draw_parity
from stlight_jax.runs.environment import describe_environment
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder
from stlight_jax.torch_reference import parity, weight_files
from stlight_jax.torch_reference.weights import torch_network
from stlight_jax.training.schedule import OneCycle
from stlight_jax.training.state import create_state, make_optimizer

JSON, TEXT, PLOT = "parity.json", "parity.txt", "parity.png"
CURVE_TOLERANCE = 0.001  # 500 steps of tiny ended 0.00001 apart
LAST_STEPS = 50  # the comparison of curves takes their mean loss
_DTYPES = ("float64", "float32")


def report_parity(config: RunConfig, steps: int, out: epath.PathLike) -> dict[str, Any]:
    """Compares the network in JAX and in PyTorch, and prints the table.

    Args:
      config: a checked config, which both train for the loss curves.
      steps: training steps of the curves; 0 leaves the curves out.
      out: folder for the three files `JSON`, `TEXT` and `PLOT`.

    Returns:
      The content of the JSON file.

    Raises:
      InputError: PyTorch is not installed, the curves cannot be compared, or the folder cannot be written.
      ParityError: the two differ by more than rounding. The files are written before.
    """
    torch = weight_files.require("torch")
    if steps and steps < LAST_STEPS:
        raise InputError(f"--steps={steps}: at least {LAST_STEPS}, whose mean loss is compared, or 0")
    if steps:
        check_comparable(config)
    folder = epath.Path(out)
    create_folder(folder)
    results: dict[str, Any] = {"environment": describe_environment(), "cases": compare_cases()}
    results["environment"]["packages"]["torch"] = torch.__version__
    if steps:
        results["curves"] = compare_curves(config, steps)
    text = as_text(results)
    write_json(folder / JSON, results)
    (folder / TEXT).write_text(text)
    draw_parity(folder / PLOT, results, parity.TOLERANCES)
    print_message(f"the table, the deviations and the picture are in {folder}: {TEXT}, {JSON}, {PLOT}")
    print(text)
    beyond = failures(results)
    if beyond:
        raise ParityError(f"JAX and PyTorch differ by more than rounding: {'; '.join(beyond)}")
    return results


def compare_cases() -> dict[str, dict[str, dict[str, float]]]:
    """Computes the relative deviations from PyTorch in float64.

    Returns:
      {case: {quantity: {"float64": deviation of JAX in float64, "float32": ...}}}.
    """
    results = {}
    for name, case in track(parity.CASES.items(), "comparing", len(parity.CASES), unit="network"):
        frames, variables = parity.make_frames(case), parity.make_variables(case)
        theirs = parity.outcome_in_torch(case, variables, frames)
        by_dtype = {
            dtype: parity.deviations(case, parity.outcome_in_jax(case, variables, frames, dtype), theirs, variables)
            for dtype in _DTYPES
        }
        results[name] = {
            quantity: {dtype: found[quantity] for dtype, found in by_dtype.items()} for quantity in parity.TOLERANCES
        }
    return results


def compare_curves(config: RunConfig, total_steps: int) -> dict[str, Any]:
    """Trains in both frameworks in float32, from the same weights on the same batches.

    Args:
      config: a checked config that `check_comparable` accepts.
      total_steps: number of training steps.

    Returns:
      {"jax", "torch": one loss per step; "mean_of_last_50_jax", "mean_of_last_50_torch", "difference": relative}.
    """
    from stlight_jax.torch_reference.torch_training import train as train_in_torch

    config = with_windows(config)
    model_config = network_config(config)
    optimizer = config.optimizer.for_width(model_config.hidden_dim)
    schedule = OneCycle.from_config(optimizer, total_steps)
    source, _ = open_training(config)
    train = config.train.for_data(math.prod(source.shape[1:3]), len(source))
    state = create_state(STLight(model_config), make_optimizer(optimizer), config.train.seed, source.shape[1:])
    network = torch_network(model_config, jax.tree.map(np.array, state.variables))

    batches = training_batches(source, train.batch_size, 0, total_steps)
    steps = parity.train_in_jax(model_config, optimizer, state, batches, schedule)
    ours = [loss for loss, _ in track(steps, "training in JAX", total_steps, unit="step")]

    batches = map(np.array, training_batches(source, train.batch_size, 0, total_steps))
    losses = train_in_torch(network, batches, schedule, model_config.in_frames, beta2=optimizer.beta2, eps=optimizer.eps)
    theirs = list(track(losses, "training in PyTorch", total_steps, unit="step"))
    mean_ours, mean_theirs = (float(np.mean(losses[-LAST_STEPS:])) for losses in (ours, theirs))
    return {
        "jax": ours,
        "torch": theirs,
        f"mean_of_last_{LAST_STEPS}_jax": mean_ours,
        f"mean_of_last_{LAST_STEPS}_torch": mean_theirs,
        "difference": mean_ours / mean_theirs - 1,
    }


def check_comparable(config: RunConfig) -> None:
    """Checks that the training in PyTorch, which is plain, does all that a config asks for.

    Args:
      config: a checked config.

    Raises:
      InputError: the config asks for a feature that the training in PyTorch lacks.
    """
    for key, plain in {
        "optimizer.clip_norm": 0.0,
        "optimizer.weight_decay": 0.0,
        "model.dtype": "float32",
        "model.precision": "float32",
    }.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if value != plain:
            raise InputError(f"{key} is {value}; the comparison with PyTorch trains with {plain}")
    if getattr(config.data, "periods", ""):
        raise InputError(f"data.periods is {config.data.periods}; the comparison with PyTorch trains without periods")


def failures(results: dict[str, Any]) -> list[str]:
    """Describes every deviation that exceeds its tolerance.

    Args:
      results: {"cases": see `compare_cases`; optionally "curves": see `compare_curves`}.
    """
    beyond = [
        f"{case}, {quantity} in {dtype}: {value:.1e} > {parity.TOLERANCES[quantity][dtype]:.0e}"
        for case, quantities in results["cases"].items()
        for quantity, by_dtype in quantities.items()
        for dtype, value in by_dtype.items()
        if not value <= parity.TOLERANCES[quantity][dtype]
    ]
    curves = results.get("curves")
    if curves is not None and not abs(curves["difference"]) <= CURVE_TOLERANCE:
        beyond.append(f"mean loss of the last {LAST_STEPS} steps: {curves['difference']:+.2%}, more than {CURVE_TOLERANCE:.1%}")
    return beyond


def as_text(results: dict[str, Any]) -> str:
    """Formats the results, as `failures` takes them, as tables."""
    parts = []
    for dtype in _DTYPES:
        rows = [
            [
                quantity,
                f"{tolerances[dtype]:.0e}",
                *(f"{quantities[quantity][dtype]:.1e}" for quantities in results["cases"].values()),
            ]
            for quantity, tolerances in parity.TOLERANCES.items()
        ]
        title = f"JAX in {dtype}: largest relative deviation from PyTorch in float64"
        parts.append(text_table(["", "tolerance", *results["cases"]], rows, title, width=128))
    if "curves" in results:
        curves = results["curves"]
        parts.append(
            f"{len(curves['jax'])} training steps in float32, mean loss of the last {LAST_STEPS}: JAX "
            f"{curves[f'mean_of_last_{LAST_STEPS}_jax']:.6f}, PyTorch {curves[f'mean_of_last_{LAST_STEPS}_torch']:.6f} "
            f"({curves['difference']:+.3%}; tolerance {CURVE_TOLERANCE:.1%})\n"
        )
    return "".join(parts)
