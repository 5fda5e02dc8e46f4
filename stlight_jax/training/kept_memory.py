"""Memory that a training on CPUs keeps between its steps."""

import ctypes
import importlib.metadata
import importlib.util

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes the C library keep freed memory for the next allocation, if JAX will run on CPUs.

    To be called before JAX starts its backend, whose threads otherwise have heaps of their own, which are given back.

    XLA allocates the arrays of a CPU program anew at each call. glibc maps large ones and unmaps them again, and the faults of
    their pages take a tenth to a third of a training step. What is kept is at most what the process has had at its peak.
    Libraries without `mallopt` are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and _is_for_cpus():
        mallopt(_M_ARENA_MAX, 1)  # one heap for all threads
        mallopt(_M_MMAP_MAX, 0)  # no allocation is mapped by itself
        mallopt(_M_TRIM_THRESHOLD, -1)  # the largest number: the end of the heap is never given back


def _is_for_cpus() -> bool:
    """Returns whether JAX will run on CPUs. Asking for its devices would start the backend."""
    if jax.config.jax_platforms:
        return jax.config.jax_platforms.split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and not any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
