"""What a run leaves behind to read: metrics as JSON lines, the config, the environment, TensorBoard events."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from etils import epath

from stlight_jax import remote
from stlight_jax.data.pipeline import load_tensorflow
from stlight_jax.errors import InputError
from stlight_jax.progress import say
from stlight_jax.training.lease import Lock
from stlight_jax.training.mirror import Mirror

METRICS_FILE = "metrics.jsonl"
_PACKAGES = ("stlight-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-cpu", "tensorflow")


class MetricsLog:
    """Appends one JSON object per line; TensorBoard events beside it, if asked for and the package is there.

    A line that an interruption cut short stays behind, on a line of its own, and `read_metrics` passes over it.
    Nothing can be appended to what is in a bucket: there all is written to a local copy, which is sent now and then.

    Args:
      workdir: where the files go.
      tensorboard: whether events are wanted.
      lock: of `workdir`; nothing is sent there when it is lost.

    All methods raise InputError where the folder cannot be written to.
    """

    def __init__(self, workdir: epath.PathLike, tensorboard: bool, lock: Lock | None = None):
        self._mirror = Mirror(epath.Path(workdir), METRICS_FILE, lock or Lock()) if remote.is_remote(workdir) else None
        folder = epath.Path(workdir) if self._mirror is None else self._mirror.folder
        self._path = folder / METRICS_FILE
        with remote.writing(self._path):
            cut_short = self._path.exists() and self._path.read_bytes()[-1:] not in (b"", b"\n")
            self._file = self._path.open("a")
            if cut_short:
                self._file.write("\n")
        self._writer = _tensorboard_writer(folder / "tensorboard") if tensorboard else None

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """One line: `{"step", "kind", "time", **values}`. Kinds: "started", "compiled", "train", "validation", "checkpoint"."""
        line = {"step": step, "kind": kind, "time": round(time.time(), 3), **values}
        with remote.writing(self._path):
            self._file.write(json.dumps(finite(line), allow_nan=False) + "\n")
            self._file.flush()
        if self._writer is not None:
            self._writer(step, {f"{kind}/{name}": value for name, value in values.items()})

    def keep(self) -> None:
        """Puts what was written where it outlives this machine; called with each checkpoint."""
        if self._mirror is not None:
            self._mirror.send()

    def close(self) -> None:
        """Closes the file."""
        try:
            with remote.writing(self._path):
                self._file.close()
        finally:
            if self._mirror is not None:
                self._mirror.close()


class NoLog:
    """A `MetricsLog` of a process that leaves the writing to another one."""

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Nothing."""

    def keep(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_metrics(workdir: epath.PathLike, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in order of step, without those that a later start of the run went back behind."""
    path = epath.Path(workdir) / METRICS_FILE
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for line in _lines(path):
        if line.get("kind") == "started":
            lines = [earlier for earlier in lines if earlier["step"] <= line["step"]]
        elif line.get("kind") == kind:
            lines.append(line)
    return lines


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


def write_json(path: epath.PathLike, content: Any) -> None:
    """Writes a JSON file in one step: a reader sees the old one or the new one. Infinite values and NaN become null.

    Raises InputError if it cannot be written.
    """
    with remote.writing(path):
        remote.write_at_once(epath.Path(path), json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """The same with None for infinity (the PSNR of an exact frame) and NaN, which JSON does not know."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _lines(path: epath.Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue  # cut short by an interruption
        if isinstance(content, dict) and "step" in content:
            yield content


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


def _tensorboard_writer(directory: epath.Path) -> Callable[[int, dict[str, float]], None] | None:
    if importlib.util.find_spec("tensorboard") is None:
        say("no TensorBoard events are written: the package tensorboard is not installed")
        return None
    tf = load_tensorflow()

    @contextlib.contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            raise InputError(f"{directory} could not be written: {error.message}") from error

    with told():
        writer = tf.summary.create_file_writer(str(directory))

    def write(step: int, values: dict[str, float]) -> None:
        with told(), writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step)
            writer.flush()

    return write
