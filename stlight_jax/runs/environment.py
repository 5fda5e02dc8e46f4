"""The environment of a run: versions, devices and the commit of the code."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from typing import Any

import jax
from etils import epath

_PACKAGES = ("stlight-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-cpu", "tensorflow")


def environment() -> dict[str, Any]:
    """Versions, devices and the code's commit."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "processes": jax.process_count(),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    here = epath.resource_path("stlight_jax")
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
