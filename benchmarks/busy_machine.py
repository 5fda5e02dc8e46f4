"""Finds timings of `speed.py` that were taken on a busy machine, where no contestant is as fast as it could be."""

from __future__ import annotations

import statistics
from typing import Any

_MOST_CHANGE = 0.15  # of the time of the matrix products, from before a task to after it
_MOST_SPREAD = 0.25  # from the low to the high quartile of a contestant's times, of its median


def signs_of_load(products: dict[str, list[list[float]]], seconds: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Describes what shows that other processes took part of the machine.

    Args:
      products: for each task, the times of the matrix products alone before and after its rounds.
      seconds: for each task and contestant, "median", "low_quartile" and "high_quartile".

    Returns:
      One text for each sign.
    """
    signs = []
    for task, times in products.items():
        before, after = (statistics.median(part) for part in times)
        change = max(before, after) / min(before, after) - 1
        if change > _MOST_CHANGE:
            signs.append(f"{task}: matrix products took {1e3 * before:.1f} ms before, {1e3 * after:.1f} ms after")
    for task, by_name in seconds.items():
        for name, spread in by_name.items():
            share = (spread["high_quartile"] - spread["low_quartile"]) / spread["median"]
            if share > _MOST_SPREAD:
                signs.append(f"{task}: quartiles of {name} are {100 * share:.0f} % of its median apart")
    return signs


def name_of_record(name: str, results: dict[str, Any]) -> str:
    """Returns the name of a record's files, by which a record of a busy machine stays out of the documentation."""
    return f"{name}_busy" if results["summary"]["busy"] else name
