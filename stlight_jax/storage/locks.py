"""Locks that keep a second process out of a folder, on local disks and in buckets.

On a disk, the operating system locks a file. In a bucket, the lock is an object `.lock` that its owner writes anew every few
seconds; a lock that does not change is stale, and another process takes it over.
"""

import contextlib
import itertools
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from absl import logging
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError, LockLostError
from stlight_jax.storage import bucket
from stlight_jax.storage.paths import is_remote, write_errors

if sys.platform != "win32":  # which has no advisory locks of this kind
    import fcntl

_BEAT_SECONDS = 10.0
_STALE_SECONDS = 35.0
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
_held_ids: set[str] = set()  # of the bucket locks of this process


class Lock:
    """The lock of a folder on a disk, which no other process can take over.

    Attributes:
      lost: Whether another process is known to have taken the lock over.
    """

    lost = False

    def check(self, refresh: bool = False) -> None:
        """Raises an error if another process has taken the folder over.

        Args:
          refresh: Whether to ask the bucket first. If it does not answer, the last known state counts.

        Raises:
          LockLostError: The lock is lost; this process must not write to the folder any more.
        """


@contextlib.contextmanager
def locked(folder: epath.PathLike, message: str, wait: bool = False) -> Iterator[Lock]:
    """Keeps a second process out of a folder during the block.

    A killed process leaves its lock in a bucket. The next one takes it over after `_STALE_SECONDS` without a change, or at
    once if the process ran on the same machine and in the same container. A process that was only paused or disconnected
    then finds its lock lost. It must not write any more, so call `lock.check()` before every write.

    Args:
      folder: Local or remote folder; must exist if it is local.
      message: The error if another process holds the lock; "{process}" in it is replaced by that process's number.
      wait: Whether to wait for the other process instead of raising the error.

    Raises:
      InputError: Another process holds the lock, and `wait` is False.
    """
    folder = epath.Path(folder)
    lock = _BucketLock(folder) if is_remote(folder) else Lock()
    with lock.held(message, wait) if isinstance(lock, _BucketLock) else _local_lock(folder, message, wait):
        yield lock


@contextlib.contextmanager
def _local_lock(folder: epath.Path, message: str, wait: bool) -> Iterator[None]:
    """Holds a lock of the operating system on the file `.lock` during the block; see `locked`."""
    if sys.platform == "win32":
        yield
        return
    with contextlib.ExitStack() as stack:
        with write_errors(folder / ".lock"):
            file = stack.enter_context(open(folder / ".lock", "a+"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            message = message.replace("{process}", file.read().strip() or "unknown")
            if not wait:
                raise InputError(f"{message}; wait for it, or name another folder") from None
            print_message(f"{message}; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            logging.warning("%s is not protected against a second process: its file system has no locks (%s)", folder, error)
        with contextlib.suppress(OSError):  # the number is for people; other writes will report a full disk
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


class _BucketLock(Lock):
    """The object `.lock`. Its owner replaces only the generation that it wrote itself, so that it notices a take-over."""

    def __init__(self, folder: epath.Path):
        self._folder = folder
        self._bucket, self._name = bucket.client_bucket(folder / ".lock")
        self._id = uuid.uuid4().hex
        self._content = {"process": os.getpid(), "host": socket.gethostname(), **_machine(), "id": self._id}
        self._beats = itertools.count()
        self._generation = 0
        self._reported = False
        self._beating = threading.Lock()

    def check(self, refresh: bool = False) -> None:
        """See `Lock`."""
        if refresh:
            self._beat()
        if self.lost:
            self._reported = True
            raise LockLostError(
                f"another run has taken {self._folder} over, or deleted its lock, while this one was paused or disconnected; "
                "this run ends, and all files there, earlier checkpoints included, stay as they are"
            )

    @contextlib.contextmanager
    def held(self, message: str, wait: bool) -> Iterator[None]:
        """See `locked`."""
        ended = threading.Event()
        beats = threading.Thread(target=self._beat_until, args=(ended,), name=f"lock of {self._folder}", daemon=True)
        with contextlib.ExitStack() as at_end:  # in reverse order
            _held_ids.add(self._id)
            at_end.callback(_held_ids.discard, self._id)
            self._take(message, wait)
            at_end.callback(self._release)
            beats.start()
            at_end.callback(beats.join)
            at_end.callback(ended.set)
            yield

    def _take(self, message: str, wait: bool) -> None:
        announced = False
        while not self._write(0):
            owner, generation = self._owner()
            if owner is None:  # released a moment ago
                time.sleep(0.1)
                continue
            process = f"{owner.get('process', 'unknown')} on {owner.get('host', 'an unknown machine')}"
            in_use = message.replace("{process}", process)
            if not _is_dead(owner):
                if not announced:
                    print_message(
                        f"{in_use}, or did a moment ago; waiting for up to {_STALE_SECONDS:.0f} s to see a change ..."
                    )
                    announced = True
                changed = self._changes(generation)
                if changed and not wait:
                    raise InputError(f"{in_use}; wait for it, or name another folder")
                if changed:
                    continue
            if self._write(generation):
                logging.warning("process %s ended without releasing its lock on %s, which is taken over", process, self._folder)
                return

    def _changes(self, generation: int) -> bool:
        """Returns whether the lock changes, or is deleted, within the time in which a living owner writes it anew."""
        deadline = time.monotonic() + _STALE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_BEAT_SECONDS / 10)
            if self._owner()[1] != generation:
                return True
        return False

    def _beat_until(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        with self._beating:
            try:
                self.lost = self.lost or not self._write(self._generation)
            except Exception as error:  # mostly of the network; the run continues, and so do the beats
                logging.warning("%s/.lock could not be written: %s", self._folder, error)

    def _release(self) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        if self.lost:
            if not self._reported:
                logging.error("another process has taken %s over, or deleted its lock, during this run", self._folder)
            return
        try:
            self._bucket.blob(self._name).delete(if_generation_match=self._generation)
        except (NotFound, PreconditionFailed):
            pass  # another process owns it
        except Exception as error:
            logging.warning("%s/.lock could not be deleted: %s", self._folder, error)

    def _write(self, generation: int) -> bool:
        """Replaces one generation of the lock, or none if 0; returns whether this process owns the lock now."""
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._name)
        content = json.dumps({**self._content, "beat": next(self._beats)})
        try:
            blob.upload_from_string(content, "application/json", if_generation_match=generation)
            self._generation = blob.generation
        except PreconditionFailed:
            owner, found = self._owner()
            if owner is None or owner.get("id") != self._id:
                return False
            self._generation = found  # it was written, but the answer was lost
        return True

    def _owner(self) -> tuple[dict[str, Any] | None, int]:
        """Returns the content of the lock, None if it does not exist, and its generation."""
        from google.api_core.exceptions import NotFound

        while (blob := self._bucket.get_blob(self._name)) is not None:
            try:
                found = json.loads(blob.download_as_bytes())
            except NotFound:  # replaced meanwhile
                continue
            except ValueError:
                found = {}
            return found if isinstance(found, dict) else {}, blob.generation
        return None, 0


def _machine() -> dict[str, str]:
    """Returns identifiers of this machine and this container, which a host name alone does not give; {} if unknown."""
    try:
        return {"boot": _BOOT_ID.read_text().strip(), "processes": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {}


def _is_dead(owner: dict[str, Any]) -> bool:
    """Returns whether a lock's process is known to have ended. Only processes of this machine and container are known."""
    machine, process = _machine(), owner.get("process")
    if not machine or not isinstance(process, int) or not {"host": socket.gethostname(), **machine}.items() <= owner.items():
        return False
    if process == os.getpid():
        return owner.get("id") not in _held_ids
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False
