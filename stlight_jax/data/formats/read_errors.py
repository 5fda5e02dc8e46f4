"""Errors of reading files: damage in one line."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator

from etils import epath

from stlight_jax.errors import InputError

_DAMAGE: tuple[type[Exception], ...] = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


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
    except damage as error:
        raise InputError(f"{path} is damaged, or not what its name says: {error}") from None
