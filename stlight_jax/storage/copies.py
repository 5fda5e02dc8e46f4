"""Copies of data in a bucket, on this machine's disk.

array_record and memory maps read from local files only, a frame here and a frame there. So what is in a bucket is fetched
once per machine, checked, and read from there; and data are prepared on the disk and sent then.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from etils import epath

from stlight_jax.console.messages import say
from stlight_jax.console.progress import Progress
from stlight_jax.errors import InputError
from stlight_jax.storage import caches, paths
from stlight_jax.storage.locks import locked
from stlight_jax.storage.paths import make_writable

if TYPE_CHECKING:
    from fsspec.callbacks import Callback

_AT_ONCE = 4
_MIB = 2**20
_WORTH_A_LINE = 10 * _MIB


def local_file(path: epath.PathLike) -> epath.Path:
    """A file as one on this machine's disk: itself, or a copy if it is in a bucket.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: it cannot be reached, or cannot be kept here.
    """
    paths.ready(path)
    path = epath.Path(path)
    if not paths.is_remote(path):
        return path
    there = paths.files(path.parent)
    if path.name not in there:
        raise FileNotFoundError(f"{path}: there is no such file")
    return _fetch(path.parent, {path.name: there[path.name]}, str(there[path.name]["generation"])) / path.name


def local_folder(folder: epath.Path, version: str, wanted: Callable[[str], bool] = lambda name: True) -> epath.Path:
    """A folder as one on this machine's disk: itself, or one with copies of its files if it is in a bucket.

    Args:
      version: name of the file that is written anew whenever any of them is.
      wanted: which files are needed, by name. Others may be missing in the copy.

    Raises as `local_file`.
    """
    if not paths.is_remote(folder):
        return folder
    paths.ready(folder)
    there = paths.files(folder)
    if version not in there:
        raise FileNotFoundError(f"{folder / version}: there is no such file")
    return _fetch(folder, {name: file for name, file in there.items() if wanted(name)}, str(there[version]["generation"]))


def send(folder: pathlib.Path, target: epath.Path, last: str) -> None:
    """Copies the files of a local folder to a bucket, in the place of what is there, and `last` when all others are there.

    Raises InputError if something arrives other than it was.
    """
    paths.remove_folder(target)  # of a process that was killed
    files = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file() and path.name != last)
    bucket = paths.filesystem()

    def put(path: pathlib.Path, counted: Callback) -> None:
        bucket.put_file(str(path), os.fspath(target / path.name), callback=counted)

    try:
        with _shown(f"sending to {target}", sum(path.stat().st_size for path in files)) as counted:
            _all_of([functools.partial(put, path, counted()) for path in files])
        _check_arrived(files, target)
        bucket.put_file(os.path.join(folder, last), os.fspath(target / last))
        _check_arrived([pathlib.Path(folder, last)], target)
    except BaseException:
        paths.remove_folder(target)
        raise


def _check_arrived(files: Collection[pathlib.Path], target: epath.Path) -> None:
    there = paths.files(target)
    for path in files:
        if _crc32c(path) != there.get(path.name, {}).get("crc32c"):
            raise InputError(f"{target / path.name} was damaged or lost on the way; do this again")


def _fetch(folder: epath.Path, files: dict[str, dict[str, Any]], version: str) -> epath.Path:
    """Brings those of the files that are not here yet into a folder of their own, and returns it.

    Processes of one machine take turns, so that one of them does it.
    """
    key = hashlib.sha256(f"{folder} {version}".encode()).hexdigest()[:16]
    name = re.sub(r"[^\w.-]", "_", f"{folder.parent.name}-{folder.name}")
    here = epath.Path(caches.folder() / "fetched" / f"{name}-{key}")
    if not _missing(here, files):
        return here
    make_writable(here)
    with locked(here, f"{folder} is being fetched by process {{process}}", wait=True):
        missing = _missing(here, files)
        size = sum(files[name]["size"] for name in missing)
        free = shutil.disk_usage(here).free
        if size > free:
            raise InputError(
                f"{folder}: {size / _MIB:,.0f} MiB are to be kept in {here}, and {free / _MIB:,.0f} are free there; the "
                "environment variable XDG_CACHE_HOME moves it"
            )
        if size >= _WORTH_A_LINE:
            say(f"fetching {folder} once, {size / _MIB:,.0f} MiB; the copy is kept in {here}")
        with _shown(f"fetching {folder}", size) as counted:
            _all_of([functools.partial(_bring, folder / name, here / name, files[name], counted()) for name in missing])
    return here


def _missing(here: epath.Path, files: dict[str, dict[str, Any]]) -> list[str]:
    """A copy has its name when it is whole and checked."""
    return [name for name, file in files.items() if not (here / name).exists() or os.path.getsize(here / name) != file["size"]]


def _bring(path: epath.Path, here: epath.Path, file: dict[str, Any], counted: Callback) -> None:
    unfinished = f"{here}.unfinished"
    paths.filesystem().get_file(os.fspath(path), unfinished, callback=counted)
    if os.path.getsize(unfinished) != file["size"] or _crc32c(pathlib.Path(unfinished)) != file["crc32c"]:
        os.unlink(unfinished)
        raise InputError(f"{path} was damaged on the way, or written anew meanwhile; do this again")
    os.replace(unfinished, here)


def _crc32c(path: pathlib.Path) -> str:
    """As the bucket says it of its files; of some it knows no other checksum."""
    import google_crc32c

    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(_MIB):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def _all_of(tasks: Collection[Callable[[], None]]) -> None:
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for task in concurrent.futures.as_completed(running):
                task.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _shown(title: str, size: int) -> Iterator[Callable[[], Callback]]:
    """Shows how many MiB are done, if they are many; gives what makes a counter for a file."""
    from fsspec.callbacks import Callback  # comes with the packages for buckets only

    if size < _WORTH_A_LINE:
        yield Callback
        return
    lock, done = threading.Lock(), 0
    with Progress(title, size // _MIB, unit="MiB") as progress:

        def of_a_file() -> Callback:
            before = 0

            def count(_: int | None, now: int) -> None:
                nonlocal before, done
                with lock:
                    done, before = done + now - before, now
                    progress.advance(min(done, size) // _MIB)

            return Callback(hooks={"count": count})

        yield of_a_file
