"""Runs of several processes: how a process joins the others at its start, and how it ends when one of them is lost."""

import collections
import contextlib
import glob
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging

from stlight_jax.console.messages import console, one_line, print_message
from stlight_jax.errors import InputError, LostProcessError

# A process without a heartbeat for so long counts as dead, which ends the other processes.
_HEARTBEAT_SECONDS = 30
_START_SECONDS = 300
# How long a failing process waits for the others to fail, too, as they all do after bad input.
_SHUTDOWN_SECONDS = 5
# Words in errors of JAX that another process's end causes.
_SIGNS_OF_LOSS = ("gloo", "nccl", "peer", "connection", "coordination", "barrier", "heartbeat", "unavailable")


def start(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, *, preemptible: bool = False
) -> None:
    """Joins the other processes of a run, if there are any: by the arguments, or as SLURM or a TPU slice describes them.

    Call it before any other use of JAX. Processes other than the first one print no messages afterwards. If the others do not
    join within five minutes, the process ends with one line and the status of an InputError.

    Args:
      coordinator: HOST:PORT of the first process.
      processes: Number of processes.
      process: Number of this process, from 0.
      preemptible: Whether the run handles SIGTERM to any of its processes with `agreement.StopRequests`; otherwise SIGTERM
        ends the process.

    Raises:
      InputError: An argument is missing or invalid, or the tasks of SLURM have an impossible layout.
    """
    explicit = _explicit_arguments(coordinator, processes, process)
    if explicit is not None:
        if processes == 1:
            return
        print_message(f"process {process} of {processes} waits for the others at {coordinator} ...")
        arguments = explicit
    elif is_slurm_step():
        arguments = slurm_arguments()  # JAX itself gets the rest from SLURM
    elif is_tpu_slice():
        arguments = {}
    else:
        return
    at = f" at {coordinator}" if coordinator else ""
    # While this process waits for the others, Python would not call a handler of its own. JAX installs one afterwards, whose
    # requests only `StopRequests` receives.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    jax.config.update("jax_enable_preemption_service", preemptible)
    timer = threading.Timer(_START_SECONDS, _exit_after_start_seconds, [at])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **arguments, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS, initialization_timeout=2 * _START_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes of this run did not find each other{at}: {one_line(error)}") from None
    finally:
        timer.cancel()
    if jax.process_index():
        console.quiet = True  # the first process prints the messages of all


def _explicit_arguments(coordinator: str | None, processes: int | None, process: int | None) -> dict[str, Any] | None:
    """Returns the arguments of `jax.distributed.initialize`, None if none is given; raises InputError for invalid ones."""
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    first = next((name for name, value in given.items() if value is not None), None)
    if first is None:
        return None
    if coordinator is None or processes is None or process is None:
        raise InputError(f"{first} is given; several processes need --coordinator, --processes and --process, all three")
    if not 0 <= process < processes:
        raise InputError(f"--process is {process}; it must be at least 0 and less than --processes, {processes}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator is {coordinator}; it must be HOST:PORT, such as host0:1234")
    return {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}


def is_slurm_step() -> bool:
    """Returns whether SLURM runs more than one of this process.

    Raises:
      InputError: SLURM has room for several processes, but this one was started by hand.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1"))
    if tasks == 1 or "SLURM_PROCID" not in os.environ:
        return False
    if "SLURM_STEP_NODELIST" not in os.environ:
        raise InputError(
            f"SLURM has given this job {tasks} tasks, and this process was not started as one of them; put srun before the "
            "command, or run it alone with SLURM_NTASKS=1"
        )
    return True


def is_tpu_slice() -> bool:
    """Returns whether this host is one of several of a TPU slice; False if unknown, which `check_layout` finds.

    A single host must not join anything: JAX always uses the same port, so a second program there would break the first.
    """
    if "tpu" not in (os.environ.get("JAX_PLATFORMS") or "tpu").split(","):
        return False
    try:
        from jax._src.clusters import cloud_tpu_cluster as tpu  # of `jax.distributed.initialize`; it has no public name

        slice_ = next((kind for kind in (tpu.GceTpuCluster, tpu.GkeTpuCluster) if kind.is_env_present()), None)
        return slice_ is not None and slice_.get_process_count() > 1
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError):  # also of a metadata server without an answer
        return False


def slurm_arguments() -> dict[str, Any]:
    """Returns the arguments of `jax.distributed.initialize` on SLURM: which of the visible GPUs belong to this task.

    By default JAX takes one GPU, that with the task's number on its node. With one task per node it would leave the others
    idle, and a task that sees only its own GPUs may have no GPU of that number.

    Raises:
      InputError: The tasks of a node cannot share its GPUs equally.
    """
    match = re.fullmatch(r"(\d+)(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    gpus, tasks = _visible_gpus(), int(match[1]) if match else 0  # tasks of this node; 0 if nodes have different numbers
    if "JAX_LOCAL_DEVICE_IDS" in os.environ or not gpus or not tasks:
        return {}
    gpus_of_node = int(os.environ.get("SLURM_GPUS_ON_NODE") or gpus)
    if tasks == 1 or "SLURM_GPUS_PER_TASK" in os.environ or gpus < max(tasks, gpus_of_node):  # the task sees only its own
        return {"local_device_ids": list(range(gpus))}
    if gpus % tasks:
        raise InputError(f"{tasks} tasks cannot share the {gpus} GPUs of a node equally; change --ntasks-per-node of srun")
    share, index = gpus // tasks, int(os.environ["SLURM_LOCALID"])
    return {"local_device_ids": list(range(index * share, (index + 1) * share))}


def _visible_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name not in ("", "NoDevFiles")])
    return int(os.environ.get("SLURM_GPUS_ON_NODE") or len(glob.glob("/dev/nvidia[0-9]*")))


def _exit_after_start_seconds(at: str) -> None:
    """Ends a process that has waited too long for the others. JAX would abort it with a stack trace of its runtime."""
    line = (
        f"error: the processes of this run did not find each other{at} in {_START_SECONDS} seconds; check that all of "
        "them are running, and that the host and port of the first one can be reached from the others\n"
    )
    os.write(2, line.encode())
    os._exit(InputError.exit_status)


@contextlib.contextmanager
def lost_process_errors() -> Iterator[None]:
    """Turns the errors that JAX raises in the block after the loss of another process into LostProcessError.

    The original error is the cause. It is logged with its traceback at --verbosity=1, because its words may mislead.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        text = one_line(error)
        if not jax.distributed.is_initialized() or not any(sign in str(error).lower() for sign in _SIGNS_OF_LOSS):
            raise
        logging.debug("an error that is attributed to the loss of another process:", exc_info=error)
        raise LostProcessError(
            "another process of this run has failed, died or lost its connection; see its own messages for the reason "
            f"(here: {text[:200]}; --verbosity=1 shows where)"
        ) from error


def shut_down(error: BaseException, status: int) -> None:
    """Ends a failed process of a run of several, so that the others do not wait for it; returns if it is the only one.

    Call it after all messages are printed. JAX's own exit would wait minutes for processes that wait for this one.

    Args:
      error: The reason.
      status: Exit status of the process.
    """
    if not jax.distributed.is_initialized():
        return
    if not isinstance(error, LostProcessError):
        shutdown = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        shutdown.start()
        shutdown.join(_SHUTDOWN_SECONDS)
        if not shutdown.is_alive():
            return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def check_layout() -> None:
    """Checks that this process has joined all others, and that all have the same number of devices.

    Raises:
      InputError: This process has not joined the others, or the processes have different numbers of devices.
    """
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise InputError(
            f"this host's devices belong to {jax.process_count()} processes, and it has not joined the others; start the same "
            "command on all of them with --coordinator, --processes and --process"
        )
    devices = collections.Counter(device.process_index for device in jax.devices())
    counts = [devices[process] for process in range(jax.process_count())]
    if len(set(counts)) > 1:
        raise InputError(
            f"the processes have {', '.join(map(str, counts))} devices; a batch is shared equally, so all must have as many"
        )
