"""Tables and charts of the results."""

from __future__ import annotations

import itertools
import pathlib
import statistics
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from benchmarks.gpu.contest import OURS
from stlight_jax.console.text_table import text_table

# Figure 5 of the paper, validation MSE of STLight-L, read from the plot: fraction of the training -> MSE.
_CURVE_OF_L = {
    0.025: 88.8, 0.05: 75.6, 0.1: 57.7, 0.15: 50.8, 0.2: 43.4, 0.25: 41.6, 0.3: 37.39, 0.4: 32.5, 0.5: 29.2, 0.6: 26.9,
    0.7: 25.0, 0.8: 23.1, 0.9: 22.1, 1.0: 21.5,
}  # fmt: skip
_PUBLISHED = 26.65  # MSE of the 5.3M network, read from the paper's figure 1
_PRODUCTS = "products alone"
Content = dict[str, dict[str, Any]]


def as_text(content: Content) -> str:
    """Formats the results of all visits as tables.

    Args:
      content: of the results file, see `Records`.
    """
    parts = [_card(content), _contest(content), _kernels(content), _training(content)]
    failed = [
        f"{stage}: {item}: {record['error']}"
        for stage, items in content.items()
        for item, record in items.items()
        if "error" in record
    ]
    if failed:
        parts.append("Not done:\n" + "\n".join(failed) + "\n")
    return "\n".join(part for part in parts if part)


def contest_rows(content: Content) -> Iterator[dict[str, Any]]:
    """Yields a row for each timed task: medians in milliseconds, the best PyTorch mode over ours, and the lower bounds."""
    copied = content.get("check", {}).get("card", {}).get("copy_bytes_per_second")
    for item, record in content.get("contest", {}).items():
        if "error" in record:
            continue
        medians = {name: 1e3 * statistics.median(itertools.chain(*turns)) for name, turns in record["seconds"].items()}
        torch = [value for name, value in medians.items() if name.startswith("torch")]
        yield {
            "item": item,
            "medians": medians,
            "ratio": min(torch) / medians[OURS] if torch else None,
            "fused": 1e3 * record["fused_bytes"] / copied if copied else None,
            "left_out": record["left_out"],
        }


def draw_contest(path: pathlib.Path, content: Content) -> None:
    """Draws the speed of each task beside the best PyTorch mode; no chart without a comparison."""
    rows = [row for row in contest_rows(content) if row["ratio"] is not None]
    if not rows:
        return
    figure = Figure(figsize=(7, 0.35 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([row["item"] for row in rows], [row["ratio"] for row in rows], color="tab:blue")
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.axvline(1, color="tab:orange", linewidth=1)
    axes.set(title="Speed beside the best PyTorch mode", xlim=(0, 1.2 * max(row["ratio"] for row in rows)))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def draw_curve(path: pathlib.Path, content: Content) -> None:
    """Draws the validation MSE of the training beside the paper's curve of L; no chart without a training."""
    points = content.get("train", {}).get("run", {}).get("validation", [])
    if not points:
        return
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([100 * point["schedule"] for point in points], [point["mse"] for point in points], "o-", label="this training")
    axes.plot([100 * part for part in _CURVE_OF_L], list(_CURVE_OF_L.values()), color="0.6", label="the paper's L (figure 5)")
    axes.axhline(_PUBLISHED, color="tab:orange", linewidth=1, label="the paper's 5.3M network at its end (figure 1)")
    axes.set(xlabel="schedule, %", ylabel="validation MSE", yscale="log")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _card(content: Content) -> str:
    card = content.get("check", {}).get("card")
    if card is None or "error" in card:
        return ""
    environment = card["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return (
        f"{', '.join(environment['devices'])}; Python {environment['python']}, {versions}, torch {environment['torch']}\n"
        f"{card['card']}\n"
        f"copied: {card['copy_bytes_per_second'] / 1e12:.2f} TB/s, read and written; "
        f"bfloat16 products: {card['bfloat16_operations_per_second'] / 1e12:.0f} TFLOP/s\n"
    )


def _contest(content: Content) -> str:
    rows = list(contest_rows(content))
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row["medians"]))
    headings = ["milliseconds", *names, "bytes fused", "against torch"]
    cells = [
        [
            row["item"],
            *(_number(row["medians"].get(name)) for name in names),
            _number(row["fused"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
        ]
        for row in rows
    ]
    left_out = {f"{row['item']}: {name}: {reason}" for row in rows for name, reason in row["left_out"].items()}
    return text_table(headings, cells, "The whole network", width=150) + "".join(f"left out: {line}\n" for line in left_out)


def _kernels(content: Content) -> str:
    texts = []
    for item, record in content.get("kernels", {}).items():
        if "error" in record:
            continue
        if "parts" in record:
            rows = [[part, _number(value)] for part, value in record["parts"].items()]
            rows += [None, ["busy", _number(record["busy"])], ["from first to last kernel", _number(record["span"])]]
            rows += [["kernels launched", f"{record['launches']:.0f}"]]
            texts.append(text_table(["ms a step", ""], rows, item))
            longest = [[name, _number(value), f"{count:.0f}"] for name, (value, count) in list(record["kernels"].items())[:10]]
            texts.append(text_table(["longest kernels", "ms a step", "launches"], longest, width=150))
        elif "milliseconds" in record:
            names = list(next(iter(record["milliseconds"].values())))
            rows = [[task, *(_number(times[name]) for name in names)] for task, times in record["milliseconds"].items()]
            texts.append(text_table(["milliseconds", *names], rows, item))
        else:
            times = ", ".join(_number(value) for value in record["milliseconds_per_step"])
            texts.append(f"{item}: {times} ms a step; first call {record['first_call_seconds']:.0f} s\n")
    return "".join(texts)


def _training(content: Content) -> str:
    run = content.get("train", {}).get("run")
    if run is None:
        return ""
    batch = run["settings"]["config"]["train"]["batch_size"]
    lines = [f"Training: {run['step']} steps of {batch}, {run['step'] * batch:,} sequences, {len(run['visits'])} visits"]
    lines += [
        f"  step {point['step']}, {100 * point['schedule']:.0f} % of the schedule: validation MSE {point['mse']:.2f}, "
        f"MAE {point['mae']:.2f}, SSIM {point['ssim']:.4f}"
        for point in run["validation"]
    ]
    test = content["train"].get("test", {})
    if "overall" in test:
        found = test["overall"]
        lines.append(
            f"Test, {test['sequences']} generated sequences: MSE {found['mse']:.2f}, MAE {found['mae']:.2f}, "
            f"SSIM {found['ssim']:.4f} (the paper's point: MSE {_PUBLISHED}, read from its figure 1)"
        )
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
