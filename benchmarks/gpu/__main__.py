"""Checks, timings and training on a GPU: `python -m benchmarks.gpu --stages=check:2,contest:4,train:3 --out=FOLDER`.

Stages, each with its limit in minutes: check (numbers beside a CPU's), contest (the network beside PyTorch's), kernels (where
the time goes) and train (the paper's 5.3M network). Results are written after every item, so a run that is cut off loses only
its current item, and the same command continues. `benchmarks/gpu/README.md` has the commands for a machine without a network.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the contest's processes share the device

from absl import flags

from benchmarks.gpu.contest import MATCHES, TOY_MATCHES, contest
from benchmarks.gpu.kernels import kernels
from benchmarks.gpu.program_check import check, write_reference
from benchmarks.gpu.records import Deadline, Records
from benchmarks.gpu.training_run import recipe, train
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError

STAGES = ("check", "contest", "kernels", "train")
RESULTS = "results.json"

_STAGES = flags.DEFINE_list(
    "stages", ["check:2", "contest:4", "train:3"], f"Stages in order, each with minutes: of {', '.join(STAGES)}."
)
_OUT = flags.DEFINE_string("out", "runs/gpu/results", "Folder of the results and of the training's state.")
_MNIST = flags.DEFINE_string("mnist", "", "Folder of MNIST's idx files; the digits in the package if empty.")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 16, "Sequences in a training step; the rate grows with its root.", lower_bound=1
)
_VISITS = flags.DEFINE_integer(
    "visits", 0, "Visits like this one in which the training must end, this one included; 0 makes every step.", lower_bound=0
)
_TOY = flags.DEFINE_bool("toy", False, "Small networks, for a try on a CPU.")
_REFERENCES = flags.DEFINE_list("references", [], "Networks whose numbers on this CPU to store beside the code; then stop.")


def main() -> None:
    """Runs the stages."""
    for network in _REFERENCES.value:
        write_reference(network)
        print_message(f"stored the numbers of {network}")
    if _REFERENCES.value:
        return
    stages = [_parse(text) for text in _STAGES.value]
    folder = pathlib.Path(_OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    records = Records(folder / RESULTS)
    config = recipe(_BATCH_SIZE.value, _MNIST.value, _TOY.value)
    for stage, minutes in stages:
        deadline = Deadline(60 * minutes)
        print_message(f"{stage}: at most {minutes:g} minutes")
        if stage == "check":
            check(records, deadline, ("toy",) if _TOY.value else ("L", "d544"), config)
        elif stage == "contest":
            options = {"rounds": 2, "seconds": 0.05} if _TOY.value else {}
            contest(records, deadline, TOY_MATCHES if _TOY.value else MATCHES, **options)
        elif stage == "kernels":
            kernels(records, deadline, _TOY.value)
        else:
            train(records, deadline, folder, config, _VISITS.value)
    if records.failed:
        print_message(
            f"{len(records.failed)} items failed: {'; '.join(records.failed)}; their errors are in {folder / RESULTS}"
        )
        sys.exit(1)


def _parse(text: str) -> tuple[str, float]:
    stage, _, minutes = text.partition(":")
    try:
        limit = float(minutes)
    except ValueError:
        limit = 0.0
    if stage not in STAGES or not limit > 0:
        raise InputError(f"--stages has {text!r}; expected STAGE:MINUTES with a stage of {', '.join(STAGES)}, such as check:2")
    return stage, limit


if __name__ == "__main__":
    run_script(main)
