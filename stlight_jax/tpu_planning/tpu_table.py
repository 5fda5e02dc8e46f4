"""What compiled programs need and may do at best, as a table, as JSON and as a plot."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import rich.box
from etils import epath
from rich.console import Console
from rich.table import Table

from stlight_jax.reports.pictures import save_figure
from stlight_jax.tpu_planning.chips import LANES
from stlight_jax.tpu_planning.compile_plan import Compiled, Misfit, Search
from stlight_jax.tpu_planning.widths import width

BOUND = (
    "Times and sequences/s (of the whole slice) are bounds, not measurements: what the chips' published peaks allow if\n"
    "everything overlaps. No step of this program can be faster; real ones are slower. Arithmetic of the vector units, such\n"
    "as GELU and sums of taps, is not in them, for no peak of theirs is published."
)
_MEMORY = {"arguments": "state and batch", "temporaries": "temporaries", "results": "results", "code": "code"}
_LIMITS = {"products": "matrix units", "memory": "main memory", "network": "chip-to-chip network"}
_COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#aaaaaa")


def versions() -> dict[str, str]:
    """Of what compiles."""
    found = {}
    for package in ("jax", "jaxlib", "libtpu"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def as_json(
    title: str, programs: Sequence[Compiled | Misfit], searched: str, search: Search | None, hidden_dim: int, patch_size: int
) -> dict[str, Any]:
    """Plain data. Args: searched: the topology of the search."""
    chips = {compiled.slice.chip.name: compiled.slice.chip for compiled in programs}
    lanes = sorted({LANES, *(chip.mxu for chip in chips.values())})
    return {
        "config": title,
        "versions": versions(),
        "launcher": "shard_map",
        "programs": [compiled.as_json() for compiled in programs],
        "largest_batch_per_chip": None if search is None else {"topology": searched, **dataclasses.asdict(search)},
        "width": {str(side): dataclasses.asdict(width(hidden_dim, patch_size, side)) for side in lanes},
        "chips": {
            name: {
                "bfloat16_flops": chip.bf16_flops,
                "hbm_bytes": chip.hbm_bytes,
                "hbm_bytes_per_second": chip.hbm_bandwidth,
                "network_bytes_per_second": chip.ici_bandwidth,
                "source": chip.source,
            }
            for name, chip in chips.items()
        },
        "remark": BOUND,
    }


def as_text(results: dict[str, Any]) -> str:
    """The table of `as_json`'s results."""
    made_with = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        f"{results['config']}: compiled for TPUs by {made_with}, as parallel.launcher {results['launcher']} launches it; "
        "no TPU was there\n\n",
        table([_label(program) for program in results["programs"]], results["programs"]),
    ]
    if results["largest_batch_per_chip"] is not None:
        lines.append(of_search(results["largest_batch_per_chip"]))
    lines += [_of_width(int(lanes), fit) for lanes, fit in results["width"].items()]
    lines.append(f"{BOUND}\nPeaks:\n")
    for name, chip in results["chips"].items():
        lines.append(
            f"  {name}: {chip['bfloat16_flops'] / 1e12:.0f} TFLOP/s in bfloat16, {chip['hbm_bytes'] / 2**30:.0f} GiB at "
            f"{chip['hbm_bytes_per_second'] / 1e9:.0f} GB/s, network {chip['network_bytes_per_second'] / 1e9:.0f} GB/s both "
            f"ways together ({chip['source']})\n"
        )
    return "".join(lines)


def table(labels: Sequence[str], programs: Sequence[dict[str, Any]]) -> str:
    """A row for each program of `Compiled.as_json` or `Misfit.as_json`.

    Figures are per chip and step, but for sequences per second, which are the slice's.
    """
    columns = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    columns.add_column("per chip and step")
    for column in (
        "memory GiB", "TFLOP", "GB moved", "padding", "FLOP/byte", "collectives", "MB", "at least ms", "limited by",
        "at most seq/s", "compiled in s",
    ):  # fmt: skip
        columns.add_column(column, justify="right")
    for label, program in zip(labels, programs, strict=True):
        columns.add_row(label, *_row(program))
    out = io.StringIO()
    Console(file=out, width=200).print(columns)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def of_search(found: dict[str, Any]) -> str:
    """One line on a search, given as the JSON of `Search` with its "topology"."""
    tried = ", ".join(
        f"{batch}: {'too much' if needed is None else f'{needed / 2**30:.2f} GiB'}"
        for batch, needed in sorted(found["tried"].items(), key=lambda item: int(item[0]))
    )
    fits = f"{found['fits']} fits" if found["fits"] else "none of those tried fits"
    beyond = "" if found["too_large"] is None else f", {found['too_large']} does not"
    return f"Largest batch per chip of training on {found['topology']}: {fits}{beyond} ({tried}).\n"


def draw(path: epath.PathLike, labels: Sequence[str], programs: Sequence[dict[str, Any]], title: str) -> None:
    """Draws memory, bounds and throughput of programs beside each other, as a PNG; throughput with that of all chips."""
    figure = matplotlib.figure.Figure(figsize=(14, 2.2 + 0.42 * len(programs)), layout="constrained")
    memory, times, throughput = figure.subplots(1, 3, sharey=True)
    places = range(len(programs))
    left = [0.0] * len(programs)
    for (part, name), colour in zip(_MEMORY.items(), _COLOURS, strict=True):
        values = [program["memory"][part] / 2**30 for program in programs]
        memory.barh(places, values, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    for place, program in enumerate(programs):
        first = place == 0
        capacity = program["memory"]["capacity"] / 2**30
        memory.plot([capacity] * 2, [place - 0.42, place + 0.42], color="black", label="capacity" if first else None)
        bound = program["bound_not_a_measurement"]
        for (part, name), colour in zip(_LIMITS.items(), _COLOURS, strict=False):
            times.plot(1e3 * bound[part], place, "o", color=colour, label=name if first else None)
        per_chip = bound["sequences_per_second"] / program["chips"]
        throughput.barh(place, per_chip, color="#66aa77")
        total = f" {bound['sequences_per_second']:,.0f} on {program['chips']}"
        throughput.annotate(total, (per_chip, place), va="center", fontsize=8)
    memory.set(title="Memory per chip (GiB)", yticks=list(places), yticklabels=list(labels))
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


def _label(program: dict[str, Any]) -> str:
    return f"{program['program']}, {program['topology']}, {program['batch_per_chip']} per chip"


def _row(program: dict[str, Any]) -> list[str]:
    if "does_not_fit" in program:
        needed = "" if program["needed"] is None else f"{program['needed'] / 2**30:.2f} of "
        return [f"{needed}{program['capacity'] / 2**30:.0f}: does not fit"]
    memory, bound, collectives = program["memory"], program["bound_not_a_measurement"], program["collectives"]
    return [
        f"{memory['total'] / 2**30:.2f} of {memory['capacity'] / 2**30:.0f}",
        f"{program['flops'] / 1e12:.3g}",
        f"{program['bytes_moved'] / 1e9:.3g}",
        f"{program['bytes_moved_that_are_padding'] / program['bytes_moved']:.1%}",
        f"{program['arithmetic_intensity']:.0f}",
        ", ".join(f"{found['per_step']} {kind}" for kind, found in collectives.items()) or "none",
        f"{sum(found['bytes_per_step'] for found in collectives.values()) / 1e6:.1f}",
        f"{1e3 * bound['seconds_per_step']:.3g}",
        bound["limited_by"],
        f"{bound['sequences_per_second']:,.0f}",
        f"{program['compile_seconds']:.0f}",
    ]


def _of_width(lanes: int, fit: dict[str, Any]) -> str:
    what = "lanes" if lanes == LANES else f"columns of this chip's {lanes} x {lanes} matrix units"
    if not fit["padding"]:
        return f"hidden_dim {fit['hidden_dim']} fills all {what}.\n"
    nearest = " and ".join(str(side) for side in (fit["narrower"], fit["wider"]) if side)
    return (
        f"hidden_dim {fit['hidden_dim']} is padded to {fit['padded']} {what} ({fit['padding']:.1%} of them empty); nearest "
        f"widths without padding: {nearest}.\n"
    )
