"""What a run leaves behind to read: metrics as JSON lines, the config, the environment, TensorBoard events."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from stlight_jax.console.messages import say
from stlight_jax.data.pipeline import load_tensorflow
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.json_files import finite
from stlight_jax.storage.lease import Lock
from stlight_jax.storage.mirror import Mirror

METRICS_FILE = "metrics.jsonl"


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
        self._mirror = Mirror(epath.Path(workdir), METRICS_FILE, lock or Lock()) if paths.is_remote(workdir) else None
        folder = epath.Path(workdir) if self._mirror is None else self._mirror.folder
        self._path = folder / METRICS_FILE
        with paths.writing(self._path):
            cut_short = self._path.exists() and self._path.read_bytes()[-1:] not in (b"", b"\n")
            self._file = self._path.open("a")
            if cut_short:
                self._file.write("\n")
        self._writer = _tensorboard_writer(folder / "tensorboard") if tensorboard else None

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """One line: `{"step", "kind", "time", **values}`. Kinds: "started", "compiled", "train", "validation", "checkpoint"."""
        line = {"step": step, "kind": kind, "time": round(time.time(), 3), **values}
        with paths.writing(self._path):
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
            with paths.writing(self._path):
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


def _lines(path: epath.Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue  # cut short by an interruption
        if isinstance(content, dict) and "step" in content:
            yield content


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
