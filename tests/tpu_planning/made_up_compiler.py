"""A made-up compiler, for tests without libtpu."""

from stlight_jax.tpu_planning.chips import CHIPS, Slice
from stlight_jax.tpu_planning.compile_plan import CompiledProgram, DeviceMemory, OversizedProgram
from stlight_jax.tpu_planning.hlo_program import ProgramCost


def made_up(batch, per_sequence=1.0, limit=16.0):
    """A chip of `limit` GiB and a program of 1 GiB and so much for each sequence."""
    one_chip = Slice("v5e:1x1", CHIPS["v5e"], (None,))
    if 1 + batch * per_sequence > limit:
        return OversizedProgram("training", one_chip, batch, None)
    memory = DeviceMemory(2**30, 0, int(batch * per_sequence * 2**30), 0)
    return CompiledProgram("training", one_chip, batch, memory, ProgramCost(bytes=1.0), (), 0.0)
