"""Writes the page of the study, `docs/explanation/study.md`, and its chart from the records."""

from __future__ import annotations

import math
import pathlib
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from benchmarks.study.designs import DESIGNS
from benchmarks.study.findings import (
    FAILS,
    HOLDS,
    OPEN,
    Outcome,
    compare,
    deviation_of,
    outcome,
    verdict,
)
from benchmarks.study.questions import QUESTIONS, Question
from benchmarks.study.runner import DONE, STARTED, read_records
from benchmarks.study.runs import all_runs
from benchmarks.study.tasks import TASKS
from stlight_jax.reports.figures import save_figure

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "explanation" / "study.md"
RECORDS = ROOT / "benchmarks" / "results" / "study"
CHART = "differences.png"

Records = Mapping[str, dict[str, Any]]

_INTRODUCTION = """# Does the paper hold, and which changes help?

Short trainings on two cores, at a small scale: they compare designs under equal conditions, and their errors are no results
of the published sizes. `python -m benchmarks.study run --data=FOLDER` carries out all runs that have no record yet,
`python -m benchmarks.study page` writes this page from the records in `benchmarks/results/study/`.

- The paper's design has {width} channels and {depth} blocks here, and otherwise the paper's values: kernels 3 and 7, dilation
  3, patches of 2, a long skip from 1/3 to 2/3 of the depth, batch 16, Adam, OneCycle to 0.003, squared error.
- All designs of a question are trained on the same data in the same order with equally many steps and sequences. The error is
  that of the last weights on the test set, summed over pixels. A learning rate "of 3" is the one with the lowest validation
  MSE of three.
- "Equal cost" means equal multiply-accumulates of a forecast within 3 %, normalisation not counted.
- The headline questions have two seeds of each design, the others one.
- **The rule.** Deviations between seeds are pooled over all designs of a task that have several seeds. A difference counts if
  it exceeds twice its standard error. A claim *holds* if the paper's choice has the lower error than each other design by
  such a difference, and *does not hold* if another design is better by such a difference. Otherwise it *cannot be decided
  here*. Fewer than three degrees of freedom decide nothing.
- Every run that was started is in the [list](#all-runs), whatever its result.

{progress}
"""
_PARTS = {
    "a": "Does the paper hold?",
    "b": "Against other networks at equal cost",
    "c": "Which changes help at equal cost?",
}
_NOTES = {
    "others": (
        "The other networks are written after OpenSTL, with sizes of equal cost, and are trained as STLight is: with the "
        "error of the predicted frames only, without the scheduled sampling of ConvLSTM and without the second loss of TAU."
    ),
    "block": "The designs with one kernel are narrower, for equal cost. On a grid of 16 x 16 patches, 11 x 11 is large.",
    "shuffle": "The measure is the standard deviation of the changes of the validation MSE between {validations} validations.",
    "initialisation": (
        '"PyTorch\'s default" is uniform within one over the root of the fan-in. Biases of encoder and blocks are zero in all '
        "designs."
    ),
}


def page(records: Records) -> str:
    """Writes the page.

    Args:
      records: All records by the names of their runs.

    Returns:
      Markdown.
    """
    base = all_runs()["mnist32-paper-0.003-seed1"].config("")
    introduction = _INTRODUCTION.format(width=base.model.hidden_dim, depth=base.model.depth, progress=_progress(records))
    parts = [introduction, "## In short\n", *_summary(records), ""]
    if (RECORDS / CHART).exists():
        parts.append(f"![Differences from the paper's design](../../{RECORDS.relative_to(ROOT)}/{CHART})\n")
    for part, heading in _PARTS.items():
        parts.append(f"## {heading}\n")
        for name, question in QUESTIONS.items():
            if question.part == part:
                parts += [f"### {question.title}\n", *_section(name, question, records), ""]
    return "\n".join([*parts, "## All runs\n", *_all_runs(records)]) + "\n"


def _progress(records: Records) -> str:
    runs = all_runs()
    states = [records[name]["state"] if name in records else None for name in runs]
    hours = sum(record.get("seconds", 0) for record in records.values()) / 3600
    failed = sum(state not in (DONE, STARTED, None) for state in states)
    sentences = (
        f"{states.count(DONE)} of {len(runs)} runs are done, {failed} ended with a loss that is not finite, "
        f"{states.count(STARTED)} have started and not ended. The records add up to {hours:.1f} hours, beside other work."
    )
    return "\n".join(textwrap.wrap(sentences, 120))


def _summary(records: Records) -> list[str]:
    rows = [("Question", "Data", "Finding"), ("---", "---", "---")]
    for question in QUESTIONS.values():
        anchor = "".join(letter for letter in question.title.lower() if letter.isalnum() or letter in " -").replace(" ", "-")
        rows.append((f"[{question.title}](#{anchor})", TASKS[question.task].title, _finding(question, records)))
    return _table(rows)


def _section(name: str, question: Question, records: Records) -> list[str]:
    outcomes, deviation = _outcomes(question, records), deviation_of(question, records)
    reference = outcomes[question.best]
    measure = "test MSE" if question.measure == "mse" else "unsteadiness"
    heading = ("Design", "Learning rate", "Parameters", "Multiply-accumulates", f"{measure} of each seed", "Mean", "Difference")
    rows = [heading, tuple("---" for _ in heading)]
    for design, found in outcomes.items():
        rows.append(_row(design, found, reference, deviation))
    spread = (
        ""
        if math.isnan(deviation[0])
        else (f" Seeds of one design differ by {deviation[0]:.1%} (standard deviation, {deviation[1]} degrees of freedom).")
    )
    cost = "equal cost" if question.equal_cost else "cost as in the table"
    steps = f"{TASKS[question.task].title}, {TASKS[question.task].steps:,} steps, {cost}.{spread}"
    source = [f"Paper: {question.source}.", ""] if question.source else []
    notes = [_NOTES[name].format(validations=10), ""] if name in _NOTES else []
    return [*source, steps, "", *notes, *_table(rows), "", f"**{_finding(question, records)}**"]


def _outcomes(question: Question, records: Records) -> dict[str, Outcome]:
    return {design: outcome(question, design, records) for design in question.designs}


def _row(design: str, found: Outcome, reference: Outcome, deviation: tuple[float, int]) -> tuple[str, ...]:
    done = [record for record in found.records if record["state"] == DONE]
    rates = len(DESIGNS[design].rates)
    rate = (
        f"{found.rate:g}" + (f", of {rates}" if rates > 1 else "")
        if found.records and DESIGNS[design].network != "linear"
        else ""
    )
    sizes = tuple(f"{done[0][key] / 1e6:.3g} M" for key in ("parameters", "multiply_accumulates")) if done else ("", "")
    values = ", ".join(
        f"{_number(value)} ({record['seed']})" for value, record in zip(found.values, found.records, strict=True)
    )
    if found.missing:
        values = ", ".join(filter(None, (values, f"{found.missing} not yet run")))
    if found is reference or not (found.values and reference.values) or not math.isfinite(reference.mean):
        difference = ""
    else:
        counts = compare(found, reference, deviation) != "open"
        difference = f"{found.mean / reference.mean - 1:+.1%}" + ("" if counts else ", within the spread")
    mean = _number(found.mean) if found.values else ""
    return found.label, rate, *sizes, values, mean, difference


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def _finding(question: Question, records: Records) -> str:
    """Returns the sentence of a question, from the rule."""
    outcomes, deviation = _outcomes(question, records), deviation_of(question, records)
    reference, others = outcomes[question.best], {key: each for key, each in outcomes.items() if key != question.best}
    if not reference.values or not any(each.values for each in others.values()):
        return "Not yet run."
    missing = sum(each.missing for each in outcomes.values())
    unfinished = f" So far: {missing} runs are missing." if missing else ""
    groups: dict[str, list[str]] = {"lower": [], "higher": [], "open": []}
    for each in others.values():
        if each.values:
            difference = f" ({each.mean / reference.mean - 1:+.1%})" if math.isfinite(each.mean) else ""
            groups[compare(each, reference, deviation)].append(each.label + difference)
    words = {"lower": "better", "higher": "worse", "open": "within the spread"}
    listed = "; ".join(f"{words[key]}: {', '.join(labels)}" for key, labels in groups.items() if labels)
    if question.part == "c":
        return f"Compared with the paper's design, {listed}.{unfinished}"
    judged = {HOLDS: "Holds", FAILS: "Does not hold", OPEN: "Cannot be decided here"}[verdict(question, outcomes, deviation)]
    return f"{judged}. Compared with {reference.label}, {listed}.{unfinished}"


def _all_runs(records: Records) -> list[str]:
    environments: list[str] = []
    heading = ("Run", "State", "Starts", "Minutes", "Processor minutes", "Load", "Ended", "Environment")
    rows = [heading, tuple("---" for _ in heading)]
    for name in {**all_runs(), **records}:
        record = records.get(name)
        if record is None:
            rows.append((name, "not yet run", *[""] * 6))
            continue
        environment = _environment(record["environment"])
        if environment not in environments:
            environments.append(environment)
        minutes = [f"{record[key] / 60:.1f}" if key in record else "" for key in ("seconds", "processor_seconds")]
        load = " to ".join(f"{each:.1f}" for each in record["load"])
        state = record["state"] if name in all_runs() else f"{record['state']}; no longer declared"
        rows.append(
            (
                name,
                state,
                str(record["starts"]),
                *minutes,
                load,
                record.get("ended", ""),
                str(environments.index(environment) + 1),
            )
        )
    about = "Minutes are wall time from the last start, beside other work; the load is the machine's mean over five minutes."
    return [about, "", *_table(rows), "", *(f"{number}. {text}" for number, text in enumerate(environments, 1))]


def _environment(environment: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    machine = f"{environment['platform']}, {environment['cores']} cores, {', '.join(environment['devices'])}"
    return f"Python {environment['python']}, {packages}; {machine}"


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def draw_chart() -> None:
    """Draws the error of each seed relative to the paper's design, for each question on Moving MNIST 32 x 32."""
    records = read_records(RECORDS)
    lines: dict[str, list[float]] = {}  # questions share designs
    for question in QUESTIONS.values():
        if question.task != "mnist32" or question.measure != "mse":
            continue
        outcomes = _outcomes(question, records)
        reference = outcomes[question.best]
        for found in outcomes.values():
            if found is not reference and found.values and reference.values:
                label = f"{found.label}, against {reference.label}"
                lines[label] = [value / reference.mean - 1 for value in found.values]
    if not lines:
        return
    figure = Figure(figsize=(9, 1 + 0.24 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for height, values in enumerate(lines.values()):
        axes.plot([100 * value for value in values], [height] * len(values), "o", color="tab:blue", markersize=4)
    axes.axvline(0, color="0.6")
    axes.set(yticks=range(len(lines)), xlabel="test MSE, difference in %", title="Moving MNIST, 32 x 32; a dot is a seed")
    axes.set_yticklabels(list(lines), fontsize=7)
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    save_figure(RECORDS / CHART, figure)


def load_page(folder: pathlib.Path = RECORDS) -> str:
    """Returns the page that the records of a folder make."""
    return page(read_records(folder))
