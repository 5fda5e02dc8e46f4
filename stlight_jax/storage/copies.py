"""Copies of data in a bucket, on this machine's disk, and uploads of prepared data.

array_record and memory maps read single frames from local files only. So files in a bucket are fetched once per machine,
checked, and read from the copy. Data are prepared on the disk and uploaded afterwards.
"""

import base64
import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import os
import pathlib
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from etils import epath
from rich import filesize

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import Progress
from stlight_jax.errors import InputError
from stlight_jax.storage import bucket, caches, paths
from stlight_jax.storage.atomic import atomic_output
from stlight_jax.storage.disk_space import check_space
from stlight_jax.storage.locks import locked

_PARALLEL_TRANSFERS = 4
_MIB = 2**20
_SHOWN_FROM = 10 * _MIB  # smaller transfers show no progress


def local_file(path: epath.PathLike) -> epath.Path:
    """Returns a local file with the content of `path`: the file itself, or a copy if it is in a bucket.

    Raises:
      FileNotFoundError: The file does not exist.
      InputError: The bucket cannot be reached, or the disk cannot hold the copy.
    """
    paths.connect(path)
    path = epath.Path(path)
    if not paths.is_remote(path):
        return path
    return _fetch(path.parent, path.name, lambda name: name == path.name) / path.name


def local_folder(folder: epath.PathLike, version_file: str, wanted: Callable[[str], bool] = lambda name: True) -> epath.Path:
    """Returns a local folder with the files of `folder`: the folder itself, or one with copies if it is in a bucket.

    Args:
      folder: Local or remote folder.
      version_file: Name of the file that is written anew whenever one of the files is.
      wanted: Returns whether a file is needed, by its name. The copy may lack the other files.

    Raises:
      FileNotFoundError: `version_file` does not exist.
      InputError: The bucket cannot be reached, or the disk cannot hold the copies.
    """
    paths.connect(folder)
    folder = epath.Path(folder)
    return _fetch(folder, version_file, wanted) if paths.is_remote(folder) else folder


def upload_folder(folder: pathlib.Path, target: epath.Path, last: str) -> None:
    """Copies the files of a local folder to a bucket, replacing the content of the target.

    Args:
      folder: Local folder.
      target: Remote folder.
      last: Name of the file that marks a complete folder; it is sent after all others.

    Raises:
      InputError: The bucket holds another content than was sent.
    """
    paths.remove_folder(target)  # the remains of a killed process
    files = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file() and path.name != last)
    try:
        size = sum(path.stat().st_size for path in files)
        _transfer(f"sending to {target}", size, (functools.partial(_send, path, target) for path in files))
        _check_arrived(files, target)
        _send(folder / last, target)
        _check_arrived([folder / last], target)
    except BaseException:
        paths.remove_folder(target)
        raise


def _send(path: pathlib.Path, target: epath.Path, callback: Any = None) -> None:
    bucket.filesystem().put_file(str(path), os.fspath(target / path.name), callback=callback)


def _check_arrived(files: Collection[pathlib.Path], target: epath.Path) -> None:
    found = bucket.files(target)
    for path in files:
        if _crc32c(path) != found.get(path.name, {}).get("crc32c"):
            raise InputError(f"{target / path.name} was damaged or lost on the way; run the command again")


def _fetch(folder: epath.Path, version_file: str, wanted: Callable[[str], bool]) -> epath.Path:
    """Returns the local folder for a version of a remote one, after fetching the wanted files that it lacks.

    One process of a machine fetches, the others wait for it.
    """
    found = bucket.files(folder)
    if version_file not in found:
        raise FileNotFoundError(f"{folder / version_file}: there is no such file")
    files = {name: properties for name, properties in found.items() if wanted(name)}
    key = hashlib.sha256(f"{folder} {found[version_file]['generation']}".encode()).hexdigest()[:16]
    name = re.sub(r"[^\w.-]", "_", f"{folder.parent.name}-{folder.name}")
    local = epath.Path(caches.folder() / "fetched" / f"{name}-{key}")
    if not _missing(local, files):
        return local
    paths.create_folder(local)
    with locked(local, f"{folder} is being fetched by process {{process}}", wait=True):
        for remains in local.glob(".*.unfinished-*"):  # of a killed process
            remains.unlink()
        missing = _missing(local, files)
        size = sum(files[name]["size"] for name in missing)
        remedy = "set the environment variable XDG_CACHE_HOME to a larger disk"
        check_space(local, size, f"the copy of {folder}", remedy)
        if size >= _SHOWN_FROM:
            print_message(f"fetching {folder} once, {filesize.decimal(size)}; the copy is kept in {local}")
        fetches = (functools.partial(_fetch_file, folder / name, local / name, files[name]) for name in missing)
        _transfer(f"fetching {folder}", size, fetches)
    return local


def _missing(local: epath.Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the names of files that have no copy of the right size. Copies get their names when they are checked."""
    return [
        name for name, file in files.items() if not (local / name).exists() or os.path.getsize(local / name) != file["size"]
    ]


def _fetch_file(path: epath.Path, local: epath.Path, properties: Mapping[str, Any], callback: Any) -> None:
    with atomic_output(pathlib.Path(local)) as temporary:
        bucket.filesystem().get_file(os.fspath(path), str(temporary), callback=callback)
        if os.path.getsize(temporary) != properties["size"] or _crc32c(temporary) != properties["crc32c"]:
            raise InputError(f"{path} was damaged on the way, or replaced during the transfer; run the command again")


def _crc32c(path: pathlib.Path) -> str:
    """Returns the checksum in the form of the bucket, which has no other one for some files."""
    import google_crc32c

    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(_MIB):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def _transfer(title: str, size: int, transfers: Iterable[Callable[..., None]]) -> None:
    """Runs transfers of files, several at a time, with a progress bar if the files are large; raises the first error.

    Args:
      title: Title of the progress bar.
      size: Bytes of all files together.
      transfers: Functions that transfer one file each, called with `callback=`.
    """
    from fsspec.callbacks import Callback  # only the packages for buckets need it

    done: collections.Counter[int] = collections.Counter()  # bytes of each file
    lock = threading.Lock()

    def count(number: int, _: int | None, sent: int) -> None:
        if progress is not None:
            with lock:
                done[number] = sent
                progress.advance(min(done.total(), size) // _MIB)

    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(title, size // _MIB, unit="MiB")) if size >= _SHOWN_FROM else None
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(_PARALLEL_TRANSFERS))
        running = [
            pool.submit(transfer, callback=Callback(hooks={"count": functools.partial(count, number)}))
            for number, transfer in enumerate(transfers)
        ]
        try:
            for finished in concurrent.futures.as_completed(running):
                finished.result()
        finally:
            pool.shutdown(cancel_futures=True)
