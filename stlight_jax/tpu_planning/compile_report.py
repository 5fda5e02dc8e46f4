"""The pipeline of `compile`: a config and slices in; a table, a JSON file and a chart out."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.reports.figures import draw_programs
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder
from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.chips import Slice, slice_by_name
from stlight_jax.tpu_planning.compile_plan import CompiledProgram, CompilePlan, OversizedProgram

JSON, TEXT, PLOT = "compile.json", "compile.txt", "compile.png"

Programs = list[CompiledProgram | OversizedProgram]


@dataclasses.dataclass(frozen=True)
class BatchSearch:
    """The result of a search for the largest batch.

    Attributes:
      fits: the largest batch per chip that was compiled and fits; 0 if none does.
      too_large: the smallest batch that was tried and does not fit; None if all fitted.
      tried: bytes on a chip by batch; None for a program that does not fit and whose need is unknown.
    """

    fits: int
    too_large: int | None
    tried: dict[int, float | None]


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
    search_json = None if found is None else {"topology": slices[0].name, **dataclasses.asdict(found)}
    results = tpu_table.as_json(title, plan.model_config, programs, search_json)
    text = tpu_table.as_text(results)
    if folder is not None:
        _write(folder, title, results, text)
    print(text, end="")
    return results


def compile_all(plan: CompilePlan, slices: Sequence[Slice], batch: int, search: bool) -> tuple[Programs, BatchSearch | None]:
    """Compiles the training step for each slice and the prediction for each chip, with a message for each.

    Args:
      plan: the programs of a config.
      slices: the slices.
      batch: sequences per chip.
      search: whether to search the largest batch that fits the first slice.

    Returns:
      The programs, including the training step with the largest batch; and the search, or None.

    Raises:
      InputError: the training step fits no slice.
    """
    programs = [_compile(plan, "training", slice_, batch) for slice_ in slices]
    found = None
    if search:
        found, largest = _search(plan, slices[0], programs[0])
        programs += largest
    if all(isinstance(program, OversizedProgram) for program in programs):
        raise InputError(
            f"the training step does not fit a {slices[0].chip.name} chip with {batch} sequences; give a smaller "
            "--batch_per_chip, --config.model.rematerialise=blocks or --config.model.dtype=bfloat16"
        )
    first_of_chip = {slice_.chip.name: slice_ for slice_ in reversed(slices)}.values()
    return programs + [_compile(plan, "prediction", slice_, batch) for slice_ in first_of_chip], found


def _compile(plan: CompilePlan, kind: str, slice_: Slice, batch: int) -> CompiledProgram | OversizedProgram:
    chips = f"{len(slice_.devices)} chips of {slice_.name}" if kind == "training" else f"a {slice_.chip.name} chip"
    print_message(f"compiling {kind} for {chips}, {batch} sequences each (minutes) ...")
    program = (plan.training if kind == "training" else plan.prediction)(slice_, batch)
    if isinstance(program, OversizedProgram):
        needed = "" if program.needed is None else f": temporaries alone take {program.needed / 2**30:.1f} GiB"
        print_message(f"  does not fit{needed}")
    else:
        memory = f"{program.memory.total / 2**30:.2f} of {slice_.chip.hbm_bytes / 2**30:.0f} GiB"
        print_message(f"  fits: {memory}, {program.seconds:.0f} s")
    return program


def _search(plan: CompilePlan, slice_: Slice, first: CompiledProgram | OversizedProgram) -> tuple[BatchSearch, Programs]:
    """Searches from the batch of a compiled program; also returns the program of the largest batch, if it is a new one."""
    start = first.batch_per_chip
    programs = {start: first}

    def compiled_at(batch: int) -> CompiledProgram | OversizedProgram:
        if batch not in programs:
            programs[batch] = _compile(plan, "training", slice_, batch)
        return programs[batch]

    # The batch is the second dimension of tiles of 8 x 128.
    fine = plan.config.train.accumulate
    step = math.lcm(8 if start >= 8 else 1, fine)
    found = largest_batch(compiled_at, slice_.chip.hbm_bytes, -(-start // step) * step, step, 8, fine)
    return found, [programs[found.fits]] if found.fits not in (0, start) else []


def largest_batch(
    compiled_at: Callable[[int], CompiledProgram | OversizedProgram],
    capacity: float,
    start: int,
    step: int,
    limit: int,
    fine: int = 1,
) -> BatchSearch:
    """Searches the largest batch per chip whose program fits, to an eighth of it (or `step`, if that is more).

    If even one `step` is too large, the search continues below it in steps of `fine`.

    Args:
      compiled_at: compiles for a batch per chip.
      capacity: bytes of a chip's memory, for a first guess: the compiler decides.
      start: the first batch, a multiple of `step`.
      step: all batches are multiples of it.
      limit: the largest number of compilations.
      fine: a divisor of `step`.
    """
    fits, too_large = 0, None
    tried: dict[int, float | None] = {}
    batch = start
    while batch and batch not in tried and len(tried) < limit:
        program = compiled_at(batch)
        guess = 0
        if isinstance(program, OversizedProgram):
            tried[batch], too_large = program.needed, batch
        else:
            memory = program.memory
            tried[batch], fits = float(memory.total), batch
            # All memory but the parameters and their moments grows with the batch.
            guess = int((capacity - memory.arguments - memory.code) / ((memory.temporaries + memory.results) / batch))
        if too_large == step:  # the smallest multiple
            step = fine
        if too_large is None:
            batch = max(guess // step, fits // step + 1) * step
        elif too_large - fits <= max(step, fits // 8):
            break
        else:
            batch = (fits + too_large) // 2 // step * step
    return BatchSearch(fits, too_large, tried)


def _write(folder: epath.Path, title: str, results: dict[str, Any], text: str) -> None:
    write_json(folder / JSON, results)
    (folder / TEXT).write_text(text)
    trained = [one for one in results["programs"] if one["program"] == "training" and "does_not_fit" not in one]
    if trained:
        labels = [f"{program['topology']}, {program['batch_per_chip']} per chip" for program in trained]
        draw_programs(folder / PLOT, labels, trained, title)
    print_message(f"{', '.join((JSON, TEXT, PLOT))} are in {folder}")
