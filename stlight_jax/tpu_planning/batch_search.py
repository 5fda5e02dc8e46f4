"""The search for the largest batch per chip that fits."""

import dataclasses
from collections.abc import Callable

from stlight_jax.tpu_planning.compile_plan import CompiledProgram, OversizedProgram


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
