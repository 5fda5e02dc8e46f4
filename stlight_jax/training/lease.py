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

from stlight_jax import remote
from stlight_jax.errors import InputError
from stlight_jax.progress import say

_BEAT_SECONDS = 10.0
_STALE_SECONDS = 35.0
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
_held_here: set[str] = set()


@contextlib.contextmanager
def held(folder: epath.Path, message: str, wait: bool = False) -> Iterator[None]:
    """Keeps a second process out of a remote folder while the block runs. Arguments and errors as `workdir.locked`'s.

    A process that was killed leaves its lock behind; the next one takes it over when it has seen it unchanged for a while,
    or at once if that process was on the same machine.
    """
    path = folder / ".lock"
    ours = {"process": os.getpid(), "host": socket.gethostname(), **_machine(), "id": uuid.uuid4().hex}
    _take(path, ours, message, wait)
    _held_here.add(ours["id"])
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, ours, ended), name=f"lock of {folder}", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        _held_here.discard(ours["id"])
        try:
            if _is_of(_owner(path), ours):
                path.unlink(missing_ok=True)
        except Exception as error:
            logging.warning("%s could not be deleted: %s", path, error)


def _take(path: epath.Path, ours: dict, message: str, wait: bool) -> None:
    told = False
    while True:
        try:
            remote.filesystem().pipe_file(os.fspath(path), _content(ours, 0), mode="create")
            return
        except FileExistsError:
            pass
        theirs = _owner(path)
        if theirs is None:  # given back this moment
            time.sleep(0.1)
            continue
        who = f"{theirs.get('process', 'unknown')} on {theirs.get('host', 'an unknown machine')}"
        said = message.replace("{process}", who)
        if not _is_dead(theirs):
            if not told:
                say(f"{said}, or did a moment ago; looking whether it still does ...")
                told = True
            changed = _changed(path, theirs)
            if changed and not wait:
                raise InputError(f"{said}; wait for it, or name another folder")
            if changed:
                continue
        logging.warning("process %s ended without a word; its lock on %s is taken over", who, path.parent)
        # Of several that take it over at once, the last one to write has it.
        remote.filesystem().pipe_file(os.fspath(path), _content(ours, 0))
        time.sleep(_BEAT_SECONDS / 5)
        if _is_of(_owner(path), ours):
            return


def _changed(path: epath.Path, before: dict) -> bool:
    """Whether its owner is alive: the object changes, or goes, within the time in which a living one writes it."""
    deadline = time.monotonic() + _STALE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_BEAT_SECONDS / 10)
        if _owner(path) != before:
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


def _beat(path: epath.Path, ours: dict, ended: threading.Event) -> None:
    for beat in itertools.count(1):
        if ended.wait(_BEAT_SECONDS):
            return
        try:
            owner = _owner(path)
            if owner is not None and not _is_of(owner, ours):
                logging.error(
                    "process %s on %s has taken %s over; both write there now, end one of them",
                    owner.get("process"),
                    owner.get("host"),
                    path.parent,
                )
                return
            remote.filesystem().pipe_file(os.fspath(path), _content(ours, beat))
        except Exception as error:  # the network's, mostly; the run goes on, and so does this
            logging.warning("%s could not be written: %s", path, error)


def _content(owner: dict, beat: int) -> bytes:
    return json.dumps({**owner, "beat": beat}).encode()


def _owner(path: epath.Path) -> dict | None:
    """What the lock says; None if there is none."""
    try:
        found = json.loads(remote.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_of(owner: dict | None, ours: dict) -> bool:
    return owner is not None and owner.get("id") == ours["id"]
