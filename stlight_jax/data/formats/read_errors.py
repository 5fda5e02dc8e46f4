"""Errors of reading files in one line: damage, and files that cannot be opened."""

import contextlib
import itertools
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from etils import epath

from stlight_jax.console.messages import one_line
from stlight_jax.data.formats.file_contents import is_locked
from stlight_jax.errors import InputError

_DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_MAX_FOLDERS = 10**4  # of one array that is a folder; each is listed


@contextlib.contextmanager
def read_errors(path: epath.PathLike, *more: type[Exception]) -> Iterator[None]:
    """Turns the exceptions that libraries raise for files that are damaged, or cannot be opened, into InputError.

    Args:
      path: the file, for the message.
      *more: further exceptions of the library that reads the file.

    Raises:
      InputError: the block raised one of the exceptions.
    """
    damage = _DAMAGE + more
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} is damaged, or needs more memory than this machine has: {one_line(error)}") from None
    except damage as error:
        if is_locked(path) or "unable to lock file" in str(error):
            raise InputError(
                f"{path} is locked: another program is writing it, or its disk has no locks; close that program or copy the "
                "file, or for a disk without locks set HDF5_USE_FILE_LOCKING=FALSE"
            ) from None
        name = getattr(error, "filename", None) or path
        if isinstance(error, PermissionError):
            raise InputError(
                f"{name} cannot be read: permission denied; get the right to read it, e.g. with chmod -R u+rX"
            ) from None
        if isinstance(error, FileNotFoundError) and name is not path:
            raise InputError(f"{name}: no such file or folder") from None
        raise InputError(f"{path} is damaged, or not what its name says: {one_line(error)}") from None


def require_readable(path: epath.PathLike) -> None:
    """Checks that a file, or a folder with its subfolders, can be opened. Libraries leave out a folder that they cannot list.

    Raises:
      InputError: it does not exist, rights are missing, or it is neither a file nor a folder.
    """
    with read_errors(path):
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            open(path, "rb").close()
        elif stat.S_ISDIR(mode):
            for _ in itertools.islice(os.walk(path, onerror=refuse), _MAX_FOLDERS):
                pass
        else:
            raise InputError(f"{path} is a pipe or a device, which cannot be read twice; save its content to a file")


def refuse(error: OSError) -> None:
    """Raises the error of listing a folder, which `os.walk` passes on, as InputError."""
    with read_errors(error.filename):
        raise error
