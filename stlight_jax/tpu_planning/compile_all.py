"""The programs of one config, compiled for several TPU slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.tpu_planning.chips import Slice
from stlight_jax.tpu_planning.compile_plan import Compiled, Misfit, Plan, Search, TooLargeError, largest_batch


def compile_all(plan: Plan, slices: Sequence[Slice], batch: int, search: bool) -> tuple[list[Compiled | Misfit], Search | None]:
    """The training step for each slice, that of the largest batch that a search finds, and prediction for each chip.

    Args:
      batch: sequences per chip.
      search: whether to search, on the first slice.

    Raises InputError if the training step fits none of them.
    """
    programs = [_fitted(slice_, "training", plan.training, batch) for slice_ in slices]
    tried = {batch: programs[0]}
    found = _search(plan, slices[0], tried, batch) if search else None
    if found is not None and found.fits not in (0, batch):
        programs.append(tried[found.fits])
    if all(isinstance(program, Misfit) for program in programs):
        raise InputError(
            f"the training step does not fit a {slices[0].chip.name} chip with {batch} sequences; give a smaller "
            "--batch_per_chip, --config.model.rematerialise=blocks or --config.model.dtype=bfloat16"
        )
    for slice_ in {slice_.chip.name: slice_ for slice_ in reversed(slices)}.values():
        programs.append(_fitted(slice_, "prediction", plan.prediction, batch))
    return programs, found


def _fitted(slice_: Slice, kind: str, compile_for: Callable[[Slice, int], Compiled], batch: int) -> Compiled | Misfit:
    """Compiles and says so."""
    chips = f"{len(slice_.devices)} chips of {slice_.name}" if kind == "training" else f"a {slice_.chip.name} chip"
    print_message(f"compiling {kind} for {chips}, {batch} sequences each (minutes) ...")
    try:
        compiled = compile_for(slice_, batch)
    except TooLargeError as error:
        print_message(
            f"  does not fit{'' if error.needed is None else f': temporaries alone take {error.needed / 2**30:.1f} GiB'}"
        )
        return Misfit(kind, slice_, batch, error.needed)
    print_message(
        f"  fits: {compiled.memory.total / 2**30:.2f} of {slice_.chip.hbm_bytes / 2**30:.0f} GiB, {compiled.seconds:.0f} s"
    )
    return compiled


def _search(plan: Plan, slice_: Slice, tried: dict[int, Compiled | Misfit], start: int) -> Search:
    """Adds what it compiles to `tried`."""

    def compiled_at(batch: int) -> Compiled:
        if batch not in tried:
            tried[batch] = _fitted(slice_, "training", plan.training, batch)
        found = tried[batch]
        if isinstance(found, Misfit):
            raise TooLargeError(found.needed)
        return found

    # The batch is the second dimension of tiles of 8 x 128.
    fine = plan.config.train.accumulate
    step = math.lcm(8 if start >= 8 else 1, fine)
    return largest_batch(compiled_at, slice_.chip.hbm_bytes, -(-start // step) * step, step, 8, fine)
