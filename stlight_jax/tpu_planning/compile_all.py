"""The programs of one config, compiled for several TPU slices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.tpu_planning.batch_search import BatchSearch, largest_batch
from stlight_jax.tpu_planning.chips import Slice
from stlight_jax.tpu_planning.compile_plan import CompilePlan
from stlight_jax.tpu_planning.compiled_program import CompiledProgram, OversizedProgram

Programs = list[CompiledProgram | OversizedProgram]


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
