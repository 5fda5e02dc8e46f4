"""Trained networks with all that prediction needs, wherever they lie: workdirs, checkpoints, `.stlight` files, shipped ones.

A `.stlight` file is a zip archive of `model.json` (network, scaling, where it comes from, a SHA-256 of every other part),
`weights.npz` (float32, {"params", "batch_stats"} with "/" between the names) and, if it was exported, `program.bin`, a program
for several platforms that runs without this package's network (`jax.export`).
"""

from __future__ import annotations

import dataclasses
import functools
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

from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.data_sections import check_config
from stlight_jax.data.formats.npy import read_npy_header
from stlight_jax.data.network_config import network_config
from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.inference import shipped_networks
from stlight_jax.inference.shipped_networks import SUFFIX, shipped
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.version import __version__

_FORMAT = 1
_DESCRIPTION, _WEIGHTS, _PROGRAM = "model.json", "weights.npz", "program.bin"
_MOST_BYTES = {_DESCRIPTION: 16 * 2**20, _PROGRAM: 64 * 2**20}  # of weights as many as their network needs


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network and what it was trained on.

    Attributes:
      config: of the network.
      variables: {"params", "batch_stats"}, NumPy or JAX arrays.
      description: what its checkpoint says: "config", "data", "scaling", "frame_size", "channels" and more, where known.
      source: where it was loaded from, for people.
      program: serialised by `jax.export`; None unless it was exported.
      exported: {"created", "expires", "jax", "platforms"} of the program.
    """

    config: STLightConfig
    variables: dict[str, Any]
    description: dict[str, Any]
    source: str = ""
    program: bytes | None = None
    exported: dict[str, Any] | None = None

    @functools.cached_property
    def scaling(self) -> Scaling:
        """From values in the data's units to the network's range."""
        if "scaling" in self.description:
            return Scaling.from_json(self.description["scaling"])
        low, high = self.description.get("value_range", {"stored": (0, 255)})["stored"]  # of weights from elsewhere
        low, high = (tuple(value) if isinstance(value, list) else (float(value),) for value in (low, high))
        return Scaling("uint8" if (low, high) == ((0.0,), (255.0,)) else "float32", low, high)


def load(path: epath.PathLike, which: str = "best") -> TrainedModel:
    """Loads a trained network.

    Args:
      path: a workdir, the folder of one of its checkpoints, a `.stlight` file, or the name of a shipped network, which goes
        before a folder of that name ("./tiny" is the folder).
      which: of a workdir: "best" (lowest validation MSE), "last" or a step.

    Raises:
      InputError: there is nothing of these, it is damaged, or of a version that is not known here.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise InputError(f"expected a run's folder, a {SUFFIX} file or the name of a shipped network, got {path!r}")
    if (str(path) in shipped() or epath.Path(path).suffix == SUFFIX) and which != "best":
        raise InputError(f"{path} holds one checkpoint; {which!r} cannot be chosen from it")
    if str(path) in shipped():
        return _read(epath.Path(shipped_networks.FOLDER / f"{path}{SUFFIX}"), str(path))
    paths.connect(path, checkpoints=True)
    place = epath.Path(path).expanduser()
    if place.suffix == SUFFIX:
        return _read(place, str(path))
    if not place.exists():
        named = f", or the name of a shipped network ({', '.join(shipped())})" if "/" not in str(path) else ""
        raise InputError(f"{path}: there is no such folder or file{named}")
    if not place.is_dir():
        raise InputError(f"{path} is a file; expected a workdir, the folder of a checkpoint, or a file that ends in {SUFFIX}")
    return _from_checkpoint(place, which)


def write(path: epath.PathLike, model: TrainedModel) -> None:
    """Writes a `.stlight` file, whole or not at all. Raises InputError if it cannot be written."""
    weights = io.BytesIO()
    flat = traverse_util.flatten_dict(jax.device_get(model.variables), sep="/")
    np.savez(weights, **{name: np.asarray(value) for name, value in flat.items()})
    parts = {_WEIGHTS: weights.getvalue(), **({} if model.program is None else {_PROGRAM: model.program})}
    content = {
        "format": _FORMAT,
        "stlight_jax": __version__,
        "model": dataclasses.asdict(model.config),
        "description": model.description,
        "exported": model.exported,
        "sha256": {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in {_DESCRIPTION: json.dumps(content, indent=1).encode(), **parts}.items():
            file.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)  # without the time, so that equal is equal
    write_atomic(epath.Path(path), archive.getvalue())


def _from_checkpoint(place: epath.Path, which: str) -> TrainedModel:
    from stlight_jax.runs import checkpoint  # Orbax is slow to import, and `.stlight` files do without

    if (place / "checkpoints").exists() or not place.name.isdigit():
        directory = place / "checkpoints"
        step = checkpoint.choose_step(directory, which)
    else:
        directory, step = checkpoint.locate(place)
    description = checkpoint.load_description(directory, step)
    if not isinstance(description, dict) or "config" not in description:
        raise InputError(f"{directory / str(step)} was not written by this package, or by a version that is not known here")
    try:
        checked = check_config(description["config"])
        config = network_config(checked)
    except InputError as error:
        raise InputError(f"{directory / str(step)}: {error}; was it written by another version of stlight_jax?") from None
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), _abstract(config))
    variables = checkpoint.load_variables(directory, step, like)
    averaged = checked.train.ema_decay > 0
    return TrainedModel(config, variables, {**description, "step": step, "averaged": averaged}, source=f"{place}, step {step}")


def _abstract(config: STLightConfig) -> dict[str, Any]:
    side = config.patch_size
    return jax.eval_shape(functools.partial(init_variables, STLight(config), 0, (side, side, config.in_channels)))


def _read(path: epath.Path, source: str) -> TrainedModel:
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    try:
        return _unpacked(path, source)
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, EOFError, OSError, MemoryError) as error:
        if isinstance(error, InputError) or paths.is_bucket_error(error):
            raise
        what = f"it has no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged, or no {SUFFIX} file: {what}") from None


def _unpacked(path: epath.Path, source: str) -> TrainedModel:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
        for name in file.namelist():
            if name not in (_DESCRIPTION, _WEIGHTS, _PROGRAM):
                raise InputError(f"{path} holds {name!r}, which does not belong into a {SUFFIX} file")
        content = json.loads(_part(path, file, _DESCRIPTION, _MOST_BYTES[_DESCRIPTION]))
        if content["format"] != _FORMAT:
            raise InputError(
                f"{path} has format {content['format']}, written by stlight_jax {content.get('stlight_jax', '?')}; this is "
                f"{__version__}, which knows format {_FORMAT}: install a newer stlight_jax, or export it anew"
            )
        known = {field.name for field in dataclasses.fields(STLightConfig)}
        unknown = sorted(content["model"].keys() - known)
        if unknown:
            raise InputError(
                f"{path} has model keys that are not known here ({', '.join(unknown)}); install a newer stlight_jax"
            )
        config = STLightConfig(**content["model"])
        limit = _most_bytes_of_weights(config)
        parts = {_WEIGHTS: _part(path, file, _WEIGHTS, limit)}
        if _PROGRAM in file.namelist():
            parts[_PROGRAM] = _part(path, file, _PROGRAM, _MOST_BYTES[_PROGRAM])
    for name, digest in content["sha256"].items():
        if hashlib.sha256(parts[name]).hexdigest() != digest:
            raise InputError(f"{path} is damaged: the checksum of its {name} differs; get a whole copy")
    headers = _headers(path, parts[_WEIGHTS], limit)
    if _PROGRAM not in parts:  # which says itself what it takes
        _check_fit(source, config, headers)
    with np.load(io.BytesIO(parts[_WEIGHTS]), allow_pickle=False) as arrays:
        variables = traverse_util.unflatten_dict(dict(arrays.items()), sep="/")
    model = TrainedModel(config, variables, content["description"], source, parts.get(_PROGRAM), content.get("exported"))
    if model.program is not None:
        missing = {"created", "expires", "jax", "platforms"} - (model.exported or {}).keys()
        if missing:
            raise InputError(f"{path} is damaged: it does not say of its program: {', '.join(sorted(missing))}")
    return model


def _part(path: epath.Path, file: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A part of the archive, which is not unpacked beyond the size it may have, whatever its headers say."""
    declared = file.getinfo(name).file_size
    if declared > most:
        raise InputError(f"{path}: its {name} would unpack to {declared:,} bytes, more than {most:,}")
    _check_memory(path, name, declared)
    return file.read(name)  # which ends with an error where more comes than is declared


def _check_memory(path: epath.Path, name: str, size: int) -> None:
    if size > memory_available() / 2:  # a description may promise a network of any size
        raise InputError(f"{path}: its {name} would unpack to {size:,} bytes, more than this machine can hold")


def _headers(path: epath.Path, weights: bytes, most: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Of the arrays in a .npz file, by name, before any of their values is unpacked.

    Raises InputError where the headers and the archive do not agree, or for more bytes than `most`, or than there is memory.
    """
    arrays, unpacked = {}, 0
    with zipfile.ZipFile(io.BytesIO(weights)) as file:
        for entry in file.infolist():
            with file.open(entry) as array:
                shape, _, dtype = read_npy_header(array)
                size = dtype.itemsize * math.prod(shape)
                if array.tell() + size != entry.file_size:
                    raise InputError(
                        f"{path} is damaged: {entry.filename} declares {dtype} {list(shape)}, and holds other bytes"
                    )
            arrays[entry.filename.removesuffix(".npy")] = jax.ShapeDtypeStruct(shape, dtype)
            unpacked += size
    if unpacked > most:
        raise InputError(f"{path}: its weights would unpack to more than the {most:,} bytes that its network can have")
    _check_memory(path, _WEIGHTS, unpacked)
    return arrays


def _most_bytes_of_weights(config: STLightConfig) -> int:
    """In float64, with room for headers; no code of the network runs for it, for an exported program does without."""
    hidden, seen, predicted = config.hidden_dim, config.in_frames * config.in_channels, config.out_frames * config.out_channels
    a_dozen = 12  # vectors: biases, and four of each norm
    encoder = hidden * (seen * config.encoder_kernel**2 + a_dozen)
    block = hidden * (config.near_kernel**2 + config.far_kernel**2 + hidden + a_dozen)
    return 8 * (encoder + config.depth * block + predicted * (hidden + 1)) + 2**20


def without_program(model: TrainedModel) -> TrainedModel:
    """The same weights, to be run by this package's code. Raises InputError if they are not its network's."""
    model = dataclasses.replace(model, program=None, exported=None, config=dataclasses.replace(model.config, depthwise="auto"))
    _check_fit(model.source, model.config, traverse_util.flatten_dict(model.variables, sep="/"))
    return model


def _check_fit(source: str, config: STLightConfig, found: dict[str, Any]) -> None:
    """Args: found: arrays, or what stands for their shapes and types, by name."""
    wanted = traverse_util.flatten_dict(_abstract(config), sep="/")
    for name in sorted(wanted.keys() | found.keys()):
        said = [f"{of[name].dtype} {list(of[name].shape)}" if name in of else "nothing" for of in (wanted, found)]
        if said[0] != said[1]:
            raise InputError(f"{source} is damaged: {name} should be {said[0]}, it is {said[1]}")
