"""Figures as PNG files: a training run, the comparison with PyTorch, and programs compiled for TPU slices."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MEMORY = {"arguments": "state and batch", "temporaries": "temporaries", "results": "results", "code": "code"}
_LIMITS = {"products": "matrix units", "memory": "main memory", "network": "chip-to-chip network"}
FEW_POINTS = 20  # that are not smoothed
_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#aaaaaa")


def draw_loss_curve(
    path: epath.PathLike,
    training: Sequence[dict[str, Any]],
    validation: Sequence[dict[str, Any]],
    start: str = "before the training (step 0)",
) -> None:
    """Draws the training loss and the validation MSE against the step, as a PNG.

    Args:
      path: of the PNG.
      training: lines of the metrics log (`read_metrics`).
      validation: lines of the metrics log.
      start: label of the validation before the first step.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, losses = [line["step"] for line in training], [line["loss"] for line in training]
    if len(steps) < FEW_POINTS:
        left.plot(steps, losses, marker="o", color="tab:blue", label="logged steps")
    else:
        left.plot(steps, losses, color="0.75", linewidth=0.8, label="logged steps")
        left.plot(steps, smoothed(losses), color="tab:blue", label="smoothed")
    left.set(title="training loss (in the network's range)", xlabel="step", yscale="log")
    left.legend()
    right.plot([line["step"] for line in validation], [line["mse"] for line in validation], marker="o", color="tab:orange")
    first = [line["mse"] for line in validation if line["step"] == 0]
    if first:
        right.axhline(first[0], color="0.3", linestyle="--", linewidth=1, label=start)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right")
    right.set(title="validation MSE (summed over pixels)", xlabel="step")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


def save_figure(path: epath.PathLike, figure: Figure) -> None:
    """Saves a figure as a PNG, on a disk or in a bucket."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    epath.Path(path).write_bytes(content.getvalue())


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Returns the mean over a centred window of a twentieth of the values, shorter at both ends."""
    half = max(1, len(values) // 40)
    return np.array([np.mean(values[max(0, at - half) : at + half + 1]) for at in range(len(values))])


def draw_parity(path: epath.PathLike, results: Mapping[str, Any], tolerances: Mapping[str, Mapping[str, float]]) -> None:
    """Draws the deviations beside their tolerances, and the training curves of both frameworks, as a PNG.

    Args:
      path: the file.
      results: {"cases": {case: {quantity: {dtype: relative deviation}}}; optionally "curves": {"jax", "torch": losses}}.
      tolerances: {quantity: {dtype: largest deviation that counts as rounding}}.
    """
    curves = results.get("curves")
    figure = Figure(figsize=(13 if curves else 7, 4.6), layout="constrained")
    axes = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    _draw_deviations(axes[0], results["cases"], tolerances)
    if curves:
        steps = np.arange(1, len(curves["jax"]) + 1)
        axes[1].plot(steps, curves["torch"], color="tab:orange", linewidth=2.2, alpha=0.6, label="PyTorch")
        axes[1].plot(steps, curves["jax"], color="tab:blue", linewidth=0.8, label="JAX")
        axes[1].set(title="training loss: same weights, same batches", xlabel="step", yscale="log")
        axes[1].legend()
        axes[1].grid(alpha=0.3)
    save_figure(path, figure)


def _draw_deviations(axes: Axes, cases: Mapping[str, Any], tolerances: Mapping[str, Mapping[str, float]]) -> None:
    heights = np.arange(len(tolerances))[::-1]
    for dtype, colour in (("float64", "tab:green"), ("float32", "tab:blue")):
        for number, quantities in enumerate(cases.values()):
            values = [max(by_dtype[dtype], 1e-17) for by_dtype in quantities.values()]
            axes.scatter(values, heights, 14, color=colour, label=None if number else f"JAX in {dtype}")
        limits = [by_dtype[dtype] for by_dtype in tolerances.values()]
        axes.scatter(limits, heights, 160, color=colour, marker="|", label=f"tolerance in {dtype}")
    axes.set(xscale="log", title="relative deviation from PyTorch in float64", yticks=heights)
    axes.set_yticklabels(tolerances)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.08), ncols=4)
    axes.grid(alpha=0.3)


def draw_programs(path: epath.PathLike, labels: Sequence[str], programs: Sequence[dict[str, Any]], title: str) -> None:
    """Draws memory, time bounds and throughput of programs side by side, as a PNG.

    Args:
      path: the file.
      labels: the name of each program.
      programs: the programs as JSON, see `tpu_planning.compile_plan`.
      title: the title of the figure.
    """
    figure = Figure(figsize=(14, 2.2 + 0.42 * len(programs)), layout="constrained")
    memory, times, throughput = figure.subplots(1, 3, sharey=True)
    rows = range(len(programs))
    left = [0.0] * len(programs)
    for (part, name), colour in zip(_MEMORY.items(), _COLOURS, strict=True):
        values = [program["memory"][part] / 2**30 for program in programs]
        memory.barh(rows, values, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    for row, program in enumerate(programs):
        capacity = program["memory"]["capacity"] / 2**30
        memory.plot([capacity] * 2, [row - 0.42, row + 0.42], color="black", label=None if row else "capacity")
        bound = program["bound_not_a_measurement"]
        for (part, name), colour in zip(_LIMITS.items(), _COLOURS, strict=False):
            times.plot(1e3 * bound[part], row, "o", color=colour, label=None if row else name)
        per_chip = bound["sequences_per_second"] / program["chips"]
        throughput.barh(row, per_chip, color="#66aa77")
        total = f" {bound['sequences_per_second']:,.0f} on {program['chips']}"
        throughput.annotate(total, (per_chip, row), va="center", fontsize=8)
    memory.set(title="Memory per chip (GiB)", yticks=list(rows), yticklabels=list(labels))
    memory.invert_yaxis()
    times.set(title="Least time per step (ms), as bound by", xscale="log")
    times.grid(alpha=0.3)
    throughput.set(title="Sequences/s per chip, at most")
    throughput.margins(x=0.35)
    for axes in (memory, times):
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.05 - 0.5 / len(programs)), ncols=3, frameon=False)
    for axes in (memory, times, throughput):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}\ncompiled without a TPU; times are bounds from published peaks, not measurements", fontsize=11)
    save_figure(path, figure)
