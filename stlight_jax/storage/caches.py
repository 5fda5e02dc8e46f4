"""The cache of this user: files that take time to make and can be made again."""

import functools
import hashlib
import os
import pathlib
import platform
import stat
import tempfile


def folder() -> pathlib.Path:
    """Returns this package's cache folder, which need not exist yet; for users without a home, one for temporary files."""
    try:
        home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    except RuntimeError:
        home = _private(pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid()}")
    return home / "stlight_jax"


@functools.cache
def _private(folder: pathlib.Path) -> pathlib.Path:
    """Makes a folder where only this user can write, since compiled code is loaded from it.

    Returns:
      The folder; if another user could write there, one for this process.
    """
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not others_write:
        return folder
    return pathlib.Path(tempfile.mkdtemp(prefix="stlight_cache_"))


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
