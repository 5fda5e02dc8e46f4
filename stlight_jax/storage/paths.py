"""Folders in a bucket of Google Cloud Storage, `gs://`: how they are reached, and what they do otherwise than a disk.

Objects have no folders, no end to append to, no other name to move to and no locks, but each is replaced as a whole. All
access is gcsfs's, and TensorStore's for the arrays of checkpoints. TensorFlow, which etils would take because it is
installed, has errors of its own and cannot be sent to another server to be tested.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging as python_logging
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from etils import epath

from stlight_jax.errors import InputError, StlightError
from stlight_jax.storage import paths

if TYPE_CHECKING:
    import fsspec

_PREFIX = "gs://"
_SECONDS_FOR_THE_FIRST_ANSWER = 15
# Whose errors are the network's, the account's or the bucket's, never those of what is stored there.
_CLIENTS = ("aiohttp.", "fsspec.", "gcsfs.", "google.api_core.", "google.auth.", "google.cloud.", "requests.", "urllib3.")


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path leads to a bucket, and not to this machine's disks."""
    return "://" in os.fspath(path)


def is_failure(error: BaseException) -> bool:
    """Whether an error is the network's or the bucket's. (A file that is not there is no failure.)"""
    if isinstance(error, FileNotFoundError | FileExistsError):
        return False
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # how gcsfs says that rights are missing
        return True
    return any(f"{kind.__module__}.".startswith(_CLIENTS) for kind in type(error).__mro__)


def ready(path: epath.PathLike, checkpoints: bool = False) -> None:
    """Makes a path usable, if it is a remote one, and tries its bucket once. To be called before anything is done with it.

    Args:
      checkpoints: whether Orbax will read or write there, which asks for more rights than reading data does.

    Raises InputError, within seconds, if the packages, the network, the credentials, the rights or the bucket are missing.
    """
    if not is_remote(path):
        return
    text = os.fspath(path)
    bucket = text.removeprefix(_PREFIX).partition("/")[0]
    if not text.startswith(_PREFIX) or not bucket:
        raise InputError(f"{text}: a remote folder is written gs://BUCKET/FOLDER; others are not supported")
    if set(text) & set("*?["):  # gcsfs would look for what fits them
        raise InputError(f"{text}: names in a bucket must be without *, ? and [")
    if importlib.util.find_spec("gcsfs") is None:
        raise InputError(f"{text}: gs:// paths need pip install -e '.[gcs]'")
    _use_gcsfs()
    _reached(bucket, checkpoints)


def filesystem() -> fsspec.AbstractFileSystem:
    """gcsfs, which sees what others have written meanwhile. For paths that are `ready`."""
    import fsspec

    return fsspec.filesystem("gs", use_listings_cache=False)


def folders(path: epath.PathLike) -> list[str]:
    """Names of the folders in a remote folder; none if it is not there.

    Unlike `epath.Path.is_dir`, which then says no, it raises what went wrong on the way.
    """
    return [_name(entry) for entry in _listed(path) if entry["type"] == "directory" and _name(entry)]


def files(path: epath.PathLike) -> dict[str, dict[str, Any]]:
    """{name: what the bucket says of it (size, crc32c, generation, ...)} of the files in a remote folder; none without it."""
    return {_name(entry): entry for entry in _listed(path) if entry["type"] == "file" and _name(entry)}


def all_files(path: epath.PathLike) -> list[str]:
    """Names, relative to a remote folder, of the files in it and in the folders below it."""
    start = os.fspath(path).removeprefix(_PREFIX).rstrip("/") + "/"
    found = filesystem().find(os.fspath(path))
    return [name.removeprefix(start) for name in found if name.startswith(start) and not name.endswith("/")]


def read_bytes(path: epath.PathLike) -> bytes:
    """All of a remote file, by one request."""
    return filesystem().cat_file(os.fspath(path))


def read_version(path: epath.PathLike) -> tuple[bytes, int]:
    """All of a remote file, and which version of it that is."""
    headers, content = filesystem().call("GET", "b/{}/o/{}", *_bucket_and_name(path), alt="media")
    return content, int(headers["x-goog-generation"])


def replace_version(path: epath.PathLike, content: bytes, version: int) -> int:
    """Writes a remote file in the place of one version of it, or of none, 0, and returns the new one.

    Raises FileExistsError if another version is there, or none: somebody else was faster, or the bucket had written this
    already when the answer was lost.
    """
    bucket, name = _bucket_and_name(path)
    service = filesystem()
    where = f"{service.base.replace('/storage/v1/', '/upload/storage/v1/')}b/{{}}/o"
    about = {"uploadType": "media", "name": name, "ifGenerationMatch": str(version)}
    return int(service.call("POST", where, bucket, data=content, json_out=True, **about)["generation"])


def delete_version(path: epath.PathLike, version: int) -> None:
    """Deletes a remote file. Raises FileExistsError if another version is there, FileNotFoundError if none is."""
    filesystem().call("DELETE", "b/{}/o/{}", *_bucket_and_name(path), ifGenerationMatch=str(version))


def write_at_once(path: epath.Path, content: str | bytes) -> None:
    """Writes a file such that a reader sees the old one or the new one, on any disk or in a bucket."""
    content = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        filesystem().pipe_file(os.fspath(path), content)
        return
    temporary = path.parent / f"{path.name}.tmp"
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writing(path: epath.PathLike) -> Iterator[None]:
    """Turns what a full or vanished disk does to the block into an InputError that names `path`.

    What a bucket does, which may be over in an hour, becomes a StlightError.
    """
    try:
        yield
    except Exception as error:
        if is_failure(error):
            raise StlightError(f"{path} could not be written: {_one_line(error)}") from error
        if isinstance(error, OSError):
            raise InputError(f"{path} could not be written: {error}") from error
        raise


def move_folder(path: epath.Path, target: epath.Path) -> None:
    """Moves a folder to a place where there is none. In a bucket every file is copied there first, and deleted here then."""
    if not is_remote(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return
    bucket = filesystem()
    for name in all_files(path):
        bucket.cp_file(os.fspath(path / name), os.fspath(target / name))
    remove_folder(path)


def remove_folder(path: epath.Path) -> None:
    """Deletes all that is in a remote folder, if there is anything."""
    names = all_files(path)
    if names:
        filesystem().rm([os.fspath(path / name) for name in names])


def _bucket_and_name(path: epath.PathLike) -> tuple[str, str]:
    bucket, _, name = os.fspath(path).removeprefix(_PREFIX).partition("/")
    return bucket, name


def _listed(path: epath.PathLike) -> list[dict[str, Any]]:
    start = os.fspath(path).removeprefix(_PREFIX).rstrip("/")
    try:
        found = filesystem().ls(start, detail=True)
    except FileNotFoundError:
        return []
    # Of a path that is a file, the listing is that file; tools that show folders mark them with objects of their names.
    return [entry for entry in found if entry["name"].rstrip("/") != start]


def _name(entry: dict[str, Any]) -> str:
    return entry["name"].rstrip("/").rpartition("/")[2]


@functools.cache
def _use_gcsfs() -> None:
    """For this process, and for Orbax, which goes through etils too."""
    os.environ["EPATH_USE_TF"] = "0"
    # Looked up at the first use of any path, and kept.
    forget = getattr(getattr(epath.gpath, "_is_tf_installed", None), "cache_clear", None)
    if forget is not None:
        forget()
    # Asks every bucket for its kind, over another protocol, and waits a minute for the answer.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec

    # What TensorStore and other processes write is not seen in listings that are kept.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    python_logging.getLogger("gcsfs").setLevel(python_logging.CRITICAL)  # shows tracebacks of what is told in one line
    python_logging.getLogger("google.auth").setLevel(python_logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(gcsfs|google)(\.|$)")


@functools.cache
def _reached(bucket: str, checkpoints: bool) -> None:
    """Raises InputError if a bucket cannot be listed or, for checkpoints, be asked for its properties, as Orbax does."""
    import google.api_core.exceptions
    import google.auth.exceptions
    from google.cloud import storage

    where, once = f"{_PREFIX}{bucket}", {"retry": None, "timeout": _SECONDS_FOR_THE_FIRST_ANSWER}
    hint = "the account needs the roles Storage Object Admin and Storage Legacy Bucket Reader on it, or less for data only"
    try:
        try:
            # Only Orbax asks for a project, and would end the run for want of one.
            client = storage.Client() if checkpoints else storage.Client(project="-")
        except google.auth.exceptions.DefaultCredentialsError:
            hint = "no Google credentials were found: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
            if checkpoints:
                raise InputError(f"{where}: {hint}") from None
            client = storage.Client.create_anonymous_client()  # some data are everybody's
        next(iter(client.list_blobs(bucket, max_results=1, **once)), None)
        if checkpoints:
            client.get_bucket(bucket, **once)
    except google.api_core.exceptions.NotFound:
        raise InputError(f"{where}: there is no such bucket") from None
    except (google.api_core.exceptions.Forbidden, google.api_core.exceptions.Unauthorized) as error:
        raise InputError(f"{where} cannot be used ({_one_line(error)}); {hint}") from None
    except (google.api_core.exceptions.GoogleAPIError, google.auth.exceptions.GoogleAuthError, OSError) as error:
        raise InputError(f"{where} cannot be reached: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."


def make_writable(folder: epath.Path) -> None:
    """Makes a folder and tries it, before hours of work are to be written there. Raises InputError if that fails."""
    paths.ready(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; a folder is wanted")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_text("")
        probe.unlink(missing_ok=True)  # another machine's process may have the same number
    except Exception as error:
        if not isinstance(error, OSError) and not paths.is_failure(error):
            raise
        raise InputError(f"{folder} cannot be written to: {error}") from None
