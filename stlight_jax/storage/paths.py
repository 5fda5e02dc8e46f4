"""One interface to local folders and folders in buckets (`gs://`).

Most operations of `etils.epath.Path` work for both. This module has the other ones; its callers need not distinguish.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from etils import epath

from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError, StlightError
from stlight_jax.storage import bucket
from stlight_jax.storage.bucket import is_bucket_error as is_bucket_error  # the interface of other packages


def is_remote(path: epath.PathLike) -> bool:
    """Returns whether a path leads to a bucket. Only this package distinguishes."""
    return "://" in os.fspath(path)


def require_local(path: epath.PathLike, message: str) -> None:
    """Refuses a path that leads to a bucket.

    Args:
      path: Local or remote path.
      message: Message of the error.

    Raises:
      InputError: The path leads to a bucket.
    """
    if is_remote(path):
        raise InputError(message)


def connect(path: epath.PathLike, checkpoints: bool = False) -> None:
    """Connects to the bucket of a remote path, and does nothing for a local one. Call it before the first access to a path.

    Args:
      path: Local or remote path.
      checkpoints: Whether Orbax will read or write there, which needs more rights than reading data does.

    Raises:
      InputError: Within seconds, if the packages, the network, the credentials, the rights or the bucket are missing.
    """
    if is_remote(path):
        bucket.connect(path, checkpoints)


@contextlib.contextmanager
def write_errors(path: epath.PathLike, *also: type[Exception]) -> Iterator[None]:
    """Names `path` in the errors that a write in the block raises.

    Args:
      path: The file or folder that is written.
      also: Exceptions with which a library reports the errors of a disk, beside OSError.

    Raises:
      InputError: The disk is full or gone, or rights are missing.
      StlightError: The bucket does not answer, which may be over in an hour.
    """
    try:
        yield
    except StlightError:
        raise
    except Exception as error:
        if is_bucket_error(error):
            raise StlightError(f"{path} could not be written: {one_line(error)}") from error
        if isinstance(error, (OSError, *also)):
            raise InputError(f"{path} could not be written: {one_line(error)}") from error
        raise


def create_folder(folder: epath.PathLike) -> None:
    """Creates a folder and writes a file to it as a test, before hours of work depend on it.

    Raises:
      InputError: The folder cannot be created or written to.
    """
    connect(folder)
    folder = epath.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_text("")
        probe.unlink(missing_ok=True)  # a process of the same number on another machine may have deleted it
    except Exception as error:
        if not isinstance(error, OSError) and not is_bucket_error(error):
            raise
        if isinstance(error, PermissionError):
            raise InputError(f"{folder} cannot be written to: permission denied; choose another folder") from None
        raise InputError(f"{folder} cannot be written to: {one_line(error)}") from None


def folder_exists(path: epath.PathLike) -> bool:
    """Returns whether files can be written to a folder without creating it; always True in a bucket, which has no folders."""
    return is_remote(path) or epath.Path(path).is_dir()


def folders_in(path: epath.PathLike) -> list[str]:
    """Returns the names of the folders in a folder, none if it does not exist."""
    if is_remote(path):
        return bucket.folders(path)
    path = epath.Path(path)
    return [item.name for item in path.iterdir() if item.is_dir()] if path.exists() else []


def files_below(path: epath.PathLike) -> list[str]:
    """Returns the names, relative to a folder, of all files in it and in its subfolders."""
    if is_remote(path):
        return bucket.files_below(path)
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    return sorted(os.path.relpath(name, path) for name in found)


def read_bytes(path: epath.PathLike) -> bytes:
    """Returns the content of a file; in a bucket, with one request."""
    return bucket.filesystem().cat_file(os.fspath(path)) if is_remote(path) else pathlib.Path(path).read_bytes()


def move_folder(path: epath.PathLike, target: epath.PathLike) -> None:
    """Moves a folder to a path that does not exist. In a bucket, every file is copied and then deleted."""
    if is_remote(path):
        bucket.move_folder(path, target)
        return
    target = epath.Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    epath.Path(path).rename(target)


def remove_folder(path: epath.PathLike) -> None:
    """Deletes a folder with its content, if it exists."""
    if is_remote(path):
        bucket.remove_folder(path)
    elif os.path.exists(path):
        shutil.rmtree(path)
