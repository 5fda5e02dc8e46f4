"""The results of an evaluation as a table, as JSON, and beside the paper's own."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.table import Table

from stlight_jax.evaluation.evaluator import Evaluation
from stlight_jax.model.stlight import STLightConfig

# Results on the published Moving MNIST test set after 200 epochs, by (hidden_dim, overlap): paper table 3; the widest from
# figure 1, read from the plot. All with depth 16, patch 2, kernels 3 and 7 (dilation 3), 10 -> 10 frames.
_PAPER_MOVING_MNIST = {
    (800, 0): {"mse": 24.48, "mae": 71.21, "ssim": 0.9444},
    (1000, 0): {"mse": 23.29, "mae": 68.33, "ssim": 0.9454},
    (1200, 0): {"mse": 22.21, "mae": 68.33, "ssim": 0.9496},
    (1400, 0): {"mse": 21.80, "mae": 66.92, "ssim": 0.9515},
    (1800, 2): {"mse": 20.54},
}
DEFINITIONS = [
    "MSE, MAE: summed over pixels and channels, averaged over frames. PSNR, SSIM: of predictions clipped to [0, 1].",
    "SSIM has data range 2, as OpenSTL's numbers have; 'range 1' is the one that fits the frames.",
]
_COLUMNS = {
    "mse": ("MSE", ".3f"),
    "mae": ("MAE", ".3f"),
    "rmse": ("RMSE", ".3f"),
    "psnr": ("PSNR", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "ssim_unit_range": ("SSIM, range 1", ".4f"),
}


def paper_result(dataset: str, model: STLightConfig, test_set: dict[str, Any]) -> dict[str, float] | None:
    """What the paper reports for this network on this test set; None where that is not comparable."""
    shape = (model.in_frames, model.out_frames, model.depth, model.patch_size, model.near_kernel, model.far_kernel)
    if dataset != "moving_mnist" or not test_set["published"] or (*shape, model.dilation) != (10, 10, 16, 2, 3, 7, 3):
        return None
    return _PAPER_MOVING_MNIST.get((model.hidden_dim, model.overlap if model.overlap > 1 else 0))


def as_json(
    evaluation: Evaluation, checkpoint_step: int, test_set: dict[str, Any], paper: dict[str, float] | None
) -> dict[str, Any]:
    """Everything a program may want to know of an evaluation."""
    constant = evaluation.best_constant_image_mse
    return {
        "checkpoint_step": checkpoint_step,
        "test_set": test_set,
        "overall": {
            "stlight": evaluation.model.overall(),
            "copy_last_frame": evaluation.copy_last_frame.overall(),
            "best_constant_image": {"mse": sum(constant) / len(constant)},
            "paper": paper,
        },
        "per_lead_time": {
            "stlight": evaluation.model.per_lead_time(),
            "copy_last_frame": evaluation.copy_last_frame.per_lead_time(),
            "best_constant_image": {"mse": constant},
        },
    }


def as_text(results: dict[str, Any]) -> str:
    """The tables of `as_json`'s results, for a screen or a file."""
    test_set, overall, leads = results["test_set"], results["overall"], results["per_lead_time"]
    names = {
        "stlight": "STLight",
        "copy_last_frame": "copy last frame",
        "best_constant_image": "best constant image",
        "paper": "paper, this size",
    }
    rows = {name: overall[key] for key, name in names.items() if overall[key] is not None}
    baselines = {"MSE, copy": leads["copy_last_frame"]["mse"], "MSE, constant": leads["best_constant_image"]["mse"]}
    return tables(
        f"{test_set['sequences']:,} test sequences, checkpoint of step {results['checkpoint_step']:,}",
        rows,
        leads["stlight"],
        baselines,
        _remarks(test_set),
    )


def tables(
    title: str,
    overall: dict[str, dict[str, float]],
    per_lead_time: dict[str, list[float]],
    mse_of_baselines: dict[str, list[float]],
    remarks: list[str],
) -> str:
    """A table of rows with overall metrics, one with a row per lead time, and remarks below.

    Args:
      title: above all.
      overall: {row: {metric: value}}; a metric that a row lacks is left blank.
      per_lead_time: {metric: value per lead time}.
      mse_of_baselines: further columns beside it.
      remarks: lines of text.
    """
    summary = Table("", title=title)
    for heading, _ in _COLUMNS.values():
        summary.add_column(heading, justify="right")
    for name, values in overall.items():
        summary.add_row(name, *(_cell(values.get(metric), style) for metric, (_, style) in _COLUMNS.items()))
    by_lead = Table("lead time", title=f"per lead time{' (MSE also of the baselines)' if mse_of_baselines else ''}")
    for heading in (*(heading for heading, _ in _COLUMNS.values()), *mse_of_baselines):
        by_lead.add_column(heading, justify="right")
    for lead in range(len(per_lead_time["mse"])):
        by_lead.add_row(
            str(lead + 1),
            *(_cell(per_lead_time[metric][lead], style) for metric, (_, style) in _COLUMNS.items()),
            *(_cell(values[lead], ".3f") for values in mse_of_baselines.values()),
        )
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(Group(summary, by_lead))
    return capture.get() + "\n".join(remarks) + "\n"


def _remarks(test_set: dict[str, Any]) -> list[str]:
    if test_set["published"]:
        first = f"Test set: {test_set['name']} ({test_set['digits']})."
    else:
        first = f"Test set: {test_set['name']}, {test_set['digits']}. It is NOT the published test set."
    return [first, *DEFINITIONS]


def _cell(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
