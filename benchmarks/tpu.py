"""Compiles the published networks for TPUs and bounds their speed there, with one setting varied at a time. Needs no TPU.

Needs `pip install 'stlight_jax[tpu-aot]'`. Each program takes minutes to compile. Finished programs are kept in OUT, so you can
interrupt the script and start it again; after a change of the code give another --out, or delete the folder.

    python benchmarks/tpu.py --out=benchmarks/results/tpu
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import runpy
from typing import Any

import jax
import ml_collections
from absl import flags

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config, frame_size
from stlight_jax.reports.figures import draw_programs
from stlight_jax.runs.environment import package_versions
from stlight_jax.storage.atomic import write_json
from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.chips import slice_by_name
from stlight_jax.tpu_planning.compile_plan import CompilePlan
from stlight_jax.tpu_planning.compile_report import largest_batch

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
_OUT = flags.DEFINE_string("out", "benchmarks/results/tpu", "Folder for the results.")


@dataclasses.dataclass(frozen=True)
class Case:
    """One program: a network, its slice, and the settings that differ from the first case."""

    label: str
    dataset: str = "moving_mnist"
    size: str = "L"
    topology: str = "v5e:4x4"
    batch: int = 16
    kind: str = "training"
    change: tuple[tuple[str, Any], ...] = ()

    def config(self) -> ml_collections.ConfigDict:
        """Returns the config with its changes."""
        config = runpy.run_path(str(_CONFIGS / f"{self.dataset}.py"))["get_config"](self.size)
        config.model.dtype = "bfloat16"
        for key, value in self.change:
            section, name = key.split(".")
            config[section][name] = value
        return config


CASES = (
    Case("MMNIST L, bfloat16, v5e 4x4, 16 per chip"),
    Case("v5e 2x2", topology="v5e:2x2"),
    Case("v5e 16x16", topology="v5e:16x16"),
    Case("v4 2x2x4", topology="v4:2x2x4"),
    Case("v6e 4x4", topology="v6e:4x4"),
    Case("float32", change=(("model.dtype", "float32"),)),
    Case("float32, products in bfloat16", change=(("model.dtype", "float32"), ("model.precision", "bfloat16"))),
    Case("depthwise as tap sums", change=(("model.depthwise", "taps"),)),
    Case("XS", size="XS"),
    Case("KTH L, 4 per chip", dataset="kth", batch=4),
    Case("nothing rematerialised", change=(("model.rematerialise", "nothing"),)),
    Case("blocks rematerialised", change=(("model.rematerialise", "blocks"),)),
    Case("1 per chip", batch=1),
    Case("hidden_dim 1408", change=(("model.hidden_dim", 1408),)),
    Case("prediction", kind="prediction"),
    Case("prediction, v6e", kind="prediction", topology="v6e:1x1"),
)
# (config, size) of all published widths.
PUBLISHED = (
    *(("moving_mnist", size) for size in ("XS", "S", "M", "L", "54M")),
    *(("taxibj", size) for size in ("S", "M", "L")),
    *(("kth", size) for size in ("XS", "S", "M", "L")),
    *(("kitti_caltech", size) for size in ("15M", "13M", "11M", "8M", "7M", "5M")),
)


def main() -> None:
    """Compiles the cases that are not in the folder yet, and writes their table and chart."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "tpu.json"
    results = json.loads(kept.read_text()) if kept.exists() else {"programs": {}}
    versions = package_versions(tpu_table.COMPILERS)
    if results.setdefault("versions", versions) != versions:
        raise SystemExit(f"{kept} was made with {results['versions']}; give another --out, or delete it")
    if "largest_batch_per_chip" not in results:
        results["largest_batch_per_chip"] = _search(CASES[0])
        write_json(kept, results)
    for case in CASES:
        if case.label in results["programs"]:
            continue
        print_message(f"{case.label} ...")
        results["programs"][case.label] = _compiled(case)
        write_json(kept, results)
    results["programs"] = {case.label: results["programs"][case.label] for case in CASES}  # kept ones may be in another order
    write_json(kept, results)
    _write(out, results)


def _compiled(case: Case) -> dict[str, Any]:
    config = check_config(case.config())
    plan = CompilePlan(config, frame_size(config))
    compile_for = plan.training if case.kind == "training" else plan.prediction
    return compile_for(slice_by_name(case.topology), case.batch).as_json()


def _search(case: Case) -> dict[str, Any]:
    config = check_config(case.config())
    plan, slice_ = CompilePlan(config, frame_size(config)), slice_by_name(case.topology)
    found = largest_batch(lambda batch: plan.training(slice_, batch), slice_.chip.hbm_bytes, 64, 8, 5)
    return {"topology": case.topology, **dataclasses.asdict(found)}


def _write(out: pathlib.Path, results: dict[str, Any]) -> None:
    fitting = {label: program for label, program in results["programs"].items() if "memory" in program}
    compilers = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        f"Compiled for TPUs by {compilers}, without a TPU. The label of each line names its difference from the first.\n\n",
        tpu_table.programs_text(list(fitting), list(fitting.values())),
        *(f"{label}: does not fit\n" for label in results["programs"] if label not in fitting),
        tpu_table.search_text(results["largest_batch_per_chip"]),
        f"{tpu_table.REMARK}\n\nWidths and the {tpu_table.LANES} lanes:\n\n",
        _widths(),
    ]
    text = "".join(lines)
    (out / "tpu.txt").write_text(text)
    training = {label: program for label, program in fitting.items() if program["program"] == "training"}
    draw_programs(out / "tpu.png", list(training), list(training.values()), "STLight on TPUs, one setting varied at a time")
    print(text)


def _widths() -> str:
    lines = ["  hidden_dim  padded to  empty  nearest full widths  of 256 (v6e)  networks\n"]
    networks: dict[tuple[int, int], list[str]] = {}
    for dataset, size in PUBLISHED:
        model = runpy.run_path(str(_CONFIGS / f"{dataset}.py"))["get_config"](size).model
        networks.setdefault((model.hidden_dim, model.patch_size), []).append(f"{dataset} {size}")
    for (hidden_dim, patch_size), names in sorted(networks.items()):
        fit, wide = tpu_table.lane_fit(hidden_dim, patch_size), tpu_table.lane_fit(hidden_dim, patch_size, 256)
        nearest, nearest_wide = (" ".join(str(side) for side in sorted({one.narrower, one.wider} - {0})) for one in (fit, wide))
        lines.append(
            f"  {hidden_dim:10}  {fit.padded:9}  {fit.padding:5.1%}  {nearest:>19}  {nearest_wide:>12}  {', '.join(names)}\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    run_script(main)
