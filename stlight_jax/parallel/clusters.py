"""What SLURM and TPU VMs tell a process of the others in its run, as far as JAX needs help with it."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from stlight_jax.errors import InputError


def of_slurm() -> bool:
    """Whether SLURM runs more than one of this process.

    Raises InputError where it has room for several, but one was started by hand.
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


def of_a_tpu_slice() -> bool:
    """Whether this host is one of several of a TPU slice; False where nobody says (`distributed.check_layout` sees to it).

    A host that is alone must not join anything, for JAX's port is always the same one: a second program there would break the
    first.
    """
    if "tpu" not in (os.environ.get("JAX_PLATFORMS") or "tpu").split(","):
        return False
    try:
        from jax._src.clusters import cloud_tpu_cluster as tpu  # what `jax.distributed.initialize` asks; it has no public name

        slice_ = next((kind for kind in (tpu.GceTpuCluster, tpu.GkeTpuCluster) if kind.is_env_present()), None)
        return slice_ is not None and slice_.get_process_count() > 1
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError):  # of a metadata server that does not answer, too
        return False


def slurm_arguments() -> dict[str, Any]:
    """What `jax.distributed.initialize` must be told on SLURM: which of the GPUs that this task sees are its own.

    Left to itself JAX takes one, the one with the task's number on its node: of one task per node it would leave the others
    idle, and a task that sees none but its own may have no such number.

    Raises InputError if the tasks of a node cannot share its GPUs equally.
    """
    gpus, tasks = _gpus_seen(), _tasks_of_this_node()
    if "JAX_LOCAL_DEVICE_IDS" in os.environ or not gpus or not tasks:
        return {}
    on_the_node = int(os.environ.get("SLURM_GPUS_ON_NODE") or gpus)
    if tasks == 1 or "SLURM_GPUS_PER_TASK" in os.environ or gpus < max(tasks, on_the_node):  # bound to those it sees
        return {"local_device_ids": list(range(gpus))}
    if gpus % tasks:
        raise InputError(f"{tasks} tasks cannot share the {gpus} GPUs of a node equally; change --ntasks-per-node of srun")
    share, place = gpus // tasks, int(os.environ["SLURM_LOCALID"])
    return {"local_device_ids": list(range(place * share, (place + 1) * share))}


def _gpus_seen() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name not in ("", "NoDevFiles")])
    return int(os.environ.get("SLURM_GPUS_ON_NODE") or len(glob.glob("/dev/nvidia[0-9]*")))


def _tasks_of_this_node() -> int | None:
    """None where nodes have unequal numbers."""
    told = re.fullmatch(r"(\d+)(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return int(told[1]) if told else None
