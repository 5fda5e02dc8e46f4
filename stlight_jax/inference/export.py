"""Export of a trained network to one `.stlight` file."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
import time
from typing import Any

import jax
import numpy as np
from etils import epath
from jax import export
from rich.console import Console
from rich.table import Table

from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.inference.predictor import make_predict
from stlight_jax.inference.trained import TrainedModel
from stlight_jax.model.ops import batch_norm

PLATFORMS = ("cpu", "cuda", "tpu")
# JAX promises to read a program for six months after it was made (docs.jax.dev, "Exporting and serializing").
_PROMISED_DAYS = 182
_REPETITIONS = 15


def exported(model: TrainedModel, platforms: tuple[str, ...] = PLATFORMS) -> TrainedModel:
    """The model with a program for several platforms: any batch, any frames that the patch divides.

    The program takes {"params", "batch_stats"} and float frames `[b, T, h, w, c]` in the network's range, and gives
    `[b, T', h, w, c']`. On CPUs its depthwise convolutions are the portable ones.
    """
    config = dataclasses.replace(model.config, depthwise="portable")

    def predict(variables: Any, frames: jax.Array) -> jax.Array:
        return make_predict(config)(batch_norm.fold(variables), frames)

    batch, height, width = export.symbolic_shape("batch, height, width")
    patch = config.patch_size
    shape = (batch, config.in_frames, patch * height, patch * width, config.in_channels)
    variables = jax.device_get(model.variables)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    frames = jax.ShapeDtypeStruct(shape, np.float64 if config.dtype == "float64" else np.float32)
    program = export.export(jax.jit(predict), platforms=platforms)(abstract, frames)
    today = datetime.datetime.now(datetime.UTC).date()
    told = {
        "created": today.isoformat(),
        "expires": (today + datetime.timedelta(days=_PROMISED_DAYS)).isoformat(),
        "jax": jax.__version__,
        "platforms": list(platforms),
    }
    return dataclasses.replace(model, config=config, variables=variables, program=bytes(program.serialize()), exported=told)


def comparison(model: TrainedModel, out: epath.Path) -> str:
    """Size, difference and speed of the file beside the live network."""
    live, file = Forecaster(model), Forecaster.load(out)
    height, width = model.description.get("frame_size") or (64, 64)
    shape = (1, model.config.in_frames, height, width, model.config.in_channels)
    unit = np.random.default_rng(0).random(shape, np.float32)
    frames = model.scaling.for_channels(model.config.in_channels).from_network(unit)
    # In the network's range, where 1e-6 means the same for grey levels and for kelvins.
    span = np.max(np.subtract(model.scaling.high, model.scaling.low))
    predictions = [forecaster(frames, dtype="float32") for forecaster in (live, file)]  # compiles, too
    difference = float(np.abs(predictions[0] - predictions[1]).max() / span)
    seconds: list[list[float]] = [[], []]
    for _ in range(_REPETITIONS):  # in turns, on a machine that does other things, too
        for forecaster, taken in zip((live, file), seconds, strict=True):
            begin = time.perf_counter()
            forecaster(frames)
            taken.append(time.perf_counter() - begin)
    weights = sum(np.asarray(value).nbytes for value in jax.tree.leaves(model.variables))
    table = Table("", title=f"one sequence of {height} x {width} frames, on {jax.local_devices()[0].device_kind}")
    for heading in ("MB", "ms (median)", "quartiles", "largest difference"):
        table.add_column(heading, justify="right")
    sizes = (weights, len(out.read_bytes()))
    for name, size, taken, apart in zip(("live, weights", "file"), sizes, seconds, ("", f"{difference:.1e}"), strict=True):
        low, middle, high = (1e3 * value for value in statistics.quantiles(taken))
        table.add_row(name, f"{size / 1e6:.2f}", f"{middle:.1f}", f"{low:.1f} to {high:.1f}", apart)
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
