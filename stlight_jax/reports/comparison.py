"""A run's results beside the published ones, with every difference from the published protocol."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from stlight_jax.config import RunConfig
from stlight_jax.config.run_config import recipe_differences
from stlight_jax.console.text_table import text_table
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.datasets.published_tables import PublishedTable
from stlight_jax.metrics import metric_list
from stlight_jax.model.count import count
from stlight_jax.model.stlight import STLightConfig

_LEAST_DECIMALS = 2  # of own results in the published table


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """A run to compare with published results.

    Attributes:
      config: of the run.
      model: its network.
      test_set: description of the sequences it is evaluated on.
      checkpoints: "best", "last" or a number's text -> the step.
      total_steps: of the whole schedule.
      training_sequences: the number of sequences it was trained on; None if unknown.
    """

    config: RunConfig
    model: STLightConfig
    test_set: Mapping[str, Any]
    checkpoints: Mapping[str, int]
    total_steps: int
    training_sequences: int | None = None


def compare(run: EvaluatedRun) -> dict[str, Any] | None:
    """Collects the published results for the run's data set and horizon, and the differences from their protocol.

    Args:
      run: with test sequences of T + horizon frames.

    Returns:
      As JSON: the published table ("dataset", "title", "source", "recipe", "metrics", "rows"), the name of the row with the
      run's network ("this_size"), parameters and FLOPs of the network ("network"), "differences", and whether the metrics are
      "comparable". None if nothing is published for such frames.
    """
    config, model = run.config, run.model
    dataset = find_dataset(config.dataset)
    table = dataset.published_table(model.in_frames, config.evaluation.horizon or model.out_frames)
    if table is None or tuple(run.test_set["shape"][1:]) != table.frame:
        return None
    own = table.result_of(model)
    total = count(model, *table.frame[:2]).total
    in_test_set = _differences_in_test_set(run, table)
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
        "network": {"parameters": total.parameters / 1e6, "flops": total.paper / 1e9},
        "differences": in_test_set + _differences_in_training(run, table, own is not None),
        "chosen_on_test_set": config.data.validation == "openstl",
        "comparable": not in_test_set,
    }


def paper_result(comparison: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Returns the published metrics of the run's network; None unless the test set is the published one."""
    if comparison is None or not comparison["comparable"]:
        return None
    for row in comparison["rows"]:
        if row["name"] == comparison["this_size"]:
            return {key: row[key] for key in comparison["metrics"] if key in row}
    return None


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """A published table beside a run, as text.

    Attributes:
      title: of the table.
      headings: of the columns after the names; the last one is empty.
      published: rows of a name and a cell for each heading.
      own: rows of the run.
      remarks: notes, the recipe, and the differences.
    """

    title: str
    headings: list[str]
    published: list[list[str]]
    own: list[list[str]]
    remarks: list[str]


def side_by_side(comparison: Mapping[str, Any], own: Mapping[str, Mapping[str, float]]) -> SideBySide:
    """Formats the published table, and rows of a run beside it.

    Args:
      comparison: of `compare`.
      own: name of a row -> key of a metric -> value.
    """
    headings = ["M params", "G MAC", *(metric_list.metric(key).label for key in comparison["metrics"]), ""]
    notes = list(dict.fromkeys(row["note"] for row in comparison["rows"] if row["note"]))
    mark = "comparable" if comparison["comparable"] else "NOT comparable"
    remarks = [
        *(f"[{number}] {note}" for number, note in enumerate(notes, 1)),
        f"Published: {comparison['recipe']}.",
        "The metrics have the same definitions (SSIM with data range 2)"
        + (", and the test set is the same." if comparison["comparable"] else "."),
    ]
    if comparison["chosen_on_test_set"]:
        remarks.append("As in OpenSTL, the best checkpoint was chosen on the test set itself.")
    if remark := find_dataset(comparison["dataset"]).published_remark:
        remarks.append(remark)
    remarks += [f"Differs: {difference}." for difference in comparison["differences"]]
    return SideBySide(
        title=f"{comparison['title']}: published ({comparison['source']}), and this run",
        headings=headings,
        published=[_published_row(comparison, row, notes) for row in comparison["rows"]],
        own=[[name, *_own_cells(comparison, values), mark] for name, values in own.items()],
        remarks=remarks,
    )


def as_text(comparison: Mapping[str, Any], own: Mapping[str, Mapping[str, float]], width: int | None = None) -> str:
    """Formats the published table, and rows of a run below it, for a screen or a file.

    Args:
      comparison: of `compare`.
      own: name of a row -> key of a metric -> value.
      width: as for `text_table`.
    """
    shown = side_by_side(comparison, own)
    table = text_table(["", *shown.headings], [*shown.published, None, *shown.own], shown.title, width)
    return table + "".join(f"{remark}\n" for remark in shown.remarks)


def _published_row(comparison: Mapping[str, Any], row: Mapping[str, Any], notes: list[str]) -> list[str]:
    marks = [f"[{notes.index(row['note']) + 1}]"] if row["note"] else []
    if row["name"] == comparison["this_size"]:
        marks.append("this network")
    values = [row["parameters"], row["flops"], *(row.get(key) for key in comparison["metrics"])]
    return [row["name"], *("-" if value is None else f"{value:g}" for value in values), " ".join(marks)]


def _own_cells(comparison: Mapping[str, Any], values: Mapping[str, float]) -> list[str]:
    """Cells with as many decimals as the published ones of the column have, at least two."""
    cells = [f"{comparison['network'][key]:.{_LEAST_DECIMALS}f}" for key in ("parameters", "flops")]
    for key in comparison["metrics"]:
        published = [f"{row[key]:g}" for row in comparison["rows"] if row.get(key) is not None]
        decimals = max([_LEAST_DECIMALS, *(len(text.partition(".")[2]) for text in published)])
        cells.append("-" if values.get(key) is None else f"{values[key]:.{decimals}f}")
    return cells


def _differences_in_test_set(run: EvaluatedRun, table: PublishedTable) -> list[str]:
    """Differences in the data evaluated on, with which the metrics cannot be compared."""
    found = []
    if not run.test_set["published"]:
        found.append(f"test set: {run.test_set['name']}, not the published one")
    elif run.test_set["sequences"] not in table.test_sequences.values():
        found.append(f"test sequences: {run.test_set['sequences']:,}, published {_listed(table.test_sequences)}")
    if getattr(run.config.data, "colour_order", "openstl") != "openstl":
        found.append("colours of test frames: in RGB order, OpenSTL's in BGR")
    return found


def _differences_in_training(run: EvaluatedRun, table: PublishedTable, published_network: bool) -> list[str]:
    config, found = run.config, []
    if config.evaluation.horizon > run.model.out_frames:
        found.append(f"roll-out: {run.model.out_frames} frames at a time, the paper predicts all at once")
    if not published_network:
        found.append("network: none of the paper's sizes")
    found += recipe_differences(config, table.settings)
    last = max(run.checkpoints.values())
    if last < run.total_steps:
        found.append(f"training: evaluated after at most {last:,} of {run.total_steps:,} steps")
    if config.data.validation != "openstl":
        smaller = ", which is smaller for it" if config.data.validation == "held_out" else ""
        found.append(
            f"choice of the best checkpoint: on sequences of the training set{smaller}; OpenSTL's on the test set itself "
            "(--config.data.validation=openstl)"
        )
    published, own = table.train_sequences, run.training_sequences
    if published and own is not None and own not in published.values():
        found.append(f"training sequences: {own:,}, published {_listed(published)}")
    return found


def _listed(counts: Mapping[str, int]) -> str:
    return " or ".join(f"{number:,} ({source})" for source, number in counts.items())
