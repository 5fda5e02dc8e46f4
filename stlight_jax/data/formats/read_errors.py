"""Errors of reading files: damage in one line."""

import contextlib
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


@contextlib.contextmanager
def read_errors(path: epath.PathLike, *more: type[Exception]) -> Iterator[None]:
    """Turns the exceptions that libraries raise for damaged files into InputError.

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
        raise InputError(f"{path} is damaged, or not what its name says: {one_line(error)}") from None
