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
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(_tables(results))
    return capture.get() + "\n".join(_remarks(results["test_set"])) + "\n"


def _tables(results: dict[str, Any]) -> Group:
    test_set, overall, leads = results["test_set"], results["overall"], results["per_lead_time"]
    summary = Table("", title=f"{test_set['sequences']:,} test sequences, checkpoint of step {results['checkpoint_step']:,}")
    for heading, _ in _COLUMNS.values():
        summary.add_column(heading, justify="right")
    names = {
        "stlight": "STLight",
        "copy_last_frame": "copy last frame",
        "best_constant_image": "best constant image",
        "paper": "paper, this size",
    }
    for key, name in names.items():
        if overall[key] is not None:
            summary.add_row(name, *(_cell(overall[key].get(metric), style) for metric, (_, style) in _COLUMNS.items()))

    by_lead = Table("lead time", title="per lead time (MSE also of the baselines)")
    for heading in (*(heading for heading, _ in _COLUMNS.values()), "MSE, copy", "MSE, constant"):
        by_lead.add_column(heading, justify="right")
    for lead in range(len(leads["stlight"]["mse"])):
        by_lead.add_row(
            str(lead + 1),
            *(_cell(leads["stlight"][metric][lead], style) for metric, (_, style) in _COLUMNS.items()),
            _cell(leads["copy_last_frame"]["mse"][lead], ".3f"),
            _cell(leads["best_constant_image"]["mse"][lead], ".3f"),
        )
    return Group(summary, by_lead)


def _remarks(test_set: dict[str, Any]) -> list[str]:
    if test_set["published"]:
        first = f"Test set: {test_set['name']} ({test_set['digits']})."
    else:
        first = f"Test set: {test_set['name']}, {test_set['digits']}. It is NOT the published test set."
    return [
        first,
        "MSE, MAE: summed over pixels and channels, averaged over frames. PSNR, SSIM: of predictions clipped to [0, 1].",
        "SSIM has data range 2, as OpenSTL's numbers have; 'range 1' is the one that fits the frames.",
    ]


def _cell(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
