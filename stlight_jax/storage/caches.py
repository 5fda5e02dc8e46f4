"""Where things are kept that cost time to make again."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
import tempfile


def folder() -> pathlib.Path:
    """This user's cache of this package; it need not exist yet, and users without a home have it among temporary files."""
    try:
        home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    except RuntimeError:
        home = pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return home / "stlight_jax"


def processor() -> str:
    """A name for this kind of processor: homes are shared between machines, and compiled code uses what its machine has."""
    return hashlib.sha256(f"{platform.machine()} {platform.processor()} {processor_features()}".encode()).hexdigest()[:12]


def processor_features() -> str:
    """What Linux says that the processor can do; empty elsewhere."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
