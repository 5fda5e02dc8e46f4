"""Files and folders that appear whole or not at all, and take the place of nothing that is not theirs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from stlight_jax.errors import InputError

_LIST = ".stlight_predicted"  # in folders: the names of what was written there, which is all that may be replaced


@contextlib.contextmanager
def finished(path: pathlib.Path, *, replace: bool = True) -> Iterator[pathlib.Path]:
    """Gives another name beside `path` to write to, and moves what is there to its place when the block is done.

    A failed or interrupted block leaves nothing, and what was at `path` before stays.

    Raises InputError for disks that cannot be written to, and if something is at `path` that is not to be replaced: anything
    without `replace`, a folder with files in it that did not come from here with it.
    """
    temporary = _beside(path, "unfinished")
    try:
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with named(path):
            if temporary.is_dir():
                (temporary / _LIST).write_text("".join(f"{name}\n" for name in _files_below(temporary)), encoding="utf-8")
            if replace:
                _put(temporary, path)
            else:
                _put_first(temporary, path)
    finally:
        _remove(temporary)


def foreign_in(folder: pathlib.Path) -> str | None:
    """A file in a folder that was not written with it."""
    kept = folder / _LIST
    ours = {_LIST, *kept.read_text(encoding="utf-8", errors="replace").splitlines()} if kept.is_file() else set()
    return next((name for name in _files_below(folder) if name not in ours), None)


@contextlib.contextmanager
def named(path: pathlib.Path) -> Iterator[None]:
    """Turns what full disks and missing rights raise into InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError) as error:  # netCDF4 raises the latter
        raise InputError(f"{path} could not be written: {error}") from None


def _put_first(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Moves a finished file or folder to its place if nothing is there, be it that two processes come to it at once."""
    meanwhile = InputError(f"{path} has come to be there meanwhile, from somewhere else; it stays as it is")
    if os.path.lexists(path):
        raise meanwhile
    if not temporary.is_dir():  # nor does a folder take the place of one in which there is something
        try:
            os.link(temporary, path)
            return
        except FileExistsError:
            raise meanwhile from None
        except OSError:  # not every file system has links
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                raise meanwhile from None
    temporary.rename(path)


def _put(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Moves a finished file or folder to its place.

    There is the old content or the new whatever is raised on the way. Only a process killed between the two moves of a folder
    leaves neither: the old one is beside it then, its name with `.replaced` in it.
    """
    if not path.is_dir():  # only a file takes another's place in one step
        temporary.replace(path)
        return
    replaced = _beside(path, "replaced")
    try:
        path.rename(replaced)
        foreign = foreign_in(replaced)  # looked for where nobody who knows the folder's name can add to it any more
        if foreign is not None:
            raise InputError(f"{path} is a folder with {foreign} in it, which has come there meanwhile; it stays as it is")
        temporary.replace(path)
    except BaseException:
        if os.path.lexists(replaced) and not os.path.lexists(path):
            replaced.rename(path)
        raise
    _remove(replaced)


def _beside(path: pathlib.Path, what: str) -> pathlib.Path:
    """A hidden name that nobody else has, be it on another machine."""
    return path.with_name(f".{path.stem}.{what}-{uuid.uuid4().hex[:12]}{path.suffix}")


def _files_below(folder: pathlib.Path) -> list[str]:
    items = sorted(item for item in folder.rglob("*") if item.is_symlink() or not item.is_dir())
    return [item.relative_to(folder).as_posix() for item in items]


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # what could not be made is not there, and the disk may be gone
            path.unlink()
