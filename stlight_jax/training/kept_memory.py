"""Memory that a training on CPUs keeps between its steps."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes the C library keep freed memory for the next allocation, if JAX will run on CPUs.

    To be called before JAX starts its backend, whose threads otherwise have heaps of their own, which are given back.

    XLA allocates the arrays of a CPU program anew at each call. glibc maps large ones and unmaps them again, and the faults of
    their pages take a tenth to a third of a training step. The price is memory: a training step of the size XS had a peak of
    2.3 GiB instead of 1.4. Libraries without `mallopt` are left as they are, and so is a heap that the user has tuned in the
    environment variable GLIBC_TUNABLES.
    """
    if sys.platform != "linux":  # Windows cannot open the process's own library
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    is_tuned = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if mallopt is not None and not is_tuned and _is_for_cpus():
        mallopt(_M_ARENA_MAX, 1)  # one heap for all threads
        mallopt(_M_MMAP_MAX, 0)  # no allocation is mapped by itself
        mallopt(_M_TRIM_THRESHOLD, -1)  # the largest number: the end of the heap is never given back


def _is_for_cpus() -> bool:
    """Returns whether JAX will run on CPUs. Asking for its devices would start the backend."""
    platforms = jax.config.values["jax_platforms"]
    if platforms:
        return platforms.split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and not any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
