"""Atomic output: files and folders that appear complete or not at all, and never replace the files of others."""

import contextlib
import json
import math
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.storage import bucket
from stlight_jax.storage.paths import is_remote, write_errors

_LIST = ".stlight_predicted"  # in an output folder: the names of its files, the only ones that may be replaced


def write_atomic(path: epath.PathLike, content: str | bytes) -> None:
    """Writes a file in one step: a reader finds the old content or the new one, on a disk as in a bucket.

    Raises:
      InputError: The disk is full or gone, or rights are missing.
      StlightError: The bucket does not answer.
    """
    content = content.encode() if isinstance(content, str) else content
    with write_errors(path):
        if is_remote(path):
            bucket.filesystem().pipe_file(os.fspath(path), content)
            return
        temporary = _hidden_name(pathlib.Path(path), "unfinished")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            _remove(temporary)


def write_json(path: epath.PathLike, content: Any) -> None:
    """Writes a JSON file in one step, with null for infinite values and NaN.

    Raises:
      InputError: The file cannot be written.
    """
    write_atomic(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Returns the content with None for infinity (the PSNR of an exact frame) and NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextlib.contextmanager
def atomic_output(path: pathlib.Path, *, replace: bool = True) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, and moves the file or folder written there to `path` after the block.

    If the block fails or is interrupted, the temporary output is deleted and the content of `path` stays.

    Args:
      path: Local file or folder.
      replace: Whether existing output may be replaced. A folder is replaced only if this function wrote all of its files.

    Raises:
      InputError: `path` cannot be written, or exists and must not be replaced.
    """
    temporary = _hidden_name(path, "unfinished")
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with write_errors(path):
            if temporary.is_dir():
                (temporary / _LIST).write_text("".join(f"{name}\n" for name in _files_below(temporary)), encoding="utf-8")
            if replace:
                _move_replacing(temporary, path)
            else:
                _move_to_free(temporary, path)
    finally:
        _remove(temporary)


def foreign_file_in(folder: pathlib.Path) -> str | None:
    """Returns the name of a file in a folder that `atomic_output` did not write there, None if it wrote all of them."""
    written = folder / _LIST
    ours = {_LIST, *written.read_text(encoding="utf-8", errors="replace").splitlines()} if written.is_file() else set()
    return next((name for name in _files_below(folder) if name not in ours), None)


def _move_to_free(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Moves a file or folder to `path` if nothing exists there, even if two processes do so at the same time."""
    try:
        if os.path.lexists(path):
            raise FileExistsError
        if not temporary.is_dir():  # `rename` does not replace a folder that has files
            try:
                os.link(temporary, path)
                return
            except FileExistsError:
                raise
            except OSError:  # not every file system has links
                path.touch(exist_ok=False)
    except FileExistsError:
        raise InputError(
            f"{path} was created by another process during this run and was not overwritten; choose another name"
        ) from None
    temporary.rename(path)


def _move_replacing(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Moves a file or folder to `path`, replacing an existing one.

    After an exception, `path` has the old content or the new one. Only if the process is killed between the two moves of a
    folder, `path` does not exist; the old folder is then beside it, with `.replaced` in its name.
    """
    if not path.is_dir():  # only a file can be replaced in one step
        temporary.replace(path)
        return
    replaced = _hidden_name(path, "replaced")
    try:
        path.rename(replaced)
        foreign = foreign_file_in(replaced)  # under its new name, where other processes do not add files
        if foreign is not None:
            raise InputError(
                f"{path} is a folder that contains {foreign}, which this program did not write; it was not replaced"
            )
        temporary.replace(path)
    except BaseException:
        if os.path.lexists(replaced) and not os.path.lexists(path):
            replaced.rename(path)
        raise
    _remove(replaced)


def _hidden_name(path: pathlib.Path, purpose: str) -> pathlib.Path:
    """Returns a hidden path beside `path` that no other process has, on any machine."""
    return path.with_name(f".{path.stem}.{purpose}-{uuid.uuid4().hex[:12]}{path.suffix}")


def _files_below(folder: pathlib.Path) -> list[str]:
    items = sorted(item for item in folder.rglob("*") if item.is_symlink() or not item.is_dir())
    return [item.relative_to(folder).as_posix() for item in items]


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # it was moved, or the disk is gone
            path.unlink()
