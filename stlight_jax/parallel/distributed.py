"""Many processes, one per host or per device: started, told apart, and kept in agreement."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import flags, logging
from etils import epath
from jax.experimental import multihost_utils

from stlight_jax.console.messages import say, silence
from stlight_jax.errors import InputError, LostProcessError
from stlight_jax.parallel import clusters
from stlight_jax.storage import paths

# A process that says nothing for so long is taken for dead, and takes the others down with it.
_HEARTBEAT_SECONDS = 30
_START_SECONDS = 300
# How long one that fails waits for the others to fail as well, as all do where the input is to blame.
_FAREWELL_SECONDS = 5
# Disks of a network may remember for half a minute that a folder was not there.
_SECONDS_TO_APPEAR = 40


def define_flags() -> None:
    """--coordinator, --processes and --process, for `start`."""
    flags.DEFINE_string("coordinator", None, "Of several processes: HOST:PORT of the first one.")
    flags.DEFINE_integer("processes", None, "Of several processes: how many.")
    flags.DEFINE_integer("process", None, "Of several processes: this one's number, from 0.")


def start(*, stops: bool = False) -> None:
    """Joins the other processes of a run, if there are any: by the flags, or on SLURM and TPU slices by what these tell.

    To be called before anything else of JAX. Processes other than the first one say nothing from then on. Where the others do
    not come within five minutes, it ends the process with one line and the status of an InputError.

    Args:
      stops: whether the run asks, by `preemption.StopRequests`, for SIGTERM to any of them; it ends a process otherwise.

    Raises InputError for flags that do not belong together, and for layouts that SLURM cannot have meant.
    """
    given = flags.FLAGS
    named = {name: given[name].value for name in ("coordinator", "processes", "process")}
    by_flags = [name for name, value in named.items() if value is not None]
    if by_flags and len(by_flags) < 3:
        raise InputError(
            f"--{by_flags[0]} is given; several processes need --coordinator, --processes and --process, all three"
        )
    if by_flags:
        if not 0 <= given.process < given.processes:
            raise InputError(
                f"--process is {given.process}; it must be at least 0 and less than --processes, {given.processes}"
            )
        host, _, port = given.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise InputError(f"--coordinator is {given.coordinator}; it must be HOST:PORT, such as host0:1234")
        if given.processes == 1:
            return
        say(f"process {given.process} of {given.processes} waits for the others at {given.coordinator} ...")
        arguments = {
            "coordinator_address": given.coordinator, "num_processes": given.processes, "process_id": given.process,
        }  # fmt: skip
    elif clusters.of_slurm():
        arguments = clusters.slurm_arguments()  # all else JAX asks SLURM itself
    elif clusters.of_a_tpu_slice():
        arguments = {}
    else:
        return
    where = f" at {given.coordinator}" if by_flags else ""
    # A handler in Python would not be called while this waits for the others. JAX puts its own in the place afterwards, which
    # nobody hears but `StopRequests`.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    jax.config.update("jax_enable_preemption_service", stops)
    try:
        with _patience(where):
            jax.distributed.initialize(
                **arguments, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS, initialization_timeout=2 * _START_SECONDS
            )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes of this run did not find each other{where}: {str(error).splitlines()[0]}") from None
    if jax.process_index():
        silence()


@contextlib.contextmanager
def _patience(where: str) -> Iterator[None]:
    """Ends the process if the block takes too long. JAX's own end of waiting is an abort with a stack trace of its runtime."""

    def give_up() -> None:
        line = (
            f"error: the processes of this run did not find each other{where} in {_START_SECONDS} seconds; see whether all of "
            "them were started and are alive, and whether the first one's host and port can be reached from the others\n"
        )
        os.write(2, line.encode())
        os._exit(InputError.exit_status)

    waiting = threading.Timer(_START_SECONDS, give_up)
    waiting.daemon = True
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Turns what JAX raises in the block when another process is gone into a LostProcessError.

    What it raised is the cause, and is logged with its traceback at --verbosity=1: its words alone may mislead.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        text = " ".join(str(error).split())
        if not jax.distributed.is_initialized() or not any(sign in text.lower() for sign in _SIGNS_OF_LOSS):
            raise
        logging.debug("what is taken for the loss of another process:", exc_info=error)
        raise LostProcessError(
            "another process of this run has failed, died or lost its connection; what it said itself tells why "
            f"(here: {text[:200]}; --verbosity=1 shows where)"
        ) from error


_SIGNS_OF_LOSS = ("gloo", "nccl", "peer", "connection", "coordination", "barrier", "heartbeat", "unavailable")


def leave(error: BaseException, status: int) -> None:
    """Ends a process of many that fails, so that the others do not wait for it; alone it does nothing.

    To be called when all is said. JAX's own way out waits minutes for the others, which wait for this process all the while.
    """
    if not jax.distributed.is_initialized():
        return
    if not isinstance(error, LostProcessError):
        farewell = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        farewell.start()
        farewell.join(_FAREWELL_SECONDS)
        if not farewell.is_alive():
            return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def check_layout() -> None:
    """Raises InputError unless every process knows of the others, and has as many devices as every other one."""
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise InputError(
            f"this host's devices belong to {jax.process_count()} processes, and it has not joined the others; start the same "
            "command on all of them with --coordinator, --processes and --process"
        )
    counts = np.bincount([device.process_index for device in jax.devices()], minlength=jax.process_count())
    if counts.min() != counts.max():
        raise InputError(
            f"the processes have {', '.join(map(str, counts))} devices; a batch is shared equally, so all must have as many"
        )


def check_agreement(what: str, content: Any) -> None:
    """Raises InputError, on all processes, unless all have equal `content`: JSON, or a function that gives it."""
    if jax.process_count() == 1:
        return
    content = content() if callable(content) else content
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
    all_of_them = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    different = [int(i) for i in np.flatnonzero((all_of_them != all_of_them[0]).any(-1))]
    if different:
        raise InputError(
            f"{what} differs between processes: of those numbered 0 to {jax.process_count() - 1}, "
            f"{', '.join(map(str, different))} disagree with the first; start all of them alike"
        )


def told_by_the_first(value: Any) -> Any:
    """The first process's value, which is JSON, on all of them."""
    if jax.process_count() == 1:
        return value
    told = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))  # all must give an array of one size
    told = multihost_utils.broadcast_one_to_all(np.resize(told, length))
    return json.loads(np.asarray(told, np.uint8).tobytes())


def check_shared(folder: epath.Path) -> None:
    """Raises InputError, on all processes, unless a folder that the first one has made is the same one for all of them."""
    if jax.process_count() == 1:
        return
    token = folder / f".seen-by-all-{uuid.uuid4().hex}"
    first = jax.process_index() == 0
    if first:
        with paths.writing(token):
            token.write_text("")
    try:
        seen = _appears(folder / told_by_the_first(token.name))
        seen_by = multihost_utils.process_allgather(np.array(seen))
    finally:
        if first:
            token.unlink(missing_ok=True)
    if not seen_by.all():
        raise InputError(
            f"--workdir={folder} is not the same folder on all hosts: not on that of process "
            f"{', '.join(str(int(i)) for i in np.flatnonzero(~seen_by))}. Name one on a shared disk, or in a bucket, as a TPU "
            "pod needs: --workdir=gs://BUCKET/FOLDER"
        )


def wait_for_all(where: str) -> None:
    """Returns when every process has come to `where`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def _appears(path: epath.Path) -> bool:
    deadline = time.monotonic() + _SECONDS_TO_APPEAR
    while True:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.read_bytes()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
