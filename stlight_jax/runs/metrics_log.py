"""The metrics of a run over its steps: JSON lines, and TensorBoard events."""

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.pipeline import load_tensorflow
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import finite
from stlight_jax.storage.locks import Lock
from stlight_jax.storage.log_folder import LogFolder

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends one JSON object per line, and writes TensorBoard events if requested and the package is installed.

    `read_metrics` ignores a line that an interruption has cut short. All methods raise InputError if the folder cannot be
    written to.

    Args:
      workdir: Folder of the run.
      tensorboard: Whether to write events.
      lock: Lock of `workdir`; nothing is sent to a bucket when it is lost.
    """

    def __init__(self, workdir: epath.PathLike, tensorboard: bool, lock: Lock | None = None):
        self._folder = LogFolder(workdir, METRICS_FILE, lock)
        self._path = self._folder.local / METRICS_FILE
        with paths.write_errors(self._path):
            cut_short = self._path.exists() and self._path.read_bytes()[-1:] not in (b"", b"\n")
            self._file = self._path.open("a")
            if cut_short:
                self._file.write("\n")
        self._write_events = _event_writer(self._folder.local / "tensorboard") if tensorboard else None

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Writes one line, `{"step", "kind", "time", **values}`.

        Args:
          step: Number of optimizer steps done.
          kind: "started", "compiled", "train", "validation" or "checkpoint".
          values: Numbers by name.
        """
        line = {"step": step, "kind": kind, "time": round(time.time(), 3), **values}
        with paths.write_errors(self._path):
            self._file.write(json.dumps(finite(line), allow_nan=False) + "\n")
            self._file.flush()
        if self._write_events is not None:
            self._write_events(step, {f"{kind}/{name}": value for name, value in values.items()})

    def send(self) -> None:
        """Sends all lines to the bucket of a remote workdir; to be called with each checkpoint."""
        self._folder.send()

    def close(self) -> None:
        """Closes the file, and sends it to the bucket of a remote workdir."""
        try:
            with paths.write_errors(self._path):
                self._file.close()
        finally:
            self._folder.close()


class NullLog:
    """The log of a process that leaves writing to the first process of the run."""

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Does nothing."""

    def send(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read_metrics(workdir: epath.PathLike, kind: str) -> list[dict[str, Any]]:
    """Returns the lines of one kind in order of step.

    A run that resumes at an earlier step repeats steps; only the lines of the last repetition are returned.
    """
    lines: list[dict[str, Any]] = []
    for line in read_lines(workdir):
        if line.get("kind") == "started":
            lines = [earlier for earlier in lines if earlier["step"] <= line["step"]]
        elif line.get("kind") == kind:
            lines.append(line)
    return lines


def read_lines(workdir: epath.PathLike) -> Iterator[dict[str, Any]]:
    """Yields all lines of a run as they were written, those of every process; none if there is no log."""
    path = epath.Path(workdir) / METRICS_FILE
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            content = json.loads(line)
        except ValueError:
            continue  # cut short by an interruption
        if isinstance(content, dict) and "step" in content:
            yield content


def _event_writer(folder: epath.Path) -> Callable[[int, dict[str, float]], None] | None:
    if importlib.util.find_spec("tensorboard") is None:
        print_message("no TensorBoard events are written: the package tensorboard is not installed")
        return None
    tf = load_tensorflow()
    with paths.write_errors(folder, tf.errors.OpError):
        writer = tf.summary.create_file_writer(str(folder))

    def write(step: int, values: dict[str, float]) -> None:
        with paths.write_errors(folder, tf.errors.OpError), writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step)
            writer.flush()

    return write
