"""The state of a training in flat files of at most 15 MiB, both of Adam's moments in bfloat16.

The files `state-STEP-PART-of-PARTS` are the parts of one stream: a line of JSON (the header), then the arrays in the header's
order. Parts of several steps may lie in one folder; the newest complete state counts. A copy for the way to the machine is
compressed.
"""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
import re
import zlib
from typing import Any

import jax
import ml_dtypes
import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.training.state import TrainState

PART_BYTES = 15 * 2**20
_NAME = re.compile(r"state-(\d+)-(\d+)-of-(\d+)")
_MOMENT = re.compile(r"\.opt_state.*\.(mu|nu)\b")


def as_arrays(state: TrainState) -> dict[str, np.ndarray]:
    """Returns the arrays of a state by their paths, the moments in bfloat16; all else is unchanged."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    arrays = {path: np.asarray(leaf) for path, leaf in jax.device_get(leaves).items()}
    return {path: array.astype(ml_dtypes.bfloat16) if is_moment(path) else array for path, array in arrays.items()}


def is_moment(path: str) -> bool:
    """Returns whether a path leads to one of Adam's moments."""
    return _MOMENT.match(path) is not None


def save(folder: pathlib.Path, state: TrainState, header: dict[str, Any]) -> None:
    """Writes a state, then removes the older ones.

    Args:
      folder: where to.
      state: the state; its step is part of the names.
      header: plain data to store with it.
    """
    arrays = as_arrays(state)
    data = b"".join(array.tobytes() for array in arrays.values())
    described = {path: [str(array.dtype), list(array.shape)] for path, array in arrays.items()}
    line = json.dumps({**header, "arrays": described, "sha256": hashlib.sha256(data).hexdigest()}) + "\n"
    step = int(state.step)
    _write(folder, step, line.encode() + data)
    for path in folder.iterdir():
        if (found := _NAME.fullmatch(path.name)) and int(found[1]) != step:
            path.unlink()


def find(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the parts of the newest complete state, in order; none if there is no complete state."""
    by_step: dict[int, dict[int, pathlib.Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if found := _NAME.fullmatch(path.name):
            by_step.setdefault(int(found[1]), {})[int(found[2])] = path
    for _, parts in sorted(by_step.items(), reverse=True):
        if len(parts) == int(_NAME.fullmatch(parts[min(parts)].name)[3]):
            return [parts[number] for number in sorted(parts)]
    return []


def read_header(parts: list[pathlib.Path]) -> dict[str, Any]:
    """Returns the header of a state, see `save`.

    Args:
      parts: as from `find`.
    """
    return json.loads(_read(parts).partition(b"\n")[0])


def copy_compressed(parts: list[pathlib.Path], folder: pathlib.Path) -> None:
    """Copies a state, a sixth smaller.

    Args:
      parts: as from `find`; none copies no file.
      folder: where to.
    """
    if parts:
        _write(folder, int(_NAME.fullmatch(parts[0].name)[1]), zlib.compress(_read(parts)))


def _write(folder: pathlib.Path, step: int, stream: bytes) -> None:
    parts = math.ceil(len(stream) / PART_BYTES)
    for part in range(parts):
        content = stream[part * PART_BYTES : (part + 1) * PART_BYTES]
        write_atomic(folder / f"state-{step}-{part}-of-{parts}", content)


def _read(parts: list[pathlib.Path]) -> bytes:
    stream = b"".join(path.read_bytes() for path in parts)
    if stream.startswith(b"{"):  # the header's first letter
        return stream
    try:
        return zlib.decompress(stream)
    except zlib.error:
        raise InputError(f"{parts[0]} and its other parts are damaged; expected a state; copy them again") from None


def load(parts: list[pathlib.Path], like: TrainState) -> TrainState:
    """Reads a state.

    Args:
      parts: as from `find`.
      like: a state of the same network, arrays or their shapes.

    Returns:
      The state on the host, in the types of `like`.

    Raises:
      InputError: the files are damaged, or hold the state of another network.
    """
    line, _, data = _read(parts).partition(b"\n")
    header = json.loads(line)
    name = f"{parts[0]} and its other parts"
    if hashlib.sha256(data).hexdigest() != header["sha256"]:
        raise InputError(f"{name} are damaged: the checksum differs; copy them again")
    arrays, start = {}, 0
    for path, (dtype, shape) in header["arrays"].items():
        kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
        count = math.prod(shape)
        arrays[path] = np.frombuffer(data, kind, count, start).reshape(shape)
        start += count * kind.itemsize
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
    if {path: leaf.shape for path, leaf in wanted.items()} != {path: array.shape for path, array in arrays.items()}:
        raise InputError(f"{name} hold the state of another network; expected {len(wanted)} arrays of this one")
    return jax.tree_util.tree_unflatten(structure, [arrays[path].astype(leaf.dtype) for path, leaf in wanted.items()])
