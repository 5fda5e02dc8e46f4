"""The cache of this user: files that take time to make and can be made again."""

import hashlib
import os
import pathlib
import platform
import tempfile


def folder() -> pathlib.Path:
    """Returns this package's cache folder, which need not exist yet; for users without a home, one for temporary files."""
    try:
        home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    except RuntimeError:
        home = pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return home / "stlight_jax"


def processor() -> str:
    """Returns a name for this model of processor.

    Machines may share a home, and compiled code uses all instructions of the machine that compiled it.
    """
    return hashlib.sha256(f"{platform.machine()} {platform.processor()} {processor_features()}".encode()).hexdigest()[:12]


def processor_features() -> str:
    """Returns the line of /proc/cpuinfo that lists the processor's instruction sets; "" on other systems than Linux."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
