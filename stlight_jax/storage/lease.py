"""A lock for folders in a bucket: an object that its owner keeps writing anew, and that counts for nothing once it does not."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator

from absl import logging
from etils import epath

from stlight_jax.console.messages import say
from stlight_jax.errors import InputError, TakenOverError
from stlight_jax.storage import paths

_BEAT_SECONDS = 10.0
_STALE_SECONDS = 35.0
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
_held_here: set[str] = set()


class Lock:
    """Of a folder on a disk, which nobody can take over."""

    lost = False

    def check(self, ask: bool = False) -> None:
        """Raises TakenOverError if another process has taken the folder over, as far as is known, or as the bucket says now.

        Args:
          ask: the bucket. If it does not answer, what is known counts.
        """


@contextlib.contextmanager
def held(folder: epath.Path, message: str, wait: bool = False) -> Iterator[Lock]:
    """Keeps a second process out of a remote folder while the block runs. Arguments and errors as `workdir.locked`'s.

    A process that was killed leaves its lock behind; the next one takes it over when it has seen it unchanged for a while,
    or at once if that process was on the same machine, and in the same container if any. One that was not dead, only stopped
    or cut off for so long, finds its lock lost when it is back, and must write no more: the block is to `check` the lock.
    """
    path = folder / ".lock"
    lease = _Lease(path)
    _held_here.add(lease.id)
    lease.take(message, wait)
    ended = threading.Event()
    beating = threading.Thread(target=lease.beat_until, args=(ended,), name=f"lock of {folder}", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        ended.set()
        beating.join()
        _held_here.discard(lease.id)
        lease.give_back()


class _Lease(Lock):
    """The object, and the version of it that is ours: nobody writes in the place of one that he has not seen."""

    def __init__(self, path: epath.Path):
        self.id = uuid.uuid4().hex
        self._path = path
        self._ours = {"process": os.getpid(), "host": socket.gethostname(), **_machine(), "id": self.id}
        self._beats = itertools.count()
        self._version = 0
        self._told = False
        self._in_turn = threading.Lock()

    def check(self, ask: bool = False) -> None:
        if ask:
            self._beat()
        if self.lost:
            self._told = True
            raise TakenOverError(
                f"another run has taken {self._path.parent} over, or deleted its lock, while this one was stopped or cut off; "
                "this one ends, and what is there, earlier checkpoints too, stays as it is"
            )

    def take(self, message: str, wait: bool) -> None:
        told = False
        while True:
            if self._write(0):
                return
            theirs, version = _owner(self._path)
            if theirs is None:  # given back this moment
                time.sleep(0.1)
                continue
            who = f"{theirs.get('process', 'unknown')} on {theirs.get('host', 'an unknown machine')}"
            said = message.replace("{process}", who)
            if not _is_dead(theirs):
                if not told:
                    say(f"{said}, or did a moment ago; looking whether it still does ...")
                    told = True
                changed = _changed(self._path, version)
                if changed and not wait:
                    raise InputError(f"{said}; wait for it, or name another folder")
                if changed:
                    continue
            if self._write(version):
                logging.warning("process %s ended without a word; its lock on %s is taken over", who, self._path.parent)
                return

    def beat_until(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT_SECONDS):
            self._beat()

    def give_back(self) -> None:
        if self.lost:
            if not self._told:
                logging.error("another process has taken %s over, or deleted its lock, meanwhile", self._path.parent)
            return
        try:
            paths.delete_version(self._path, self._version)
        except (FileExistsError, FileNotFoundError):
            pass  # it is another's
        except Exception as error:
            logging.warning("%s could not be deleted: %s", self._path, error)

    def _beat(self) -> None:
        with self._in_turn:
            try:
                self.lost = self.lost or not self._write(self._version)
            except Exception as error:  # the network's, mostly; the run goes on, and so does this
                logging.warning("%s could not be written: %s", self._path, error)

    def _write(self, version: int) -> bool:
        """Whether it is ours now, after having been that version."""
        content = json.dumps({**self._ours, "beat": next(self._beats)}).encode()
        try:
            self._version = paths.replace_version(self._path, content, version)
        except FileExistsError:
            owner, found = _owner(self._path)
            if owner is None or owner.get("id") != self.id:
                return False
            self._version = found  # was written, only the answer was lost
        return True


def _changed(path: epath.Path, before: int) -> bool:
    """Whether its owner is alive: the object changes, or goes, within the time in which a living one writes it."""
    deadline = time.monotonic() + _STALE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_BEAT_SECONDS / 10)
        if _owner(path)[1] != before:
            return True
    return False


def _machine() -> dict[str, str]:
    """What tells machines, and containers in which processes are numbered anew, apart that have one name. Empty if unknown."""
    try:
        return {"boot": _BOOT_ID.read_text().strip(), "processes": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {}


def _is_dead(owner: dict) -> bool:
    """Whether its process is known to be gone. (Only that of this machine and container can be looked for.)"""
    here = _machine()
    if not here or any(owner.get(name) != value for name, value in {"host": socket.gethostname(), **here}.items()):
        return False
    if not isinstance(owner.get("process"), int):
        return False
    if owner["process"] == os.getpid():
        return owner.get("id") not in _held_here
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _owner(path: epath.Path) -> tuple[dict | None, int]:
    """What the lock says, None if there is none, and its version."""
    try:
        content, version = paths.read_version(path)
    except FileNotFoundError:
        return None, 0
    try:
        found = json.loads(content)
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}, version
