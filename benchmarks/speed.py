"""Compares the speed with others: `python benchmarks/speed.py --network=d256 [--device=gpu]`. Writes table, chart and JSON.

Every contestant runs in its own process, one at a time: JAX with the project's kernels and with XLA's grouped convolution, and
the PyTorch reference in eager mode, in channels_last and compiled; on a CPU, ONNX Runtime and OpenVINO predict with the
exported network. They take turns for several rounds, so that other load of the machine affects all of them alike. Figures are
medians over all calls, with quartiles. Load affects them unequally all the same: the matrix products alone are timed before and
after each task, and where they differ by more than 15 %, or the quartiles of a contestant by more than 25 %, the files are
named `..._busy`, and the exit status is 1.
"""

from __future__ import annotations

import importlib.util
import pathlib
import platform
import statistics
import subprocess
import sys
from typing import Any

from absl import flags
from busy_machine import name_of_record, signs_of_load
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from speed_networks import NETWORKS, PRECISIONS
from speed_worker import ENVIRONMENTS, Contestant

from stlight_jax import STLightConfig
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError, StlightError
from stlight_jax.model.count import count
from stlight_jax.storage.atomic import write_json

MODES = [f"jax:{mode}" for mode in ("auto", "native", "phases", "taps")]
MODES += [f"torch:{mode}" for mode in ("eager", "channels_last", "compile", "max-autotune")]
RUNTIMES = ["onnxruntime", "openvino"]  # which predict only, on CPUs only
MODES += RUNTIMES
TASKS = ("train", "throughput", "latency")

_NETWORK = flags.DEFINE_enum("network", "d256", list(NETWORKS), "Network of `speed_networks.py`.")
_DEVICE = flags.DEFINE_enum("device", "cpu", list(ENVIRONMENTS), "Device.")
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", list(PRECISIONS), "float32, bfloat16 with float32 parameters, or on a GPU TF32 products."
)
_MODES = flags.DEFINE_list(
    "modes",
    [mode for mode in MODES if mode not in ("jax:phases", "jax:taps", "torch:max-autotune")],
    f"Contestants; a selection of {', '.join(MODES)}.",
)
_TASKS = flags.DEFINE_list("tasks", list(TASKS), "Tasks to time.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each contestant.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Approximate length of a turn, in seconds.")
_TORCH_PYTHON = flags.DEFINE_string("torch_python", sys.executable, "Python interpreter with PyTorch.")
_OUT = flags.DEFINE_string("out", "runs/speed", "Folder for the table, the chart and the figures.")


def main() -> None:
    """Times all contestants and writes the table, the chart and the figures."""
    if _DEVICE.value == "cpu" and _PRECISION.value == "tensorfloat32":
        raise InputError("--precision=tensorfloat32 is for --device=gpu; CPUs are timed in float32 and bfloat16")
    spec = NETWORKS[_NETWORK.value] | {"device": _DEVICE.value, "precision": _PRECISION.value}
    results: dict[str, Any] = {
        "network": _NETWORK.value,
        "shape": spec["network"],
        "side": spec["side"],
        "batch": spec["batch"],
        "precision": _PRECISION.value,
        "device": _DEVICE.value,
        "cpu": _cpu_model(),
        "environment": ENVIRONMENTS[_DEVICE.value],
        "timings": {},
        "products": {},
        "contestants": {},
    }
    _check_modes()
    contestants = []
    for name in filter(_takes_part, _MODES.value):
        python = _TORCH_PYTHON.value if name.startswith("torch:") else sys.executable
        contestants.append(Contestant(name, spec, python, ENVIRONMENTS[_DEVICE.value]))
    written = ""
    try:
        for task in _TASKS.value:
            _contest(task, contestants, results)
            if task == "train":
                _memory(contestants, results)
            written = _write(results, written)
    except ChildProcessError as error:
        raise InputError(f"{error}; leave it out of --modes") from None
    for contestant in contestants:
        contestant.close()
    print(as_text(results))
    print_message(f"wrote {written}.txt, .json and .png to {_OUT.value}")
    if results["summary"]["busy"]:
        raise StlightError("the machine is busy, as the table shows; run it again on a quiet one")


def _write(results: dict[str, Any], written: str) -> str:
    """Writes the results so far: the script takes long and may be interrupted.

    Args:
      results: of the tasks so far.
      written: name of the files that this run has written before; "" for none.

    Returns:
      The name of the files.
    """
    results["summary"] = summary(results)
    out, name = pathlib.Path(_OUT.value), name_of_record(_name(), results)
    out.mkdir(parents=True, exist_ok=True)
    if written not in ("", name):
        for ending in ("json", "txt", "png"):
            (out / f"{written}.{ending}").unlink(missing_ok=True)
    write_json(out / f"{name}.json", results)
    (out / f"{name}.txt").write_text(as_text(results))
    draw(out / f"{name}.png", results)
    return name


def _name() -> str:
    precision = "" if _DEVICE.value == "cpu" and _PRECISION.value == "float32" else f"_{_PRECISION.value}"
    return f"speed_{_NETWORK.value}{'_gpu' if _DEVICE.value == 'gpu' else ''}{precision}"


def _takes_part(name: str) -> bool:
    """Whether a contestant runs on the device in the precision; prints if it does not."""
    if name in RUNTIMES and (_DEVICE.value != "cpu" or (name == "onnxruntime" and _PRECISION.value != "float32")):
        print_message(f"{name} is left out: here it does not run on {_DEVICE.value} in {_PRECISION.value}")
        return False
    return True


def _check_modes() -> None:
    unknown = set(_MODES.value) - set(MODES)
    if unknown:
        raise InputError(f"--modes names {', '.join(sorted(unknown))}; choose among {', '.join(MODES)}")
    if "jax:auto" not in _MODES.value:
        raise InputError("--modes lacks jax:auto, which times the matrix products alone; add it")
    runtimes = [name for name in RUNTIMES if name in _MODES.value]
    for name in ["onnx", *runtimes] if runtimes else []:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed; pip install {name}, or leave {', '.join(runtimes)} out of --modes")
    if any(name.startswith("torch:") for name in _MODES.value):
        try:
            subprocess.run([_TORCH_PYTHON.value, "-c", "import torch"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise InputError(
                f"{_TORCH_PYTHON.value} has no PyTorch: run its pip install 'stlight_jax[torch]', name another interpreter "
                "with --torch_python, or leave torch out of --modes"
            ) from None


def _contest(task: str, contestants: list[Contestant], results: dict[str, Any]) -> None:
    matmuls = "matmul_train" if task == "train" else "matmul_inference"
    entries = [(contestant, task) for contestant in contestants if task != "train" or contestant.name not in RUNTIMES]
    (ours,) = (contestant for contestant in contestants if contestant.name == "jax:auto")
    entries.append((ours, matmuls))
    for contestant, part in entries:
        print_message(f"{part}: preparing {contestant.name} ...")
        answer = contestant.order(task=part, prepare=True)
        record = results["contestants"].setdefault(contestant.name, {})
        record["versions"] = answer["versions"]
        record.setdefault("first_call_seconds", {})[part] = answer["first_call_seconds"]
    products = results["products"].setdefault(task, [])
    products.append(ours.order(task=matmuls, seconds=_SECONDS.value)["seconds"])
    for turn in range(_ROUNDS.value):
        print_message(f"{task}: round {turn + 1} of {_ROUNDS.value}")
        for contestant, part in entries:
            turns = results["timings"].setdefault(part, {}).setdefault(contestant.name, [])
            if turns and turns[-1][-1] > 5 * _SECONDS.value:
                continue  # a single call takes longer than the turns of all others
            turns.append(contestant.order(task=part, seconds=_SECONDS.value)["seconds"])
    products.append(ours.order(task=matmuls, seconds=_SECONDS.value)["seconds"])


def _memory(contestants: list[Contestant], results: dict[str, Any]) -> None:
    """Measures the memory of training, for contestants whose steps are quick enough to have warmed up."""
    for contestant in contestants:
        if contestant.name not in RUNTIMES and results["timings"]["train"][contestant.name][-1][-1] < _SECONDS.value:
            print_message(f"memory of {contestant.name} ...")
            results["contestants"][contestant.name]["memory"] = contestant.order(task="memory")


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Computes medians and quartiles in seconds, and ratios."""
    ratios = ("against_best_torch", "against_best_runtime", "over_matmuls")
    found: dict[str, Any] = {"seconds": {}, **{name: {} for name in ratios}, "gflops": {}}
    for task, by_name in results["timings"].items():
        found["seconds"][task] = {name: _spread([t for turn in turns for t in turn]) for name, turns in by_name.items()}
    for task in (task for task in TASKS if task in found["seconds"]):
        medians = {name: spread["median"] for name, spread in found["seconds"][task].items()}
        torch = [value for name, value in medians.items() if name.startswith("torch:")]
        runtimes = [value for name, value in medians.items() if name in RUNTIMES]
        for key, others in (("against_best_torch", torch), ("against_best_runtime", runtimes)):
            if others:
                found[key][task] = min(others) / medians["jax:auto"]
    for task, matmuls in (("train", "matmul_train"), ("throughput", "matmul_inference")):
        # The products of a prediction are timed for a latency, too.
        if {matmuls, task} <= found["seconds"].keys():
            alone = found["seconds"][matmuls]["jax:auto"]["median"]
            found["over_matmuls"][task] = found["seconds"][task]["jax:auto"]["median"] / alone
            found["gflops"][matmuls] = _gflop(results, matmuls) / alone
            found["gflops"][task] = _gflop(results, task) / found["seconds"][task]["jax:auto"]["median"]
    found["busy"] = signs_of_load(results["products"], found["seconds"])
    return found


def _gflop(results: dict[str, Any], task: str) -> float:
    """Counts the operations of one call, in 1e9; training includes both gradients, of which the encoder has only one."""
    parts = count(STLightConfig(**results["shape"]), results["side"], results["side"]).parts
    products = [part for part in parts if any(word in part.name for word in ("convolution", "pointwise", "1x1"))]
    products = [part for part in products if "norm" not in part.name]
    counted = products if task.startswith("matmul") else parts
    times = {part.name: (2 if part.name == "encoder, convolution" else 3) if "train" in task else 1 for part in counted}
    return 2e-9 * results["batch"] * sum(times[part.name] * part.true for part in counted)


def _spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    low, _, high = statistics.quantiles(ordered, n=4) if len(ordered) > 1 else ordered * 3
    return {
        "median": statistics.median(ordered),
        "low_quartile": low,
        "high_quartile": high,
        "p99": ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))],
        "calls": len(ordered),
    }


def as_text(results: dict[str, Any]) -> str:
    """Formats the results as tables."""
    found, spec = results["summary"], results
    console = Console(width=150, color_system=None)
    with console.capture() as capture:
        settings = f"{spec['network']}, {spec['precision']}, batch {spec['batch']} (latency: 1)"
        table = Table("", title=f"{settings}: milliseconds, median (quartiles)")
        names = list(results["contestants"])
        for name in names:
            table.add_column(name, justify="right")
        for task, by_name in found["seconds"].items():
            table.add_row(task, *(_milliseconds(by_name.get(name)) for name in names))
            if task == "latency":
                table.add_row("latency, p99", *(f"{1e3 * by_name[name]['p99']:.1f}" for name in names))
        for task in (task for task in TASKS if task in found["seconds"]):
            calls = [record["first_call_seconds"].get(task) for record in results["contestants"].values()]
            table.add_row(f"first {task} call, s", *("-" if value is None else f"{value:.1f}" for value in calls))
        memory = [record.get("memory") for record in results["contestants"].values()]
        if any(memory):
            for row, key in (("peak MiB", "peak_mib"), ("growth in 10 steps, MiB", "growth_mib")):
                if any(value and key in value for value in memory):
                    table.add_row(row, *(f"{value[key]:.0f}" if value and key in value else "-" for value in memory))
        console.print(table)
    return "\n".join([*(f"busy: {sign}" for sign in found["busy"]), capture.get(), *_facts(results)]) + "\n"


def _facts(results: dict[str, Any]) -> list[str]:
    """Returns the lines below the tables."""
    found, lines = results["summary"], []
    for key, others in (("against_best_torch", "PyTorch mode"), ("against_best_runtime", "of ONNX Runtime and OpenVINO")):
        for task, ratio in found[key].items():
            lines.append(f"{task}: {ratio:.2f} times as fast as the best {others}")
    for task, ratio in found["over_matmuls"].items():
        lines.append(f"{task}: {ratio:.2f} times the time of its matrix products alone")
    for task, rate in found["gflops"].items():
        lines.append(f"{task}: {rate:.1f} GFLOP/s")
    frameworks = {name.partition(":")[0]: record["versions"] for name, record in results["contestants"].items()}
    for versions in frameworks.values():
        lines.append(", ".join(f"{name} {value}" for name, value in versions.items()))
    lines.append(results["cpu"])
    return lines


def draw(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Draws a bar per contestant and task: the speed relative to the best PyTorch mode, or without one to the fastest."""
    seconds = results["summary"]["seconds"]
    tasks = [task for task in TASKS if task in seconds]
    has_torch = any(name.startswith("torch:") for name in results["contestants"])
    figure = Figure(figsize=(3.2 * len(tasks) + 1.2, 3), layout="constrained")
    figure.suptitle(
        f"{results['network']}, {results['precision']}, batch {results['batch']}: speed beside the "
        f"{'best PyTorch mode' if has_torch else 'fastest'}",
        fontsize=11,
    )
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0], tasks, strict=True):
        medians = {name: spread["median"] for name, spread in seconds[task].items()}
        beside = [value for name, value in medians.items() if name.startswith("torch:") or not has_torch]
        speeds = {name: min(beside) / value for name, value in medians.items()}
        bars = axes.barh(list(speeds), list(speeds.values()), color=["tab:blue" if n == "jax:auto" else "0.7" for n in speeds])
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
        axes.axvline(1, color="tab:orange", linewidth=1)
        axes.set(title="latency, batch 1" if task == "latency" else task, xlim=(0, 1.2 * max(speeds.values())))
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()  # of all axes, which share it
    figure.savefig(path, dpi=120)


def _milliseconds(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "-"
    if spread["calls"] == 1:
        return f"{1e3 * spread['median']:.0f} (one call)"
    return f"{1e3 * spread['median']:.0f} ({1e3 * spread['low_quartile']:.0f}-{1e3 * spread['high_quartile']:.0f})"


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return model


if __name__ == "__main__":
    run_script(main)
