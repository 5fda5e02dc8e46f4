"""Memory that a training on CPUs keeps between its steps."""

import ctypes

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes the C library keep freed memory for the next allocation, if this process trains on a CPU.

    XLA allocates the arrays of a CPU program anew at each call. glibc maps large ones and unmaps them again, and the faults of
    their pages take a tenth to a third of a training step. What is kept is at most what the process has had at its peak.
    Libraries without `mallopt` are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if jax.default_backend() == "cpu" and mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)  # no allocation is mapped by itself
        mallopt(_M_TRIM_THRESHOLD, -1)  # the largest number: the end of the heap is never given back
