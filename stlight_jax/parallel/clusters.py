"""The other processes of a run as SLURM and TPU VMs describe them, as far as JAX does not read this itself."""

import glob
import os
import re
from typing import Any

from stlight_jax.errors import InputError


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
    """Returns whether this host is one of several of a TPU slice; False if unknown, which `distributed.check_layout` finds.

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
    gpus, tasks = _visible_gpus(), _tasks_of_this_node()
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


def _tasks_of_this_node() -> int | None:
    """Returns the number of tasks, None if nodes have different numbers."""
    match = re.fullmatch(r"(\d+)(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return int(match[1]) if match else None
