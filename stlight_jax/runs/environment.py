"""The environment of a run, for its records and reports."""

import contextlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from typing import Any

import jax
from etils import epath

_PACKAGES = ("stlight-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-cpu", "tensorflow")


def describe_environment() -> dict[str, Any]:
    """Returns the versions of Python and the main packages, the platform, the devices and the commit of the code, as JSON."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(_PACKAGES),
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "processes": jax.process_count(),
        "git_commit": _git_commit(),
    }


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of those packages that are installed."""
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _git_commit() -> str | None:
    command = ["git", "-C", str(epath.resource_path("stlight_jax")), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True, timeout=10).strip()
    except (OSError, subprocess.SubprocessError):
        return None
