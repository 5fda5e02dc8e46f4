"""From records to findings: which design is better than which other one, beyond the spread between seeds.

The rule is the same for all questions. Deviations of runs from the mean of their design are pooled over all designs of a task
that have several seeds, relative to the mean. A difference between the means of two designs counts if it exceeds twice its
standard error, which follows from the pooled deviation and the numbers of runs. Fewer than three degrees of freedom decide
nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.study.designs import DESIGNS
from benchmarks.study.questions import Question
from benchmarks.study.runner import DONE, NOT_FINITE
from benchmarks.study.runs import all_runs, runs_of

_STANDARD_ERRORS = 2  # that a difference exceeds
_LEAST_FREEDOM = 3
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided here"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The runs of a design that a question compares.

    Attributes:
      label: The design's name in tables.
      rate: The learning rate, the best one on the validation set if several were tried.
      records: Record of each seed with this rate, of runs that have ended.
      values: The measure of each record; infinite if its loss was not finite.
      missing: Number of runs that have not ended, with all rates.
    """

    label: str
    rate: float
    records: tuple[dict[str, Any], ...]
    values: tuple[float, ...]
    missing: int

    @property
    def mean(self) -> float:
        """The mean over the seeds; NaN without any."""
        return statistics.fmean(self.values) if self.values else math.nan


def outcome(question: Question, design: str, records: Mapping[str, dict[str, Any]]) -> Outcome:
    """Finds the outcome of a design; records of further seeds, which other questions asked for, count as well.

    Args:
      question: The question.
      design: Name of the design.
      records: All records by the names of their runs.
    """
    wanted = list(runs_of(question, design))
    by_rate: dict[float, set[str]] = {run.rate: set() for run in wanted}
    for run in wanted:
        kind = run.design, run.task, run.rate
        of_all_seeds = {each.name for each in all_runs().values() if (each.design, each.task, each.rate) == kind}
        by_rate[run.rate] |= {run.name, *of_all_seeds}
    ended = {rate: [records[name] for name in sorted(names) if is_ended(records.get(name))] for rate, names in by_rate.items()}
    missing = sum(not is_ended(records.get(run.name)) for run in wanted)
    rate = min(ended, key=lambda each: statistics.fmean(map(_validation, ended[each])) if ended[each] else math.inf)
    values = tuple(measured(record, question.measure) for record in ended[rate])
    return Outcome(DESIGNS[design].label, rate, tuple(ended[rate]), values, missing)


def is_ended(record: dict[str, Any] | None) -> bool:
    """Returns whether a record is that of a run that has ended, with or without a result."""
    return record is not None and record["state"] in (DONE, NOT_FINITE)


def measured(record: dict[str, Any], measure: str) -> float:
    """Returns the measure of a question from a record."""
    if record["state"] == NOT_FINITE:
        return math.inf
    if measure == "mse":
        return record["metrics"]["mse"]
    curve = [mse for _, mse in record["validation"]]
    return statistics.stdev(after - before for before, after in itertools.pairwise(curve))


def _validation(record: dict[str, Any]) -> float:
    """Returns the MSE of the last validation; a regression has none, and no rate to choose."""
    if record["state"] == NOT_FINITE:
        return math.inf
    return record["validation"][-1][1] if record["validation"] else 0.0


def pooled_deviation(groups: Iterable[tuple[float, ...]]) -> tuple[float, int]:
    """Returns the standard deviation of runs around their group's mean, relative to it, and its degrees of freedom.

    Args:
      groups: The values of the seeds of each design.
    """
    squares, freedom = 0.0, 0
    for values in groups:
        if len(values) > 1 and all(map(math.isfinite, values)):
            mean = statistics.fmean(values)
            squares += sum((value / mean - 1) ** 2 for value in values)
            freedom += len(values) - 1
    return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def deviation_of(question: Question, records: Mapping[str, dict[str, Any]]) -> tuple[float, int]:
    """Returns the pooled deviation of a question's task and measure, see `pooled_deviation`."""
    groups: dict[tuple[str, float], list[float]] = {}
    for run in all_runs().values():
        if run.task == question.task and is_ended(records.get(run.name)):
            groups.setdefault((run.design, run.rate), []).append(measured(records[run.name], question.measure))
    return pooled_deviation(map(tuple, groups.values()))


def compare(one: Outcome, other: Outcome, deviation: tuple[float, int]) -> str:
    """Compares two outcomes.

    Args:
      one: An outcome.
      other: Another one.
      deviation: As from `pooled_deviation`.

    Returns:
      "lower", "higher" or "open": the mean of `one` against that of `other`.
    """
    if not one.values or not other.values or (math.isinf(one.mean) and math.isinf(other.mean)):
        return "open"
    if math.isinf(one.mean) or math.isinf(other.mean):
        return "higher" if math.isinf(one.mean) else "lower"
    relative, freedom = deviation
    if freedom < _LEAST_FREEDOM:
        return "open"
    error = relative * math.sqrt(sum((each.mean**2) / len(each.values) for each in (one, other)))
    difference = one.mean - other.mean
    if abs(difference) <= _STANDARD_ERRORS * error:
        return "open"
    return "lower" if difference < 0 else "higher"


def verdict(question: Question, outcomes: Mapping[str, Outcome], deviation: tuple[float, int]) -> str:
    """Judges a claim of the paper: that `question.best` is lower than all other designs.

    Args:
      question: The question.
      outcomes: Outcomes by the names of the designs.
      deviation: As from `pooled_deviation`.

    Returns:
      `HOLDS` if it is lower than each, `FAILS` if it is higher than one, else `OPEN`.
    """
    found = [compare(outcomes[question.best], outcomes[name], deviation) for name in question.designs if name != question.best]
    if "higher" in found:
        return FAILS
    return HOLDS if set(found) == {"lower"} else OPEN
