"""Exports a trained network as one program for several platforms, or as an ONNX file."""

import dataclasses
import datetime
import functools
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from etils import epath
from jax import export

from stlight_jax.console.messages import print_message
from stlight_jax.console.text_table import text_table
from stlight_jax.data.formats.value_conversion import to_dtype
from stlight_jax.errors import InputError
from stlight_jax.inference import trained
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.inference.onnx_file import OnnxGraph, require_packages
from stlight_jax.inference.predictor import make_predict
from stlight_jax.inference.shipped_networks import ONNX_SUFFIX, SUFFIX
from stlight_jax.inference.trained_model import ExportedProgram, TrainedModel
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS
from stlight_jax.model.tiling import crop_tile
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic

if TYPE_CHECKING:
    from stlight_jax.inference.onnx_units import InputType

PLATFORMS = ("cpu", "cuda", "tpu")
# JAX guarantees to read a program for six months after it was made (docs.jax.dev, "Exporting and serializing").
_GUARANTEED_DAYS = 182
_REPETITIONS = 15
# Keys of the config that name files or folders.
_PATHS = (("data", "root"), ("data", "prepared"), ("data", "static"), ("train", "init_from"))


def export_model(model: TrainedModel, platforms: tuple[str, ...] = PLATFORMS) -> TrainedModel:
    """Adds a program to a model.

    The program takes {"params", "batch_stats"} and float frames `[b, context_frames + T, h, w, c]` in the network's range, with
    NaN where values are missing, for any batch size and any sides that the patch divides, and returns `[b, T', h, w, c']`. On
    CPUs it uses the portable depthwise convolutions.

    Args:
      model: The network.
      platforms: Platforms that the program runs on.

    Returns:
      The model with its program.

    Raises:
      InputError: The network has a shortcut that depends on the size of the frames.
    """
    if model.config.shortcut in MOVING_SHORTCUTS:
        raise InputError(
            f"{model.source} has model.shortcut={model.config.shortcut}, whose program depends on the size of the frames; an "
            "export holds for any size: predict from the run itself, or train with model.shortcut=linear"
        )
    config = dataclasses.replace(model.config, depthwise="portable")
    filling = model.scaling.for_channels(config.in_channels).filling

    def predict(variables: Any, frames: jax.Array) -> jax.Array:
        return make_predict(config, filling)(batch_norm.fold(variables), frames)

    batch, height, width = export.symbolic_shape("batch, height, width")
    patch = config.patch_size
    shape = (batch, config.seen_frames, patch * height, patch * width, config.in_channels)
    variables = jax.device_get(model.variables)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    frames = jax.ShapeDtypeStruct(shape, np.float64 if config.dtype == "float64" else np.float32)
    exported = export.export(jax.jit(predict), platforms=platforms)(abstract, frames)
    today = datetime.datetime.now(datetime.UTC).date()
    program = ExportedProgram(
        content=bytes(exported.serialize()),
        created=today.isoformat(),
        expires=(today + datetime.timedelta(days=_GUARANTEED_DAYS)).isoformat(),
        jax=jax.__version__,
        platforms=platforms,
    )
    return dataclasses.replace(model, config=config, variables=variables, program=program)


def compare_with_live(model: TrainedModel, path: epath.Path) -> str:
    """Compares size, predictions and speed of an exported file with those of the live network, all in the data's units.

    An ONNX file is run whole, by ONNX Runtime alone, so that its scaling is compared, too.

    Args:
      model: The live network.
      path: The file.

    Returns:
      A table; differences are relative to the range of the training data.
    """
    graph = OnnxGraph(path, model.config) if path.suffix == ONNX_SUFFIX else None
    live = Forecaster(model) if graph is None else Forecaster(model, tile=0)  # the graph predicts whole frames
    height, width = model.description.get("frame_size") or (64, 64)
    shape = (1, len(live.history()) + model.config.in_frames, height, width, live.channels)
    frames = live.scaling.for_channels(live.channels).from_network(np.random.default_rng(0).random(shape, np.float32))
    if graph is not None:
        frames = to_dtype(frames, graph.dtype, None)
    times = np.datetime64("2000-01-01T00") + np.arange(shape[1])
    settings: dict[str, Any] = {"dtype": "float32", "history_first": True, "survey": False, "times": times}
    predict: dict[str, Callable[[], np.ndarray]] = {"live, weights": functools.partial(live, frames, **settings)}
    if graph is None:
        predict["file"] = functools.partial(Forecaster.load(path), frames, **settings)
    else:
        covariates = None if live.covariates is None else live.covariates.at(times, height, width)[None]
        predict["file"] = functools.partial(graph, frames, covariates)
    expected, exported = (function() for function in predict.values())  # compiles, too
    is_missing = np.isnan(expected)
    difference = np.abs(np.where(is_missing, 0, expected) - np.where(is_missing & np.isnan(exported), 0, exported)).max()
    # In the network's range, where 1e-6 means the same for grey levels and for kelvins.
    span = np.max(np.subtract(model.scaling.high, model.scaling.low))
    seconds: dict[str, list[float]] = {name: [] for name in predict}
    for _ in range(_REPETITIONS):  # in turns, because the machine may do other work as well
        for name, function in predict.items():
            begin = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begin)
    weights = sum(np.asarray(value).nbytes for value in jax.tree.leaves(model.variables))
    differences = "", f"{difference / span:.1e}"
    rows = []
    for name, size, difference in zip(predict, (weights, len(path.read_bytes())), differences, strict=True):
        low, middle, high = (1e3 * value for value in statistics.quantiles(seconds[name]))
        rows.append((name, f"{size / 1e6:.2f}", f"{middle:.1f}", f"{low:.1f} to {high:.1f}", difference))
    title = f"one sequence of {height} x {width} frames, on {jax.local_devices()[0].device_kind}"
    return text_table(("", "MB", "ms (median)", "quartiles", "largest difference / range"), rows, title)


def remark_on_tiles(model: TrainedModel, path: epath.Path) -> str:
    """Explains where an ONNX file alone differs from a network that predicts in tiles; "" for other networks."""
    crop = model.description.get("config", {}).get("data", {}).get("crop", 0)
    tile = crop_tile(model.config, crop)
    if not tile:
        return ""
    return (
        f"the network was trained on crops (data.crop={crop}) and predicts in tiles of {tile} x {tile}; {path.name} alone "
        "predicts whole frames, which is worse: run it with a Forecaster, which cuts the tiles"
    )


def without_folders(model: TrainedModel) -> TrainedModel:
    """Returns a network whose description names no folder of this machine, only files, since others will read it."""
    description = {**model.description}
    if description.get("data"):
        description["data"] = {key: value for key, value in description["data"].items() if key != "folder"}
    sections = {name: {**keys} if isinstance(keys, dict) else keys for name, keys in description.get("config", {}).items()}
    for section, key in _PATHS:
        if sections.get(section, {}).get(key):
            sections[section][key] = epath.Path(sections[section][key]).name
    return dataclasses.replace(model, description={**description, "config": sections})


def export_file(
    network: epath.PathLike,
    out: epath.PathLike,
    *,
    file_format: Literal["stlight", "onnx"] = "stlight",
    checkpoint: str = "best",
    dtype: Literal["float32", "bfloat16"] | None = None,
    input_dtype: "InputType" = "float32",
    overwrite: bool = False,
) -> None:
    """Writes a trained network with a program for several platforms or as an ONNX file, and prints a table.

    Args:
      network: Folder of a run or of a checkpoint, or the name of a shipped network.
      out: The file to write; its name ends in .stlight or .onnx.
      file_format: Format of the file.
      checkpoint: Checkpoint of a run: "best" (lowest validation MSE; see `train.least_gain`), "last" or a step.
      dtype: Type of the activations; None for the config's. An ONNX file computes in float32.
      input_dtype: Type of the frames that an ONNX file takes.
      overwrite: Whether to replace the file if it exists.

    Raises:
      InputError: The network cannot be loaded, or the file cannot be written.
    """
    paths.connect(out)
    file, suffix = epath.Path(out).expanduser(), ONNX_SUFFIX if file_format == "onnx" else SUFFIX
    if file.suffix != suffix or file.is_dir():
        raise InputError(f"--out={out}: expected the name of a file that ends in {suffix} with --format={file_format}")
    _check_free(file, overwrite)
    if file_format == "onnx":
        require_packages()
        dtype = "float32"
    model = without_folders(trained.load(network, checkpoint))
    if dtype:
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype=dtype))
    paths.create_folder(file.parent)
    print_message(f"exporting {model.source} ...")
    if file_format == "onnx":
        from stlight_jax.inference.onnx_graph import make_onnx  # needs an extra

        content = make_onnx(model, input_dtype)
        _check_free(file, overwrite)  # again: another process may have exported to the same name
        write_atomic(file, content)
        print(compare_with_live(model, file))
        if remark := remark_on_tiles(model, file):
            print_message(remark)
        return
    exported = export_model(model)
    _check_free(file, overwrite)
    trained.write(file, exported)
    print(compare_with_live(model, file))
    program = exported.program
    assert isinstance(program, ExportedProgram)  # `export_model` makes it
    print(
        f"{file} was made by JAX {program.jax} for {', '.join(program.platforms)}. JAX promises to read it until "
        f"{program.expires}; after that, export it again. Its weights do not expire."
    )


def _check_free(file: epath.Path, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise InputError(f"--out={file} exists; name another file, or give --overwrite")
