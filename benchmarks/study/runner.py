"""Carries out declared runs and writes a record of each.

A record is written when its run starts, replaced when it ends, and never deleted, so that every run that was started is known.
A run that was stopped resumes from its last checkpoint; if this is lost, it starts again. Its record counts the starts. Several
processes may share the list: each passes over the runs that another one carries out.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax

from benchmarks.study import cost
from benchmarks.study.designs import LINEAR
from benchmarks.study.runs import Run
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config, network_config, open_test, open_training
from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError, NonFiniteLossError
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.runs import checkpoint
from stlight_jax.runs.environment import describe_environment
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage.atomic import finite, write_atomic
from stlight_jax.storage.locks import locked
from stlight_jax.training.loop import train
from stlight_jax.training.shortcut_fit import fitted_linear

STARTED, DONE, NOT_FINITE = "started", "done", "not finite"
_METRICS = ("mse", "mae", "ssim")  # kept for each lead time


def read_records(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Reads all records of a folder, by the names of the runs."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def carry_out(
    runs: Iterable[Run],
    data: str,
    records: pathlib.Path,
    workdirs: pathlib.Path,
    minutes: float,
    written: Callable[[], None] = lambda: None,
) -> None:
    """Carries out all runs that have not ended, in their order.

    Args:
      runs: The runs.
      data: Folder of all data.
      records: Folder of the records.
      workdirs: Folder of the unfinished runs; the workdir of a run that has ended is deleted.
      minutes: Time after which no run is started; 0 for no limit.
      written: Called after a record is written.
    """
    end = time.monotonic() + 60 * minutes if minutes else float("inf")
    for run in runs:
        path, folder = records / f"{run.name}.json", workdirs / run.name
        if _has_ended(path):
            continue
        if time.monotonic() > end:
            print_message(f"the time of {minutes:g} minutes is over; the next run is {run.name}")
            return
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(folder, f"{run.name} is carried out by process {{process}}"))
            except InputError as error:
                print_message(str(error))
                continue
            if not _has_ended(path):  # which another process may have ended since
                _carry_out_one(run, data, path, folder / "run", written)
            shutil.rmtree(folder, ignore_errors=True)


def _has_ended(path: pathlib.Path) -> bool:
    return path.exists() and json.loads(path.read_text())["state"] != STARTED


def _carry_out_one(run: Run, data: str, path: pathlib.Path, workdir: pathlib.Path, written: Callable[[], None]) -> None:
    """Carries out a run and writes its record at the start and at the end."""
    print_message(f"run {run.name}")
    starts = json.loads(path.read_text())["starts"] if path.exists() else 0
    load = os.getloadavg()[1]
    record = describe(run) | {"state": STARTED, "starts": starts + 1, "begun": _now(), "load": [load]}
    _write(path, record)
    written()
    _write(path, record | perform(run, data, workdir) | {"load": [load, os.getloadavg()[1]]})
    written()


def describe(run: Run) -> dict[str, Any]:
    """Returns the declaration of a run and the environment, as JSON."""
    declared = {"design": run.design, "task": run.task, "learning_rate": run.rate, "seed": run.seed, "steps": run.steps}
    return {**declared, "environment": describe_environment() | {"cores": len(os.sched_getaffinity(0))}}


def perform(run: Run, data: str, workdir: pathlib.Path, **keys: Any) -> dict[str, Any]:
    """Trains and evaluates.

    Args:
      run: The run.
      data: Folder of all data.
      workdir: Folder of the run.
      **keys: Config keys that replace the run's, see `Run.config`.

    Returns:
      The results: the state, the time, the network's cost, the curve of the training and the metrics of the last weights.
    """
    begun, used = time.monotonic(), time.process_time()
    results: dict[str, Any] = {"state": DONE}
    try:
        evaluated = _trained(run, data, workdir, keys) if run.is_trained else _solved(run, data, keys)
        results |= evaluated
    except NonFiniteLossError as error:
        results = {"state": NOT_FINITE, "message": str(error)}
    seconds = {"seconds": time.monotonic() - begun, "processor_seconds": time.process_time() - used}
    return {**results, **_curve(workdir), **seconds, "ended": _now()}


def _trained(run: Run, data: str, workdir: pathlib.Path, keys: dict[str, Any]) -> dict[str, Any]:
    state = train(run.config(data, **keys), workdir, network=run.network)
    description = checkpoint.load_description(Workdir(workdir).checkpoints, int(state.step))
    return _evaluated(run, description["config"], Scaling.from_json(description["scaling"]), state.variables)


def _solved(run: Run, data: str, keys: dict[str, Any]) -> dict[str, Any]:
    config = check_config(run.config(data, **keys))
    training, validation = open_training(config)
    fit = {"params": {"shortcut": {LINEAR: fitted_linear(network_config(config), training, validation)}}}
    variables = make_launcher(config.parallel.launcher).replicate(fit)
    return _evaluated(run, config.to_dict(), training.scaling, variables)


def _evaluated(run: Run, sections: dict[str, Any], scaling: Scaling, variables: Any) -> dict[str, Any]:
    """Evaluates on the test set and counts the network's cost."""
    config = check_config(sections)
    shape, test = network_config(config), open_test(config)
    launcher = make_launcher(config.parallel.launcher)
    step = launcher.compile_eval_step(make_eval_step(run.network(shape), scaling))
    batch_size = launcher.round_up_batch_size(config.evaluation.batch_size)
    sums = evaluate(step, launcher, variables, test, batch_size, f"evaluating {run.name}")
    assert sums is not None  # nothing abandons it
    per_lead_time = sums.per_lead_time()
    height, width = test.shape[1:3]
    return {
        "parameters": cost.parameters(run.network(shape), height, width),
        "multiply_accumulates": cost.multiply_accumulates(run.network, shape, height, width),
        "test_sequences": sums.count,
        "metrics": sums.overall(),
        "per_lead_time": {key: per_lead_time[key] for key in _METRICS},
    }


def _curve(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the validation MSE and the training loss by step."""
    lines = {kind: read_metrics(workdir, kind) for kind in ("validation", "train")}
    keys = {"validation": "mse", "train": "loss"}
    return {kind: [[line["step"], line[keys[kind]]] for line in found] for kind, found in lines.items()}


def _write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a record in one step, with seven digits for a number, and one line for a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'"{key}": {json.dumps(finite(_rounded(value)), allow_nan=False)}' for key, value in record.items()]
    write_atomic(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _rounded(value: Any) -> Any:
    return jax.tree.map(lambda leaf: float(f"{leaf:.7g}") if isinstance(leaf, float) else leaf, value)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
