"""The same network in JAX and in PyTorch, number by number."""

from __future__ import annotations

import functools
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from stlight_jax.config import check
from stlight_jax.console.progress import track
from stlight_jax.data.load import open_training
from stlight_jax.data.pipeline import training_batches
from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel.launchers import AXIS, PmapLauncher
from stlight_jax.reports.pictures import save_figure
from stlight_jax.torch_reference import parity
from stlight_jax.torch_reference.weights import torch_from_variables
from stlight_jax.training.schedule import Hyperparameters, OneCycle
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import make_train_step

CURVE_TOLERANCE = 0.001  # 500 steps of tiny ended 0.00001 apart
_LAST = 50  # steps whose mean loss is compared


def compare_cases() -> dict[str, dict[str, dict[str, float]]]:
    """{case: {quantity: {"float64": relative deviation from float64 PyTorch, "float32": ...}}}."""
    results = {}
    for name, case in track(parity.CASES.items(), "comparing", len(parity.CASES), unit="network"):
        frames, variables = parity.make_frames(case), parity.make_variables(case)
        theirs = parity.outcome_in_torch(case, variables, frames)
        by_dtype = {
            dtype: parity.deviations(case, parity.outcome_in_jax(case, variables, frames, dtype), theirs, variables)
            for dtype in ("float64", "float32")
        }
        results[name] = {
            quantity: {dtype: found[quantity] for dtype, found in by_dtype.items()} for quantity in parity.TOLERANCES
        }
    return results


def compare_curves(config: ml_collections.ConfigDict, total_steps: int) -> dict[str, Any]:
    """Losses of both frameworks in float32, from the same weights on the same batches of Moving MNIST.

    Returns:
      {"jax", "torch": one loss per step; "mean_of_last_50_jax", "..._torch", "difference": relative}.
    """
    from stlight_jax.torch_reference.network import STLight as TorchSTLight
    from stlight_jax.torch_reference.torch_training import train as train_in_torch

    shape = check(config)
    rates = config.optimizer
    schedule = OneCycle.from_config(rates, total_steps)
    source, _ = open_training(config)
    optimizer = functools.partial(make_optimizer, rates)
    state = create_state(STLight(shape), optimizer(), config.train.seed, source.shape[1:])
    network = TorchSTLight(**parity.network_arguments(shape))
    network.load_state_dict(torch_from_variables(shape, jax.tree.map(np.array, state.variables)))

    launcher = PmapLauncher(jax.local_devices()[:1])
    step = launcher.train(make_train_step(STLight(shape, AXIS), optimizer, AXIS))
    state = launcher.replicate(state)
    ours = []
    batches = training_batches(source, config.train.batch_size, 0, total_steps)
    for index, batch in enumerate(track(batches, "training in JAX", total_steps, unit="step")):
        rates_now = Hyperparameters(*(np.float32(value) for value in schedule(index)))
        state, metrics = step(state, launcher.split(batch), rates_now)
        ours.append(float(metrics["loss"]))

    batches = training_batches(source, config.train.batch_size, 0, total_steps)
    theirs_iterator = train_in_torch(
        network,
        (np.array(batch) for batch in batches),
        total_steps,
        shape.in_frames,
        learning_rate=rates.learning_rate,
        rise=rates.rise,
        div_factor=rates.div_factor,
        final_div_factor=rates.final_div_factor,
        beta1_low=rates.beta1_low,
        beta1_high=rates.beta1_high,
        beta2=rates.beta2,
        eps=rates.eps,
    )
    theirs = list(track(theirs_iterator, "training in PyTorch", total_steps, unit="step"))
    mean_ours, mean_theirs = (float(np.mean(losses[-_LAST:])) for losses in (ours, theirs))
    return {
        "jax": ours,
        "torch": theirs,
        f"mean_of_last_{_LAST}_jax": mean_ours,
        f"mean_of_last_{_LAST}_torch": mean_theirs,
        "difference": mean_ours / mean_theirs - 1,
    }


def _check_comparable(config: ml_collections.ConfigDict) -> None:
    """The PyTorch side trains plainly: Raises InputError for what it does not do."""
    check(config)
    for key, plain in (
        ("optimizer.clip_norm", 0.0),
        ("optimizer.weight_decay", 0.0),
        ("model.dtype", "float32"),
        ("model.precision", "float32"),
    ):
        section, name = key.split(".")
        if config[section][name] != plain:
            raise InputError(f"{key} is {config[section][name]}; the comparison with PyTorch trains with {plain}")


def failures(results: dict[str, Any]) -> list[str]:
    """Everything beyond its tolerance, in words."""
    beyond = [
        f"{case}, {quantity} in {dtype}: {value:.1e} > {parity.TOLERANCES[quantity][dtype]:.0e}"
        for case, quantities in results["cases"].items()
        for quantity, by_dtype in quantities.items()
        for dtype, value in by_dtype.items()
        if not value <= parity.TOLERANCES[quantity][dtype]
    ]
    curves = results.get("curves")
    if curves is not None and not abs(curves["difference"]) <= CURVE_TOLERANCE:
        beyond.append(f"mean loss of the last {_LAST} steps: {curves['difference']:+.2%}, more than {CURVE_TOLERANCE:.1%}")
    return beyond


def as_text(results: dict[str, Any]) -> str:
    """The tables, for a screen or a file."""
    console = Console(width=128, color_system=None)
    with console.capture() as capture:
        for dtype in ("float64", "float32"):
            table = Table("", "tolerance", title=f"JAX in {dtype}: largest relative deviation from PyTorch in float64")
            for case in results["cases"]:
                table.add_column(case, justify="right")
            for quantity, tolerances in parity.TOLERANCES.items():
                found = [quantities[quantity][dtype] for quantities in results["cases"].values()]
                table.add_row(quantity, f"{tolerances[dtype]:.0e}", *(f"{value:.1e}" for value in found))
            console.print(table)
    lines = []
    if "curves" in results:
        curves = results["curves"]
        lines.append(
            f"{len(curves['jax'])} training steps in float32, mean loss of the last {_LAST}: JAX "
            f"{curves[f'mean_of_last_{_LAST}_jax']:.6f}, PyTorch {curves[f'mean_of_last_{_LAST}_torch']:.6f} "
            f"({curves['difference']:+.3%}; tolerance {CURVE_TOLERANCE:.1%})"
        )
    return "\n".join([capture.get(), *lines, ""])


def draw(path: epath.PathLike, results: dict[str, Any]) -> None:
    """Deviations against their tolerances, and both training curves, as a PNG."""
    curves = results.get("curves")
    figure = Figure(figsize=(13 if curves else 7, 4.6), layout="constrained")
    axes = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    _draw_deviations(axes[0], results["cases"])
    if curves:
        steps = np.arange(1, len(curves["jax"]) + 1)
        axes[1].plot(steps, curves["torch"], color="tab:orange", linewidth=2.2, alpha=0.6, label="PyTorch")
        axes[1].plot(steps, curves["jax"], color="tab:blue", linewidth=0.8, label="JAX")
        axes[1].set(title="training loss: same weights, same batches", xlabel="step", yscale="log")
        axes[1].legend()
        axes[1].grid(alpha=0.3)
    save_figure(path, figure)


def _draw_deviations(axes: Axes, cases: dict[str, dict[str, dict[str, float]]]) -> None:
    heights = np.arange(len(parity.TOLERANCES))[::-1]
    for dtype, colour in (("float64", "tab:green"), ("float32", "tab:blue")):
        for case, quantities in cases.items():
            values = [max(by_dtype[dtype], 1e-17) for by_dtype in quantities.values()]
            axes.scatter(values, heights, 14, color=colour, label=f"JAX in {dtype}" if case == next(iter(cases)) else None)
        limits = [tolerances[dtype] for tolerances in parity.TOLERANCES.values()]
        axes.scatter(limits, heights, 160, color=colour, marker="|", label=f"tolerance in {dtype}")
    axes.set(xscale="log", title="relative deviation from PyTorch in float64", yticks=heights)
    axes.set_yticklabels(parity.TOLERANCES)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.08), ncols=4)
    axes.grid(alpha=0.3)
