"""A program compiled for a TPU slice: its memory, its cost and the least time that the chips' published peaks allow."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from stlight_jax.tpu_planning.chips import Chip, Slice
from stlight_jax.tpu_planning.hlo_costs import ProgramCost
from stlight_jax.tpu_planning.hlo_program import Collective


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
    """Memory of one chip at the peak, in bytes.

    Attributes:
      arguments: inputs of the program.
      results: outputs beside the state, which is updated in place.
      temporaries: intermediate arrays.
      code: the program itself.
    """

    arguments: int
    results: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.arguments + self.results + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class TimeBound:
    """The least time of a step, in seconds, if everything overlaps and runs at the published peaks. Not a measurement.

    Attributes:
      products: time of the matrix units.
      memory: time of the traffic to and from main memory.
      network: time of the traffic between chips.
    """

    products: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """The least time of a whole step."""
        return max(self.products, self.memory, self.network)

    @property
    def limited_by(self) -> str:
        """The name of the part that takes longest."""
        return max(("products", "memory", "network"), key=lambda part: getattr(self, part))


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
    """A program for one slice.

    Attributes:
      kind: "training" (the training step, all chips together) or "prediction" (`Predictor`, each chip alone).
      slice: the slice.
      batch_per_chip: sequences per chip.
      memory: memory of one chip.
      cost: cost of one run on one chip.
      collectives: operations of all chips together.
      seconds: duration of the compilation.
    """

    kind: str
    slice: Slice
    batch_per_chip: int
    memory: DeviceMemory
    cost: ProgramCost
    collectives: tuple[Collective, ...]
    seconds: float

    @property
    def bound(self) -> TimeBound:
        """The least time of a step."""
        return time_bound(self.slice.chip, self.cost, self.collectives, len(self.slice.devices))

    @property
    def sequences_per_second(self) -> float:
        """The most sequences per second of the whole slice."""
        return self.batch_per_chip * len(self.slice.devices) / self.bound.seconds

    def as_json(self) -> dict[str, Any]:
        """Returns plain data: figures per chip, times in seconds, sizes in bytes; `sequences_per_second` of the slice."""
        bound = self.bound
        return {
            **_program_json(self),
            "hosts": self.slice.hosts,
            "memory": {
                **dataclasses.asdict(self.memory),
                "total": self.memory.total,
                "capacity": int(self.slice.chip.hbm_bytes),
            },
            "flops": self.cost.flops,
            "flops_of_products": self.cost.product_flops,
            "bfloat16_passes_of_products": self.cost.product_passes,
            "transcendentals": self.cost.transcendentals,
            "bytes_moved": self.cost.bytes,
            "bytes_moved_that_are_padding": self.cost.padding_bytes,
            "arithmetic_intensity": self.cost.flops / self.cost.bytes,
            "collectives": _collectives_json(self.collectives),
            "bound_not_a_measurement": {
                **dataclasses.asdict(bound),
                "seconds_per_step": bound.seconds,
                "limited_by": bound.limited_by,
                "sequences_per_second": self.sequences_per_second,
            },
            "compile_seconds": self.seconds,
        }


@dataclasses.dataclass(frozen=True)
class OversizedProgram:
    """A program that does not fit into the memory of a chip.

    Attributes:
      kind: see `CompiledProgram`.
      slice: the slice.
      batch_per_chip: sequences per chip.
      needed: bytes that the program needs, if the compiler's message has them.
    """

    kind: str
    slice: Slice
    batch_per_chip: int
    needed: float | None

    def as_json(self) -> dict[str, Any]:
        """Returns plain data, sizes in bytes."""
        return {
            **_program_json(self),
            "does_not_fit": True,
            "needed": self.needed,
            "capacity": int(self.slice.chip.hbm_bytes),
        }


def time_bound(chip: Chip, cost: ProgramCost, collectives: Sequence[Collective], chips: int) -> TimeBound:
    """Computes the least time that published peaks allow.

    Args:
      chip: the chip with its peaks.
      cost: cost of one run on one chip.
      collectives: operations of all chips together.
      chips: number of chips.
    """
    sent = sum(one.times * one.bytes * _times_sent(one.kind, chips) for one in collectives)
    return TimeBound(cost.product_passes / chip.bf16_flops, cost.bytes / chip.hbm_bandwidth, sent / (chip.ici_bandwidth / 2))


def _times_sent(kind: str, chips: int) -> float:
    """Returns how often each chip sends the bytes of a collective's result at least."""
    others = (chips - 1) / chips
    return {"all-reduce": 2 * others, "reduce-scatter": chips - 1, "collective-permute": 1.0}.get(kind, others)


def _program_json(program: CompiledProgram | OversizedProgram) -> dict[str, Any]:
    return {
        "program": program.kind,
        "topology": program.slice.name,
        "chips": len(program.slice.devices),
        "batch_per_chip": program.batch_per_chip,
    }


def _collectives_json(collectives: Sequence[Collective]) -> dict[str, dict[str, int]]:
    found = {}
    for kind in sorted({collective.kind for collective in collectives}):
        same = [collective for collective in collectives if collective.kind == kind]
        found[kind] = {
            "per_step": sum(one.times for one in same),
            "bytes_per_step": sum(one.times * one.bytes for one in same),
            "largest_bytes": max(one.bytes for one in same),
        }
    return found
