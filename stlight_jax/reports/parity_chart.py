"""The chart of the comparison with PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stlight_jax.reports.pictures import save_figure


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
