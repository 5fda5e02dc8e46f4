"""Buckets of Google Cloud Storage, `gs://`, as far as they differ from disks.

Objects have no folders, no end to append to, no other name to move to and no locks, but each is replaced as a whole. gcsfs
makes all access, TensorStore that to the arrays of checkpoints, and google-cloud-storage the writes that depend on an
object's generation. TensorFlow, which etils would take because it is installed, has errors of its own and cannot be sent to
another server to be tested. Other packages use `storage.paths`, which calls this module for `gs://` paths.
"""

from __future__ import annotations

import functools
import importlib.util
import logging as python_logging
import os
import warnings
from typing import TYPE_CHECKING, Any

from etils import epath

from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError

if TYPE_CHECKING:
    import fsspec
    from google.cloud import storage

_PREFIX = "gs://"
_FIRST_ANSWER_SECONDS = 15
# The packages whose errors are those of the network, the account or the bucket, never of the stored content.
_CLIENTS = ("aiohttp.", "fsspec.", "gcsfs.", "google.api_core.", "google.auth.", "google.cloud.", "requests.", "urllib3.")


def is_bucket_error(error: BaseException) -> bool:
    """Returns whether the network or a bucket caused an error. A missing file is no such error."""
    if isinstance(error, FileNotFoundError | FileExistsError):
        return False
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # gcsfs, for missing rights
        return True
    return any(f"{kind.__module__}.".startswith(_CLIENTS) for kind in type(error).__mro__)


def connect(path: epath.PathLike, checkpoints: bool) -> None:
    """Prepares this process for a bucket and sends a first request to it.

    Args:
      path: A path in the bucket.
      checkpoints: Whether Orbax will read or write there, which needs more rights than reading data does.

    Raises:
      InputError: Within seconds, if the packages, the network, the credentials, the rights or the bucket are missing.
    """
    text = os.fspath(path)
    bucket, _ = _bucket_and_name(path)
    if not text.startswith(_PREFIX) or not bucket:
        raise InputError(f"{text}: a remote folder is written gs://BUCKET/FOLDER; others are not supported")
    if set(text) & set("*?["):  # gcsfs takes them for patterns
        raise InputError(f"{text}: names in a bucket must be without *, ? and [")
    if importlib.util.find_spec("gcsfs") is None:
        raise InputError(f"{text}: gs:// paths need pip install 'stlight_jax[gcs]'")
    _use_gcsfs()
    _send_first_request(bucket, checkpoints)


def filesystem() -> fsspec.AbstractFileSystem:
    """Returns gcsfs, without its cache, so that it lists objects of other processes. Call `connect` before."""
    import fsspec

    return fsspec.filesystem("gs", use_listings_cache=False)


def client_bucket(path: epath.PathLike) -> tuple[storage.Bucket, str]:
    """Returns the google-cloud-storage object for a path's bucket, and the path's name in it."""
    bucket, name = _bucket_and_name(path)
    client, _ = _client(checkpoints=False)
    return client.bucket(bucket), name


def folders(path: epath.PathLike) -> list[str]:
    """Returns the names of the folders in a folder, none if it does not exist.

    `epath.Path.is_dir` returns False for every error of the network; this function raises it.
    """
    return [_last_name(entry) for entry in _entries(path) if entry["type"] == "directory" and _last_name(entry)]


def files(path: epath.PathLike) -> dict[str, dict[str, Any]]:
    """Returns {name: properties} (size, crc32c, generation, ...) of the files in a folder, none if it does not exist."""
    return {_last_name(entry): entry for entry in _entries(path) if entry["type"] == "file" and _last_name(entry)}


def files_below(path: epath.PathLike) -> list[str]:
    """Returns the names, relative to a folder, of all files in it and in its subfolders."""
    start = os.fspath(path).removeprefix(_PREFIX).rstrip("/") + "/"
    found = filesystem().find(os.fspath(path))
    return [name.removeprefix(start) for name in found if name.startswith(start) and not name.endswith("/")]


def remove_folder(path: epath.PathLike) -> None:
    """Deletes all files below a folder, if any exist."""
    names = [f"{os.fspath(path)}/{name}" for name in files_below(path)]
    if names:
        filesystem().rm(names)


def move_folder(path: epath.PathLike, target: epath.PathLike) -> None:
    """Copies every file of a folder to another one, then deletes the first folder."""
    service = filesystem()
    for name in files_below(path):
        service.cp_file(f"{os.fspath(path)}/{name}", f"{os.fspath(target)}/{name}")
    remove_folder(path)


def _bucket_and_name(path: epath.PathLike) -> tuple[str, str]:
    bucket, _, name = os.fspath(path).removeprefix(_PREFIX).partition("/")
    return bucket, name


def _entries(path: epath.PathLike) -> list[dict[str, Any]]:
    start = os.fspath(path).removeprefix(_PREFIX).rstrip("/")
    try:
        found = filesystem().ls(start, detail=True)
    except FileNotFoundError:
        return []
    # The listing of a file is that file; some tools mark folders with objects of their names.
    return [entry for entry in found if entry["name"].rstrip("/") != start]


def _last_name(entry: dict[str, Any]) -> str:
    return entry["name"].rstrip("/").rpartition("/")[2]


@functools.cache
def _use_gcsfs() -> None:
    """Makes etils, and Orbax with it, use gcsfs in this process."""
    os.environ["EPATH_USE_TF"] = "0"
    # etils looks this up at the first use of any path, and keeps it.
    forget = getattr(getattr(epath.gpath, "_is_tf_installed", None), "cache_clear", None)
    if forget is not None:
        forget()
    # gcsfs would ask every bucket for its kind, over another protocol, and wait a minute for the answer.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec

    # A cached listing lacks the objects that TensorStore and other processes write.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    python_logging.getLogger("gcsfs").setLevel(python_logging.CRITICAL)  # it logs tracebacks of errors that it also raises
    python_logging.getLogger("google.auth").setLevel(python_logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(gcsfs|google)(\.|$)")


def _client(checkpoints: bool) -> tuple[storage.Client, bool]:
    """Returns a client, and whether it has credentials. Without them it can read public data, but no checkpoints."""
    import google.auth.exceptions
    from google.cloud import storage

    try:
        return storage.Client() if checkpoints else storage.Client(project="-"), True  # only Orbax needs a project
    except google.auth.exceptions.DefaultCredentialsError:
        if checkpoints:
            raise
        return storage.Client.create_anonymous_client(), False


@functools.cache
def _send_first_request(bucket: str, checkpoints: bool) -> None:
    """Lists a bucket and, for checkpoints, requests its properties as Orbax does.

    Raises:
      InputError: One of the requests fails.
    """
    import google.api_core.exceptions as api_errors
    import google.auth.exceptions as auth_errors

    where, hint, once = f"{_PREFIX}{bucket}", _MISSING_ROLES, {"retry": None, "timeout": _FIRST_ANSWER_SECONDS}
    try:
        client, has_credentials = _client(checkpoints)
        hint = hint if has_credentials else _NO_CREDENTIALS
        next(iter(client.list_blobs(bucket, max_results=1, **once)), None)
        if checkpoints:
            client.get_bucket(bucket, **once)
    except auth_errors.DefaultCredentialsError:
        raise InputError(f"{where}: {_NO_CREDENTIALS}") from None
    except api_errors.NotFound:
        raise InputError(f"{where}: there is no such bucket") from None
    except (api_errors.Forbidden, api_errors.Unauthorized) as error:
        raise InputError(f"{where} cannot be used ({one_line(error)}); {hint}") from None
    except (api_errors.GoogleAPIError, auth_errors.GoogleAuthError, OSError) as error:
        raise InputError(f"{where} cannot be reached: {one_line(error)}") from None


_NO_CREDENTIALS = "no Google credentials were found: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
_MISSING_ROLES = (
    "the account needs the roles Storage Object Admin and Storage Legacy Bucket Reader on it, or less for data only"
)
