"""Measures the cost and the error of tiles: a mosaic of Moving MNIST, predicted whole and in tiles with decreasing overlaps.

The tiles of the last row are smaller than two receptive radii, as the tiles of the published networks are; `Forecaster`
then chooses an overlap of half a tile.

Differences from the whole frame's prediction are in grey levels (0 to 255), beside the prediction's own error.
"""

from __future__ import annotations

import pathlib
import time

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from stlight_jax import Forecaster
from stlight_jax.commands.run_command import run_script
from stlight_jax.data.load import check_config, open_test
from stlight_jax.inference import trained
from stlight_jax.model.tiling import Tile, Tiling, receptive_radius

_SIDE = flags.DEFINE_integer("side", 16, "Sequences along a side of the mosaic.")
_TILE = flags.DEFINE_integer("tile", 256, "Pixels along a side of a tile.")
_SMALL_TILE = flags.DEFINE_integer("small_tile", 144, "Pixels along a side of a tile that is smaller than two receptive radii.")
_OUT = flags.DEFINE_string("out", None, "File for the table, in addition to the screen.")


def main() -> None:
    """Predicts the mosaic with each tiling and prints a table."""
    model = trained.load("tiny")
    radius = receptive_radius(model.config)
    side = _SIDE.value
    clips = open_test(check_config(model.description["config"])).frames(np.arange(side**2))
    frames = clips.reshape(side, side, *clips.shape[1:])  # [rows, columns, t, h, w, c]
    frames = frames.transpose(2, 0, 3, 1, 4, 5).reshape(clips.shape[1], side * 32, side * 32, 1)  # [t, rows*h, columns*w, c]
    inputs, truth = frames[:10], frames[10:].astype(np.float32)
    whole, reference, seconds = _predict(Forecaster(model, memory=2**40), inputs)
    table = Table("tile", title=f"{side * 32} x {side * 32} pixels, receptive radius {radius}; XLA:CPU")
    for heading in ("overlap", "tiles", "RMSE", "mean difference", "at seams", "largest", "seconds", "MiB of a program"):
        table.add_column(heading, justify="right")
    table.add_row("whole", "", "1", _rmse(reference, truth), "", "", "", f"{seconds:.1f}", _memory(whole))
    tilings = [
        Tiling.square(model.config, _TILE.value, overlap)
        for overlap in (2 * radius, _TILE.value // 2, radius, 32, 16, 8, 0)
        if overlap < _TILE.value
    ]
    for tiling in (*tilings, Tiling.square(model.config, _SMALL_TILE.value)):
        forecaster, prediction, seconds = _predict(Forecaster(model, tile=tiling.height, overlap=tiling.overlap), inputs)
        tiles = list(tiling.tiles(*frames.shape[1:3]))
        difference = np.abs(prediction - reference)
        seams = np.any([_seam(tile, frames.shape[1:3]) for tile in tiles], axis=0)
        table.add_row(
            str(tiling.height), str(tiling.overlap), str(len(tiles)), _rmse(prediction, truth), f"{difference.mean():.3f}",
            f"{difference[:, seams].mean():.3f}", f"{difference.max():.3f}", f"{seconds:.1f}", _memory(forecaster),
        )  # fmt: skip
    console = Console(width=120, record=True)
    console.print(table)
    console.print("At seams: within 4 pixels of the middle of an overlap.")
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(console.export_text())


def _predict(forecaster: Forecaster, inputs: np.ndarray) -> tuple[Forecaster, np.ndarray, float]:
    forecaster.warmup(inputs.shape)
    begin = time.perf_counter()
    return forecaster, forecaster(inputs, dtype="float32"), time.perf_counter() - begin


def _rmse(prediction: np.ndarray, truth: np.ndarray) -> str:
    return f"{np.sqrt(np.square(prediction - truth).mean()):.3f}"


def _seam(tile: Tile, shape: tuple[int, int]) -> np.ndarray:
    """Returns the pixels where a tile's weight passes one half: the middle of its overlaps."""
    near = np.zeros(shape, bool)
    for axis, pixels in enumerate((tile.rows, tile.columns)):
        weights = tile.weights.max(1 - axis)
        for edge in np.flatnonzero(np.diff((weights > 0.5 * weights.max()).astype(int), prepend=0, append=0)):
            at = pixels.start + edge
            if 4 < at < shape[axis] - 4:
                lines = [slice(None), slice(None)]
                lines[axis] = slice(at - 4, at + 4)
                near[tuple(lines)] = True
    return near


def _memory(forecaster: Forecaster) -> str:
    programs = forecaster._programs._compiled.values()
    return f"{max(program.memory_analysis().temp_size_in_bytes for program in programs) / 2**20:.0f}"


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    run_script(main)
