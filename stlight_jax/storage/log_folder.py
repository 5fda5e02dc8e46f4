"""Folders of files that grow: written in place on a disk; for a bucket, written to a local folder and sent regularly."""

import os
import shutil
import tempfile
import threading

from absl import logging
from etils import epath

from stlight_jax.storage import bucket, paths
from stlight_jax.storage.locks import Lock

_SECONDS_BETWEEN_SENDS = 30.0


class LogFolder:
    """A local folder to write to. If the target is in a bucket, a thread sends the files that have changed.

    A killed process loses the content since its last send; the files in the bucket are complete. If a send fails, a warning is
    logged, and the next send tries again: a log is no reason to stop training.

    Args:
      target: Local or remote folder.
      append_to: Name of a file that is fetched from a remote target first, if it exists, so that it can be appended to.
      lock: Lock of the target; files are sent only while it is held.

    Attributes:
      local: The folder to write to. If it is a temporary one, `close` deletes it, unless a file could not be sent.
    """

    def __init__(self, target: epath.PathLike, append_to: str | None = None, lock: Lock | None = None):
        self._target, self._lock = epath.Path(target), lock or Lock()
        self._remote = paths.is_remote(target)
        self.local = epath.Path(tempfile.mkdtemp(prefix="stlight_log_")) if self._remote else self._target
        self._sent: dict[str, int] = {}
        self._sending, self._ended = threading.Lock(), threading.Event()
        if not self._remote:
            return
        if append_to is not None and append_to in bucket.files(target):
            content = paths.read_bytes(self._target / append_to)
            (self.local / append_to).write_bytes(content)
            self._sent[append_to] = len(content)
        self._thread = threading.Thread(target=self._send_regularly, name=f"sending to {target}", daemon=True)
        self._thread.start()

    def send(self) -> bool:
        """Sends the files that have grown since the last time; returns whether the target has all content now."""
        all_sent = True
        with self._sending:
            for name in paths.files_below(self.local) if self._remote else ():
                if self._sent.get(name) == os.path.getsize(self.local / name):
                    continue
                if self._lock.lost:
                    return False
                try:
                    content = (self.local / name).read_bytes()
                    bucket.filesystem().pipe_file(f"{self._target}/{name}", content)
                except Exception as error:
                    logging.warning("%s/%s could not be written, the next send tries again: %s", self._target, name, error)
                    all_sent = False
                else:
                    self._sent[name] = len(content)
        return all_sent

    def close(self) -> bool:
        """Sends the rest, and deletes the temporary folder; returns whether the target has all content now."""
        if not self._remote:
            return True
        self._ended.set()
        self._thread.join()
        all_sent = self.send()
        if all_sent:
            shutil.rmtree(self.local, ignore_errors=True)
        else:
            logging.warning("some of the files for %s could not be sent; they are kept in %s", self._target, self.local)
        return all_sent

    def _send_regularly(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_SENDS):
            self.send()
