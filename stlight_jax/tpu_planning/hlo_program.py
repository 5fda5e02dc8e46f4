"""The cost and the collectives of a compiled program, counted in its HLO text.

A loop counts as often as it runs: XLA's own `cost_analysis` counts its body once, and the network is a loop over its blocks.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator

from stlight_jax.tpu_planning.hlo_costs import ProgramCost, instruction_cost
from stlight_jax.tpu_planning.hlo_text import Computation, HloInstruction, integer_constant, parse_hlo, root_of

_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute", "collective-broadcast")


@dataclasses.dataclass(frozen=True)
class Collective:
    """An operation that all devices carry out together.

    Attributes:
      kind: its opcode, such as "all-reduce".
      bytes: size of the result on one device.
      times: how often it runs per run of the program.
    """

    kind: str
    bytes: int
    times: int


class HloProgram:
    """A compiled module.

    Args:
      text: the module as `jax.stages.Compiled.as_text` returns it.
    """

    def __init__(self, text: str):
        self._computations, self._entry = parse_hlo(text)

    def cost(self, loops: bool = True) -> ProgramCost:
        """Counts one run on one device.

        Args:
          loops: whether to count a loop as often as it runs; otherwise its body counts once, as in XLA's own analysis.
        """
        return self._cost(self._entry, loops)

    def collectives(self) -> list[Collective]:
        """Returns all collectives, in no particular order."""
        return list(self._collectives(self._entry, 1))

    @functools.cache  # noqa: B019 - a program is analysed once and discarded
    def _cost(self, name: str, loops: bool) -> ProgramCost:
        total = ProgramCost()
        computation = self._computations[name]
        for instruction in computation.values():
            total += instruction_cost(self._computations, computation, instruction)
            for inner, times in self._inlined(computation, instruction, loops):
                total += self._cost(inner, loops).times(times)
        return total

    def _collectives(self, name: str, times: int) -> Iterator[Collective]:
        computation = self._computations[name]
        for instruction in computation.values():
            kind = instruction.opcode.removesuffix("-start")
            if kind in _COLLECTIVES:
                yield Collective(kind, sum(array.bytes for array in instruction.new_arrays), times)
            if instruction.opcode == "fusion":
                yield from self._collectives(instruction.called("calls"), times)
            for inner, repeats in self._inlined(computation, instruction, True):
                yield from self._collectives(inner, times * repeats)

    def _inlined(self, computation: Computation, instruction: HloInstruction, loops: bool) -> list[tuple[str, int]]:
        """Returns the computations that an instruction runs in its place, and how often each runs."""
        if instruction.opcode == "while":
            return [(instruction.called("body"), self._trip_count(computation, instruction) if loops else 1)]
        if instruction.opcode == "call":
            return [(instruction.called("to_apply") or instruction.called("calls"), 1)]
        if instruction.opcode == "async-start":
            return [(instruction.called("calls"), 1)]
        if instruction.opcode == "conditional":  # one branch runs: for a lower bound, the cheapest
            names = re.findall(r"%([\w.\-]+)", instruction.search(r"branch_computations=\{([^}]*)\}"))
            names += filter(None, (instruction.called(f"{kind}_computation") for kind in ("true", "false")))
            return [(min(names, key=lambda name: self._cost(name, loops).bytes), 1)] if names else []
        return []

    def _trip_count(self, computation: Computation, loop: HloInstruction) -> int:
        """Returns the compiler's count, or else that of a counter which increases by one to a constant, as in scans."""
        known = loop.search(r'known_trip_count":\{"n":"(\d+)"')
        if known:
            return int(known)
        condition, body = self._computations[loop.called("condition")], self._computations[loop.called("body")]
        comparison = root_of(condition)
        index = condition[comparison.operands[0]].search(r"index=(\d+)")
        if comparison.opcode == "compare" and "direction=LT" in comparison.attributes and index:
            number = int(index)
            end = integer_constant(condition, comparison.operands[1])
            start = integer_constant(computation, computation[loop.operands[0]].operands[number])
            following = body[root_of(body).operands[number]]
            steps = [integer_constant(body, name) for name in following.operands] if following.opcode == "add" else []
            if end is not None and start is not None and 1 in steps:
                return end - start
        raise ValueError(f"the compiled program has no trip count for its loop {loop.name}")
