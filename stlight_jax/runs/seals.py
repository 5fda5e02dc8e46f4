"""Seals of checkpoints: checksums of all files, written last.

Orbax restores flipped bits without an error. So a checkpoint whose files do not match its `checksums.json`, or that has none,
is never used.
"""

import hashlib
import json

from etils import epath

from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.storage.locks import Lock

_CHECKSUMS = "checksums.json"
UNSEALED = "it is incomplete (it was never sealed)"


def write_seal(folder: epath.Path, lock: Lock | None = None) -> None:
    """Seals a checkpoint: writes the SHA-256 of each of its files, as they can be read now.

    Args:
      folder: Folder of the checkpoint.
      lock: Lock of the run; checked after all files are read.

    Raises:
      LockLostError: The lock is lost.
    """
    checksums = _checksums(folder)
    if lock is not None:
        lock.check(refresh=True)
    write_atomic(folder / _CHECKSUMS, json.dumps(checksums, indent=1))


def remove_seal(folder: epath.Path) -> None:
    """Makes a checkpoint invalid, before its files are deleted."""
    (folder / _CHECKSUMS).unlink(missing_ok=True)


def find_damage(folder: epath.PathLike) -> str | None:
    """Returns a description of the damage to a checkpoint, None if every file is as it was written."""
    folder = epath.Path(folder)
    try:
        expected = json.loads((folder / _CHECKSUMS).read_text())
    except FileNotFoundError:
        return UNSEALED
    except (ValueError, OSError) as error:
        if paths.is_bucket_error(error):
            raise
        expected = None
    if not isinstance(expected, dict):
        return f"its {_CHECKSUMS} is damaged"
    try:
        found = _checksums(folder)
    except FileNotFoundError:
        return "it was deleted meanwhile"
    except OSError as error:
        if paths.is_bucket_error(error):  # the files themselves may be valid
            raise
        return f"it cannot be read ({error})"
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} does not belong to it"
        if found[name] != expected[name]:
            return f"{name} is damaged (its checksum differs)"
    return None


def fingerprint(folder: epath.Path) -> str:
    """Returns the SHA-256 of a checkpoint's list of checksums, which identifies the checkpoint."""
    return hashlib.sha256((folder / _CHECKSUMS).read_bytes()).hexdigest()


def _checksums(folder: epath.Path) -> dict[str, str]:
    """Returns {name: SHA-256} of all files but the seal."""
    # A killed process of version 0.1 may have left the second name.
    names = [name for name in paths.files_below(folder) if name not in (_CHECKSUMS, f"{_CHECKSUMS}.tmp")]
    return {name: hashlib.sha256(paths.read_bytes(folder / name)).hexdigest() for name in names}
