"""Reads damaged files, each in a child of one process that has imported the readers: python -m tests.fuzz --help."""

import argparse
import collections
import contextlib
import importlib
import json
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator

import numpy as np

from tests.fuzz.damage import damage, is_cut_off
from tests.fuzz.samples import SAMPLES, Sample

_SECONDS = 20  # of a processor: others may keep this machine busy
_SECONDS_WAITING = 200
_BYTES = 2 * 2**30
_IMPORTS = {
    "readers": ("av", "h5py", "netCDF4", "xarray", "PIL.Image", "stlight_jax.data.formats.input_files"),
    "networks": ("stlight_jax.inference.trained",),
    "torch": ("safetensors.numpy", "stlight_jax.torch_reference.weight_files"),
}


def main() -> None:
    """Reads files and prints each that is not read or refused as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"kinds of files, by default all of --group: {', '.join(SAMPLES)}")
    parser.add_argument("--group", choices=_IMPORTS, default="readers", help="the readers, by the process that they need")
    parser.add_argument("--cases", type=int, default=300, help="number of files, divided among the kinds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="number of children at a time")
    parser.add_argument("--out", type=pathlib.Path, help="write the damaged files to this folder and read none")
    parser.add_argument("--verbose", action="store_true", help="print the outcome of every file")
    options = parser.parse_args()
    kinds = options.kinds or [kind for kind, sample in SAMPLES.items() if sample.group == options.group]
    count = -(-options.cases // len(kinds))
    cases = [(kind, seed) for seed in range(options.first, options.first + count) for kind in kinds]
    if options.out:
        for kind, seed in cases:
            path, done = write_damaged(options.out / f"{kind}-{seed}", kind, seed)
            print(f"{path}: {done}")
        return
    for group in {SAMPLES[kind].group for kind in kinds}:
        for module in _IMPORTS[group]:
            importlib.import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        failures = run(pathlib.Path(folder), cases, options.jobs, options.verbose)
    if failures:
        print(f"{failures} of {len(cases)} failed; to write one: python -m tests.fuzz KIND --first=SEED --cases=1 --out=FOLDER")
    sys.exit(failures > 0)


def write_damaged(folder: pathlib.Path, kind: str, seed: int) -> tuple[pathlib.Path, str]:
    """Writes a damaged file; returns its path and what was done to it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SAMPLES[kind].path
    SAMPLES[kind].write(path)
    return path, damage(path, kind, seed)


def run(folder: pathlib.Path, cases: list[tuple[str, int]], jobs: int, verbose: bool) -> int:
    """Reads all damaged files, each in a child process, and prints the failures; returns their number."""
    if "jax" in sys.modules and all(SAMPLES[kind].group == "readers" for kind, _ in cases):
        sys.exit("the readers have imported JAX")
    whole = folder / "whole"
    _write_whole(whole, dict.fromkeys(kind for kind, _ in cases))
    outcomes, waiting, children = collections.Counter(), cases[::-1], {}
    while waiting or children:
        while waiting and len(children) < jobs:
            kind, seed = waiting.pop()
            place = folder / f"{kind}-{seed}"
            shutil.copytree(whole / kind, place)
            done = damage(place / SAMPLES[kind].path, kind, seed)
            children[_start(place, whole / kind, SAMPLES[kind], done)] = kind, seed, done, place, time.monotonic()
        pid, status, _ = os.wait4(-1, 0)
        kind, seed, done, place, begin = children.pop(pid)
        outcome, message = _outcome(place, status, time.monotonic() - begin)
        outcomes[outcome] += 1
        shutil.rmtree(place, ignore_errors=True)
        if verbose or outcome == "failed":
            print(f"{outcome}: {kind}, seed {seed} ({done}): {message}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    return outcomes["failed"]


def _write_whole(folder: pathlib.Path, kinds: Iterable[str]) -> None:
    """Writes the undamaged files and reads them, in a child: encoders and JAX start threads, which do not survive a fork.

    What is compiled at the first use of a network is compiled here.
    """
    if pid := os.fork():
        if os.waitpid(pid, 0)[1]:
            sys.exit("the undamaged files could not be written")
        return
    status = 1
    try:
        for kind in kinds:
            (folder / kind).mkdir(parents=True)
            SAMPLES[kind].write(path := folder / kind / SAMPLES[kind].path)
            collections.deque(_values(path, SAMPLES[kind].group), maxlen=0)
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def _start(place: pathlib.Path, whole: pathlib.Path, sample: Sample, done: str) -> int:
    """Starts a child that reads a file and leaves its outcome beside it; returns its process number."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    with contextlib.suppress(BaseException):
        signal.alarm(_SECONDS_WAITING)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS + 5))
        os.dup2(os.open(place / "stderr", os.O_WRONLY | os.O_CREAT), 2)
        os.dup2(2, 1)
        in_use = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (in_use + _BYTES, in_use + _BYTES))
        try:
            outcome = _read(place, whole, sample, done)
        except BaseException:
            outcome = ["failed", traceback.format_exc(limit=-4)]
        (place / "outcome").write_text(json.dumps(outcome))
        status = 0
    os._exit(status)


def _outcome(place: pathlib.Path, status: int, seconds: float) -> tuple[str, str]:
    """Returns the outcome of a child that has ended with this status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        ended = "was not read within" if number in (signal.SIGALRM, signal.SIGXCPU) else f"{signal.Signals(number).name} after"
        return "failed", f"{ended} {seconds:.0f} s; {(place / 'stderr').read_text(errors='replace')[-500:]}"
    if status:
        return "failed", f"the child ended with status {os.waitstatus_to_exitcode(status)}"
    outcome, message = json.loads((place / "outcome").read_text())
    return outcome, message


def _read(place: pathlib.Path, whole: pathlib.Path, sample: Sample, done: str) -> tuple[str, str]:
    """Reads a file as the commands do; compares the values of a file that is cut off with those of the whole file."""
    from stlight_jax.errors import InputError

    path = place / sample.path
    try:
        found = list(_values(path, sample.group))
    except InputError as error:
        message = str(error)
        if message.count("\n"):
            return "failed", f"the message has several lines: {message!r}"
        if str(place) not in message and sample.path not in message:
            return "failed", f"the message names no file: {message}"
        return "refused", message
    if sample.exact and is_cut_off(done):
        expected = list(_values(whole / sample.path, sample.group))
        same = len(found) == len(expected) and all(
            a.shape == b.shape and ((a == b) | np.isnan(a)).all() for a, b in zip(found, expected, strict=True)
        )
        if not same:
            return "failed", "is cut off, and its values differ from those of the whole file"
    return "read", f"{len(found)} arrays"


def _values(path: pathlib.Path, group: str) -> Iterator[np.ndarray]:
    """Yields all values in a file."""
    if group == "readers":
        from stlight_jax.data.formats.input_files import open_sequences
        from stlight_jax.data.formats.types import ReadOptions

        for source in open_sequences(path, ReadOptions()):
            yield from source.blocks()
    elif group == "networks":
        from stlight_jax.inference import trained

        trained.load(path)
    else:
        from stlight_jax.torch_reference.weight_files import read_weights

        for tensors in read_weights(path).values():
            yield from (value for value in tensors.values() if isinstance(value, np.ndarray))


if __name__ == "__main__":
    main()
