"""The pipeline of `compile`: a config and slices in; a table, a JSON file and a chart out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.reports.tpu_chart import draw_programs
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder
from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.chips import slice_by_name
from stlight_jax.tpu_planning.compile_all import compile_all
from stlight_jax.tpu_planning.compile_plan import CompilePlan

JSON, TEXT, PLOT = "compile.json", "compile.txt", "compile.png"


def report_compilation(
    config: RunConfig,
    frame_size: tuple[int, int],
    topologies: Sequence[str],
    batch: int,
    search: bool,
    out: epath.PathLike | None = None,
) -> dict[str, Any]:
    """Compiles a config for slices of a TPU pod, and prints the table.

    Args:
      config: a checked config.
      frame_size: height and width of the frames in pixels.
      topologies: the slices, such as "v5e:4x4".
      batch: sequences per chip.
      search: whether to search the largest batch that fits the first slice.
      out: folder for the three files `JSON`, `TEXT` and `PLOT`; None for none.

    Returns:
      The content of the JSON file.

    Raises:
      InputError: a slice is unknown, the training step fits none of them, or the folder cannot be written.
    """
    jax.config.update("jax_platforms", "cpu")  # an accelerator of this machine has no part in this
    jax.config.update("jax_enable_compilation_cache", False)  # programs for absent devices cannot be read back
    plan = CompilePlan(config, frame_size)
    slices = [slice_by_name(name) for name in topologies]
    folder = epath.Path(out) if out else None
    if folder is not None:
        create_folder(folder)
    title = f"STLight {config.dataset} {config.size}, {plan.model_config.dtype}"
    programs, found = compile_all(plan, slices, batch, search)
    results = tpu_table.as_json(title, plan.model_config, programs, found)
    text = tpu_table.as_text(results)
    if folder is not None:
        _write(folder, title, results, text)
    print(text, end="")
    return results


def _write(folder: epath.Path, title: str, results: dict[str, Any], text: str) -> None:
    write_json(folder / JSON, results)
    (folder / TEXT).write_text(text)
    trained = [one for one in results["programs"] if one["program"] == "training" and "does_not_fit" not in one]
    if trained:
        labels = [f"{program['topology']}, {program['batch_per_chip']} per chip" for program in trained]
        draw_programs(folder / PLOT, labels, trained, title)
    print_message(f"{', '.join((JSON, TEXT, PLOT))} are in {folder}")
