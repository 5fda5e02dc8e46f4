"""Files that grow, of a folder in a bucket: written on this machine's disk, and sent there whole now and then."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading

from absl import logging
from etils import epath

from stlight_jax.storage import paths
from stlight_jax.storage.lease import Lock

_SECONDS_BETWEEN = 30.0


class Mirror:
    """A temporary folder whose files are sent to a remote one whenever they have changed, by a thread of its own.

    A process that is killed loses what came after the last sending; what was sent is whole. A sending that fails is
    reported and tried again with the next one: a log is no reason to stop training.

    Args:
      target: the remote folder.
      known: name of a file that is fetched from there first, if it is there.
      lock: of the remote folder; nothing is sent when it is lost.

    Attributes:
      folder: the local one; it is gone after `close`, unless something in it could not be sent.
    """

    def __init__(self, target: epath.Path, known: str, lock: Lock):
        self._target, self._lock = target, lock
        self.folder = epath.Path(tempfile.mkdtemp(prefix="stlight_log_"))
        self._sent: dict[str, int] = {}
        self._sending, self._ended = threading.Lock(), threading.Event()
        if known in paths.files(target):
            (self.folder / known).write_bytes(paths.read_bytes(target / known))
            self._sent[known] = self._size(known)
        self._thread = threading.Thread(target=self._send_now_and_then, name=f"sending to {target}", daemon=True)
        self._thread.start()

    def send(self) -> bool:
        """Sends what has grown since the last time, and returns when that is done: whether everything is there now."""
        all_sent = True
        with self._sending:
            for name in self._names():
                size = self._size(name)
                if self._sent.get(name) == size:
                    continue
                if self._lock.lost:
                    return False
                try:
                    content = (self.folder / name).read_bytes()
                    paths.filesystem().pipe_file(os.fspath(self._target / name), content)
                except Exception as error:
                    logging.warning("%s could not be written, and will be later: %s", self._target / name, error)
                    all_sent = False
                else:
                    self._sent[name] = len(content)
        return all_sent

    def close(self) -> None:
        """Sends what is left, and removes the local folder if all of it is there."""
        self._ended.set()
        self._thread.join()
        if self.send():
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            logging.warning("not all of the log is in %s; it is kept in %s", self._target, self.folder)

    def _send_now_and_then(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN):
            self.send()

    def _names(self) -> list[str]:
        found = [os.path.join(where, name) for where, _, names in os.walk(self.folder) for name in names]
        return sorted(os.path.relpath(path, self.folder) for path in found)

    def _size(self, name: str) -> int:
        return os.path.getsize(self.folder / name)
