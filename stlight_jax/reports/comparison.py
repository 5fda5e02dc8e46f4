"""Our result below the published ones, and what may be compared."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from stlight_jax.config import RunConfig, recipe_differences
from stlight_jax.model.count import count
from stlight_jax.model.stlight import STLightConfig
from stlight_jax.reports.published import PublishedTable, published_size, published_table

_STYLES = {"mse": ("MSE", ".2f"), "mae": ("MAE", ".2f"), "psnr": ("PSNR", ".2f"), "ssim": ("SSIM", ".4f")}
_WITH_LPIPS = ("kth", "kitti_caltech")


class Difference(NamedTuple):
    """Something that is not as published, and whether it is in what was evaluated on, so that metrics cannot be compared."""

    text: str
    of_test: bool = False


def compare(
    config: RunConfig[Any],
    model: STLightConfig,
    test_set: dict[str, Any],
    checkpoints: dict[str, int],
    steps: int,
    trained_on: int | None = None,
) -> dict[str, Any] | None:
    """What is published for this data set and horizon, and how far this run may be held against it.

    Args:
      config, model: of the run.
      test_set: description of the sequences it is evaluated on.
      checkpoints: "best", "last" or the like -> its step.
      steps: of the whole schedule.
      trained_on: training sequences; None if unknown.

    Returns:
      As JSON: the published table ("dataset", "title", "source", "recipe", "metrics", "rows"), the name in it of this very
      network ("this_size"), parameters and FLOPs of this one ("network"), "differences", and whether metrics are "comparable".
      None where nothing is published for such frames.
    """
    table = published_table(config.dataset, model.in_frames, config.evaluation.horizon or model.out_frames)
    if table is None or tuple(test_set["shape"][1:]) != table.frame:
        return None
    own = published_size(table, model)
    counted = count(model, *table.frame[:2]).total
    differences = _differences(config, table, model, test_set, checkpoints, steps, own is not None)
    counts = table.train_sequences
    if counts and trained_on is not None and trained_on not in counts.values():
        differences.append(Difference(f"training sequences: {trained_on:,}, published {_listed(counts)}"))
    return {
        "dataset": config.dataset,
        "title": table.title,
        "source": table.source,
        "recipe": table.recipe,
        "metrics": list(table.metrics),
        "rows": [
            {"name": row.name, "parameters": row.parameters, "flops": row.flops, "note": row.note, **row.metrics}
            for row in table.results
        ],
        "this_size": None if own is None else own.name,
        "network": {"parameters": counted.parameters / 1e6, "flops": counted.paper / 1e9},
        "differences": [difference.text for difference in differences],
        "chosen_on_test_set": config.data.validation == "openstl",
        "comparable": not any(difference.of_test for difference in differences),
    }


def paper_result(comparison: dict[str, Any] | None) -> dict[str, float] | None:
    """The published metrics of this very network, where the test set is the published one."""
    if comparison is None or not comparison["comparable"]:
        return None
    for row in comparison["rows"]:
        if row["name"] == comparison["this_size"]:
            return {metric: row[metric] for metric in comparison["metrics"] if metric in row}
    return None


class Published(NamedTuple):
    """A published table beside this run, as text.

    Attributes:
      title: of the table.
      headings: of the columns after the names; the last one is empty.
      theirs, ours: rows of as many cells as there are headings, and the name before them.
      remarks: sentences: notes, the recipe, and what differs.
    """

    title: str
    headings: list[str]
    theirs: list[list[str]]
    ours: list[list[str]]
    remarks: list[str]


def side_by_side(comparison: dict[str, Any], ours: dict[str, dict[str, float]]) -> Published:
    """The published table, rows of ours, and what differs. Args: ours, name -> metrics."""
    headings = ["M params", "G MAC", *(_STYLES[metric][0] for metric in comparison["metrics"]), ""]
    notes, theirs = [], []
    for row in comparison["rows"]:
        mark = ""
        if row["note"]:
            notes += [row["note"]] if row["note"] not in notes else []
            mark = f"[{notes.index(row['note']) + 1}]"
        if row["name"] == comparison["this_size"]:
            mark += " this network"
        theirs.append([row["name"], *_as_published(comparison, row), mark.strip()])
    mark = "comparable" if comparison["comparable"] else "NOT comparable"
    rows = [[name, *_figures(comparison, {**comparison["network"], **values}), mark] for name, values in ours.items()]
    same = "Same here: the definitions of the metrics (SSIM with data range 2)"
    remarks = [
        *(f"[{number}] {note}" for number, note in enumerate(notes, 1)),
        f"Published: {comparison['recipe']}.",
        f"{same}{', and the test set' if comparison['comparable'] else ''}.",
    ]
    if comparison["chosen_on_test_set"]:
        remarks.append("As in OpenSTL, the best checkpoint was chosen on the test set itself.")
    if comparison["dataset"] in _WITH_LPIPS:
        remarks.append("OpenSTL also lists LPIPS, whose weights do not come with this package.")
    remarks += [f"Differs: {difference}." for difference in comparison["differences"]]
    title = f"{comparison['title']}: published ({comparison['source']}), and this run"
    return Published(title, headings, theirs, rows, remarks)


def as_text(comparison: dict[str, Any], ours: dict[str, dict[str, float]]) -> str:
    """`side_by_side` for a screen or a file."""
    said = side_by_side(comparison, ours)
    table = Table("", title=said.title)
    for heading in said.headings:
        table.add_column(heading, justify="right")
    for row in said.theirs:
        table.add_row(*row[:-1], _plain(row[-1]))
    table.add_section()
    for row in said.ours:
        table.add_row(*row)
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
        for remark in said.remarks:
            console.print(remark, markup=False, highlight=False, soft_wrap=True)
    return capture.get()


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _as_published(comparison: dict[str, Any], row: dict[str, Any]) -> list[str]:
    values = [row["parameters"], row["flops"], *(row.get(metric) for metric in comparison["metrics"])]
    return ["-" if value is None else f"{value:g}" for value in values]


def _figures(comparison: dict[str, Any], row: dict[str, Any]) -> list[str]:
    cells = [(row["parameters"], ".2f"), (row["flops"], ".2f")]
    # The traffic data's MSE is below 1.
    small = all(other.get("mse", 1) < 1 for other in comparison["rows"][:1])
    for metric in comparison["metrics"]:
        style = ".4f" if metric == "mse" and small else _STYLES[metric][1]
        cells.append((row.get(metric), style))
    return ["-" if value is None else format(value, style) for value, style in cells]


def _differences(
    config: RunConfig[Any],
    table: PublishedTable,
    model: STLightConfig,
    test_set: dict[str, Any],
    checkpoints: dict[str, int],
    steps: int,
    published_network: bool,
) -> list[Difference]:
    data, found = config.data, []
    counts = table.test_sequences
    if not test_set["published"]:
        found.append(Difference(f"test set: {test_set['name']}, not the published one", of_test=True))
    elif test_set["sequences"] not in counts.values():
        found.append(Difference(f"test sequences: {test_set['sequences']:,}, published {_listed(counts)}", of_test=True))
    if getattr(data, "colour_order", "openstl") != "openstl":
        found.append(Difference("colours of test frames: in RGB order, OpenSTL's in BGR", of_test=True))
    if config.evaluation.horizon > model.out_frames:
        found.append(Difference(f"roll-out: {model.out_frames} frames at a time, the paper predicts all at once"))
    if not published_network:
        found.append(Difference("network: none of the paper's sizes"))
    found += [Difference(difference) for difference in recipe_differences(config, table.settings)]
    if max(checkpoints.values()) < steps:
        found.append(Difference(f"training: evaluated after at most {max(checkpoints.values()):,} of {steps:,} steps"))
    if data.validation != "openstl":
        what = "sequences of the training set" + (", which is smaller for it" if data.validation == "held_out" else "")
        found.append(
            Difference(
                f"choice of the best checkpoint: on {what}; OpenSTL's on the test set itself (--config.data.validation=openstl)"
            )
        )
    return found


def _listed(counts: dict[str, int]) -> str:
    return " or ".join(f"{count:,} ({source})" for source, count in counts.items())
