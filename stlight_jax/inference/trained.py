"""Trained networks with all that prediction needs, from workdirs, checkpoints, `.stlight` files and the package itself.

A `.stlight` file is a zip archive of `model.json` (network, scaling, description of the training, a SHA-256 of each other
part), `weights.npz` (float32, {"params", "batch_stats"} with "/" between the names) and, if the model was exported,
`program.bin`, a program of `jax.export` for several platforms that runs without this package's network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util

from stlight_jax.console.messages import print_message
from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.formats.npy import read_npy_header
from stlight_jax.data.load import check_config, network_config
from stlight_jax.errors import InputError
from stlight_jax.inference import onnx_file, shipped_networks
from stlight_jax.inference.shipped_networks import ONNX_SUFFIX, SUFFIX, shipped
from stlight_jax.inference.trained_model import (
    FORMAT,
    ExportedProgram,
    TrainedModel,
    abstract_variables,
    check_variables,
    described_network,
)
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.version import __version__

_DESCRIPTION, _WEIGHTS, _PROGRAM = "model.json", "weights.npz", "program.bin"
_MAX_DESCRIPTION_BYTES, _MAX_PROGRAM_BYTES = 64 * 2**20, 64 * 2**20  # a description can hold a static field


def load(path: epath.PathLike, which: str = "best") -> TrainedModel:
    """Loads a trained network.

    Args:
      path: A workdir, the folder of one of its checkpoints, a `.stlight` file, or the name of a shipped network; the name has
        precedence over a folder of the same name ("./tiny" is the folder).
      which: Checkpoint of a workdir: "best" (lowest validation MSE; see `train.least_gain`), "last" or a step.

    Raises:
      InputError: The network does not exist, is damaged, or was written by an unknown version.
    """
    found = _find(path, which)
    if str(path) in shipped() and epath.Path(path).is_dir():
        print_message(f"{path} is the shipped network; for the folder of this name, write ./{path}")
    if found.suffix == ONNX_SUFFIX:
        raise InputError(
            f"{path} is an ONNX file, which predict and Forecaster.load can run only; name the run or the {SUFFIX} file that "
            "it was exported from"
        )
    return _read(found, str(path)) if found.suffix == SUFFIX else _from_checkpoint(found, which)


def describe(path: epath.PathLike, which: str = "best") -> dict[str, Any]:
    """Returns the description of a trained network, see `TrainedModel`; of a checkpoint it reads no weights.

    Args:
      path: As for `load`, or an ONNX file.
      which: As for `load`.

    Raises:
      InputError: The network does not exist, is damaged, or was written by an unknown version.
    """
    found = _find(path, which)
    if found.suffix == ONNX_SUFFIX:
        return onnx_file.read_description(found)
    return _read(found, str(path)).description if found.suffix == SUFFIX else _checkpoint(found, which)[2]


def _find(path: epath.PathLike, which: str) -> epath.Path:
    """Returns the folder or the `.stlight` file that a user's path stands for."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise InputError(f"expected a run's folder, a {SUFFIX} file or the name of a shipped network, got {path!r}")
    is_shipped = str(path) in shipped()
    if (is_shipped or epath.Path(path).suffix in (SUFFIX, ONNX_SUFFIX)) and which != "best":
        raise InputError(f"{path} holds one checkpoint; {which!r} cannot be chosen from it")
    if is_shipped:
        return epath.Path(shipped_networks.FOLDER / f"{path}{SUFFIX}")
    paths.connect(path, checkpoints=True)
    found = epath.Path(path).expanduser()
    if found.suffix in (SUFFIX, ONNX_SUFFIX):
        return found
    if not found.exists():
        names = f", or the name of a shipped network ({', '.join(shipped())})" if "/" not in str(path) else ""
        raise InputError(f"{path}: there is no such folder or file{names}")
    if not found.is_dir():
        raise InputError(
            f"{path} is a file; expected a workdir, the folder of a checkpoint, or a file that ends in {SUFFIX} or "
            f"{ONNX_SUFFIX}"
        )
    return found


def write(path: epath.PathLike, model: TrainedModel) -> None:
    """Writes a `.stlight` file, completely or not at all.

    Args:
      path: Name of the file, local or `gs://`.
      model: The network, with or without a program.

    Raises:
      InputError: The file cannot be written.
    """
    weights = io.BytesIO()
    arrays: dict[str, Any] = traverse_util.flatten_dict(jax.device_get(model.variables), sep="/")
    np.savez(weights, **arrays)
    parts, exported = {_WEIGHTS: weights.getvalue()}, None
    if model.program is not None:
        exported = dataclasses.asdict(model.program)
        parts[_PROGRAM] = exported.pop("content")
    content = {
        "format": FORMAT,
        "stlight_jax": __version__,
        "model": dataclasses.asdict(model.config),
        "description": model.description,
        "exported": exported,
        "sha256": {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in {_DESCRIPTION: json.dumps(content, indent=1).encode(), **parts}.items():
            file.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)  # without the time: equal models, equal files
    write_atomic(epath.Path(path), archive.getvalue())


def _checkpoint(folder: epath.Path, which: str) -> tuple[epath.Path, int, dict[str, Any]]:
    """Finds a checkpoint; returns the folder of the checkpoints, its step and its description."""
    from stlight_jax.runs import checkpoint  # Orbax is slow to import, and `.stlight` files do not need it

    directory, step = checkpoint.locate(folder, which)
    description = checkpoint.load_description(directory, step)
    if not isinstance(description, dict) or "config" not in description:
        raise InputError(f"{directory / str(step)} was not written by this package, or by an unknown version")
    return directory, step, description


def _from_checkpoint(folder: epath.Path, which: str) -> TrainedModel:
    from stlight_jax.runs import checkpoint

    directory, step, description = _checkpoint(folder, which)
    try:
        checked = check_config(description["config"])
        config = network_config(checked)
    except InputError as error:
        raise InputError(f"{directory / str(step)}: {error}; was it written by another version of stlight_jax?") from None
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), abstract_variables(config))
    variables = checkpoint.load_variables(directory, step, like)
    description |= {"step": step, "averaged": checked.train.ema_decay > 0}
    return TrainedModel(config, variables, description, f"{folder}, step {step}")


def _read(path: epath.Path, source: str) -> TrainedModel:
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    try:
        return _unpack(path, source)
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, EOFError, OSError, MemoryError) as error:
        if isinstance(error, InputError | PermissionError) or paths.is_bucket_error(error):
            raise
        problem = f"it has no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged, or no {SUFFIX} file: {problem}; get a complete copy") from None


def _unpack(path: epath.Path, source: str) -> TrainedModel:
    """Reads an archive. Unpacks no part before its size, and no array before its shape, is known to be right."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
        for name in file.namelist():
            if name not in (_DESCRIPTION, _WEIGHTS, _PROGRAM):
                raise InputError(f"{path} holds {name!r}, which does not belong into a {SUFFIX} file")

        def part(name: str, limit: int) -> bytes:
            _check_size(path, name, file.getinfo(name).file_size, limit)
            return file.read(name)  # raises an error if the part is larger than declared

        content = json.loads(part(_DESCRIPTION, _MAX_DESCRIPTION_BYTES))
        config = described_network(path, content)
        limit = _max_weight_bytes(config)
        parts = {_WEIGHTS: part(_WEIGHTS, limit)}
        if _PROGRAM in file.namelist():
            parts[_PROGRAM] = part(_PROGRAM, _MAX_PROGRAM_BYTES)
    for name, digest in content["sha256"].items():
        if hashlib.sha256(parts[name]).hexdigest() != digest:
            raise InputError(f"{path} is damaged: the checksum of its {name} differs; get a complete copy")
    shapes, program = _weight_shapes(path, parts[_WEIGHTS], limit), None
    if _PROGRAM in parts:  # which declares the shapes of its weights itself
        exported = content["exported"] or {}
        facts = {key: exported[key] for key in ("created", "expires", "jax")}
        program = ExportedProgram(parts[_PROGRAM], platforms=tuple(exported["platforms"]), **facts)
    else:
        check_variables(source, config, shapes)
    with np.load(io.BytesIO(parts[_WEIGHTS]), allow_pickle=False) as arrays:
        variables = traverse_util.unflatten_dict(dict(arrays.items()), sep="/")
    return TrainedModel(config, variables, content["description"], source, program)


def _check_size(path: epath.Path, name: str, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(f"{path}: its {name} would unpack to {size:,} bytes, more than {limit:,}")
    if size > memory_available() / 2:  # a description may declare a network of any size
        raise InputError(f"{path}: its {name} would unpack to {size:,} bytes, more than this machine can hold")


def _weight_shapes(path: epath.Path, weights: bytes, limit: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Reads the headers of all arrays, without unpacking their values, and checks their sizes."""
    shapes, total = {}, 0
    with zipfile.ZipFile(io.BytesIO(weights)) as file:
        for entry in file.infolist():
            with file.open(entry) as array:
                shape, _, dtype = read_npy_header(array)
                size = dtype.itemsize * math.prod(shape)
                if array.tell() + size != entry.file_size:
                    raise InputError(f"{path} is damaged: {entry.filename} declares {dtype} {list(shape)}, has another size")
            shapes[entry.filename.removesuffix(".npy")] = jax.ShapeDtypeStruct(shape, dtype)
            total += size
    _check_size(path, _WEIGHTS, total, limit)
    return shapes


def _max_weight_bytes(config: STLightConfig) -> int:
    """Returns an upper bound of the size of a network's weights, in float64 and with headers.

    It does not trace the network, because an exported program runs without the network's code.
    """
    hidden, predicted = config.hidden_dim, config.out_frames * config.out_channels
    vectors = 12  # biases, and four vectors of each norm
    encoder = hidden * (config.encoded_channels * config.encoder_kernel**2 + vectors)
    block = hidden * (config.near_kernel**2 + config.far_kernel**2 + hidden + vectors)
    return 8 * (encoder + config.depth * block + predicted * (hidden + config.shortcut_inputs + 2)) + 2**20
