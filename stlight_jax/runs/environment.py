"""The environment of a run, for its records and reports."""

import contextlib
import datetime
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


def provenance(event: str) -> dict[str, Any]:
    """Returns the lines of a page that tell when and where its results were made.

    Args:
      event: name of the time, such as "predicted".
    """
    found, now = describe_environment(), datetime.datetime.now(datetime.UTC)
    return {
        event: now.strftime("%Y-%m-%d %H:%M UTC"),
        "python": found["python"],
        **found["packages"],
        "code": found["git_commit"] or "not in a repository",
        "devices": found["devices"],
        "platform": found["platform"],
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
