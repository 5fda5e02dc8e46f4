"""The compiled programs of a config, and how well its width fits a TPU, as JSON and as a table."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import rich.box

from stlight_jax.console.text_table import text_table
from stlight_jax.model.stlight import STLightConfig
from stlight_jax.runs.environment import package_versions
from stlight_jax.tpu_planning.compile_plan import PlannedProgram

# A TPU's memory and vector unit have 128 lanes: the innermost dimension of an array is padded to a multiple of it.
LANES = 128
COMPILERS = ("jax", "jaxlib", "libtpu")  # packages that compile
REMARK = (
    "Times and sequences/s (of the whole slice) are bounds, not measurements: what the chips' published peaks allow if\n"
    "everything overlaps. No step of this program can be faster; real ones are slower. Arithmetic of the vector units, such\n"
    "as GELU and sums of taps, is not in them, for no peak of theirs is published."
)
_HEADINGS = (
    "per chip and step", "memory GiB", "TFLOP", "GB moved", "padding", "FLOP/byte", "collectives", "MB", "at least ms",
    "limited by", "at most seq/s", "compiled in s",
)  # fmt: skip


class LaneFit(NamedTuple):
    """A `hidden_dim` on a TPU.

    Attributes:
      hidden_dim: d.
      padded: the number of lanes that an array `[..., d]` fills.
      padding: the part of `padded` that is empty, in [0, 1).
      narrower: the largest `hidden_dim` up to d that needs no padding; 0 if none exists.
      wider: the smallest `hidden_dim` from d on that needs no padding.
    """

    hidden_dim: int
    padded: int
    padding: float
    narrower: int
    wider: int


def lane_fit(hidden_dim: int, patch_size: int, lanes: int = LANES) -> LaneFit:
    """Computes the padding of a width, and the nearest widths without padding.

    Args:
      hidden_dim: d.
      patch_size: p; the pixel shuffle needs multiples of `p**2`, so `narrower` and `wider` are.
      lanes: 128, or the side of a matrix unit (256 on v6e).
    """
    step = math.lcm(lanes, patch_size**2)
    padded = -(-hidden_dim // lanes) * lanes
    return LaneFit(hidden_dim, padded, 1 - hidden_dim / padded, hidden_dim // step * step, -(-hidden_dim // step) * step)


def as_json(
    title: str,
    model: STLightConfig,
    programs: Sequence[PlannedProgram],
    search: dict[str, Any] | None,
) -> dict[str, Any]:
    """Returns the results of `compile_all` as plain data.

    Args:
      title: the name of the config.
      model: the network.
      programs: the compiled programs.
      search: the fields of `BatchSearch` and the "topology" of its slice; None without a search.
    """
    chips = {program.slice.chip.name: program.slice.chip for program in programs}
    lanes = sorted({LANES, *(chip.mxu for chip in chips.values())})
    return {
        "config": title,
        "versions": package_versions(COMPILERS),
        "launcher": "shard_map",
        "programs": [program.as_json() for program in programs],
        "largest_batch_per_chip": search,
        "width": {str(side): lane_fit(model.hidden_dim, model.patch_size, side)._asdict() for side in lanes},
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
        "remark": REMARK,
    }


def as_text(results: dict[str, Any]) -> str:
    """Formats the results of `as_json`."""
    compilers = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    labels = [f"{one['program']}, {one['topology']}, {one['batch_per_chip']} per chip" for one in results["programs"]]
    lines = [
        f"{results['config']}: compiled for TPUs by {compilers}, as parallel.launcher {results['launcher']} launches it; "
        "without a TPU\n\n",
        programs_text(labels, results["programs"]),
    ]
    if results["largest_batch_per_chip"] is not None:
        lines.append(search_text(results["largest_batch_per_chip"]))
    lines += [_lane_text(int(lanes), fit) for lanes, fit in results["width"].items()]
    lines.append(f"{REMARK}\nPeaks:\n")
    for name, chip in results["chips"].items():
        lines.append(
            f"  {name}: {chip['bfloat16_flops'] / 1e12:.0f} TFLOP/s in bfloat16, {chip['hbm_bytes'] / 2**30:.0f} GiB at "
            f"{chip['hbm_bytes_per_second'] / 1e9:.0f} GB/s, network {chip['network_bytes_per_second'] / 1e9:.0f} GB/s both "
            f"ways together ({chip['source']})\n"
        )
    return "".join(lines)


def programs_text(labels: Sequence[str], programs: Sequence[dict[str, Any]]) -> str:
    """Formats a table with a row for each program. Figures are per chip and step, but sequences per second of the slice.

    Args:
      labels: the first cell of each row.
      programs: the results of `PlannedProgram.as_json`.
    """
    rows = [[label, *_row(program)] for label, program in zip(labels, programs, strict=True)]
    text = text_table(_HEADINGS, rows, width=200, box=rich.box.SIMPLE_HEAD)
    return "".join(f"{line[1:].rstrip()}\n" for line in text.splitlines())


def search_text(search: dict[str, Any]) -> str:
    """Formats a search, given as the JSON of `BatchSearch` with its "topology", on one line."""
    tried = ", ".join(
        f"{batch}: {'too much' if needed is None else f'{needed / 2**30:.2f} GiB'}"
        for batch, needed in sorted(search["tried"].items(), key=lambda item: int(item[0]))
    )
    fits = f"{search['fits']} fits" if search["fits"] else "no batch that was tried fits"
    beyond = "" if search["too_large"] is None else f", {search['too_large']} does not"
    return f"Largest batch per chip of training on {search['topology']}: {fits}{beyond} ({tried}).\n"


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


def _lane_text(lanes: int, fit: dict[str, Any]) -> str:
    units = "lanes" if lanes == LANES else f"columns of this chip's {lanes} x {lanes} matrix units"
    if not fit["padding"]:
        return f"hidden_dim {fit['hidden_dim']} fills all {units}.\n"
    nearest = " and ".join(str(side) for side in (fit["narrower"], fit["wider"]) if side)
    return (
        f"hidden_dim {fit['hidden_dim']} is padded to {fit['padded']} {units} ({fit['padding']:.1%} of them empty); nearest "
        f"widths without padding: {nearest}.\n"
    )
