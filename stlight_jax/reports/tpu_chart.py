"""The chart of programs that were compiled for TPU slices."""

from collections.abc import Sequence
from typing import Any

from etils import epath
from matplotlib.figure import Figure

from stlight_jax.reports.pictures import save_figure

_MEMORY = {"arguments": "state and batch", "temporaries": "temporaries", "results": "results", "code": "code"}
_LIMITS = {"products": "matrix units", "memory": "main memory", "network": "chip-to-chip network"}
_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#aaaaaa")


def draw_programs(path: epath.PathLike, labels: Sequence[str], programs: Sequence[dict[str, Any]], title: str) -> None:
    """Draws memory, time bounds and throughput of programs side by side, as a PNG.

    Args:
      path: the file.
      labels: the name of each program.
      programs: the programs as JSON, see `tpu_planning.compiled_program`.
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
