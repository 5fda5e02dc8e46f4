"""The text of a compiled program (HLO), parsed into computations of instructions."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=\s]*)\](?:\{([^{}]*)\})?")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)")  # root, name, type, opcode, rest
# Index of the result in the tuple that an asynchronous start returns; the other elements are operands and flags.
_RESULT_INDEX = {"all-gather-start": 1, "collective-permute-start": 1, "slice-start": 1, "copy-start": 0}


@dataclasses.dataclass(frozen=True)
class HloArray:
    """One array and its layout in memory.

    Attributes:
      dtype: HLO's name of the element type.
      shape: number of elements along each dimension.
      bytes: size without padding.
      padded_bytes: size in memory. On TPUs the two innermost dimensions fill tiles, such as 8 x 128.
      space: 0 for the device's main memory (HBM), other numbers for small memories close to its units.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    padded_bytes: int
    space: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class HloInstruction:
    """One line of HLO.

    Attributes:
      name: name of the instruction and of its result.
      opcode: the operation, such as "add".
      elements: arrays of each element of the resulting tuple; one element if the result is no tuple.
      operands: the instructions whose results it takes.
      attributes: the rest of the line, from the first operand on.
      is_root: whether the result is that of the computation.
      computations: all computations of the program by name.
      users: the instructions that take its result.
    """

    name: str
    opcode: str
    elements: tuple[tuple[HloArray, ...], ...]
    operands: tuple[HloInstruction, ...]
    attributes: str
    is_root: bool
    computations: dict[str, Computation]
    users: list[HloInstruction] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def result(self) -> tuple[HloArray, ...]:
        """All resulting arrays."""
        return tuple(array for element in self.elements for array in element)

    @property
    def new_arrays(self) -> tuple[HloArray, ...]:
        """The resulting arrays without the operands and flags that an asynchronous start returns beside them."""
        return self.elements[_RESULT_INDEX[self.opcode]] if self.opcode in _RESULT_INDEX else self.result

    def called(self, attribute: str) -> Computation:
        """Returns the computation in an attribute such as "calls", or in the first one of "to_apply|calls"."""
        return self.computations[self.search(rf"\b(?:{attribute})=%?([\w.\-]+)")]

    def search(self, pattern: str) -> str:
        """Returns the first group of a pattern's first match in the attributes; "" without a match."""
        found = re.search(pattern, self.attributes)
        return found.group(1) if found else ""


Computation = dict[str, HloInstruction]  # by name, in the order of execution


def parse_hlo(text: str) -> Computation:
    """Parses a compiled module.

    Args:
      text: the module as `jax.stages.Compiled.as_text` returns it.

    Returns:
      The entry computation.
    """
    computations: dict[str, Computation] = {}
    current: Computation = {}
    entry = current
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            current = computations[header.group(2)] = {}
            entry = current if header.group(1) else entry
        else:
            _parse_instruction(line, current, computations)
    return entry


def root_of(computation: Computation) -> HloInstruction:
    """Returns the instruction with the result of a computation."""
    return next(instruction for instruction in computation.values() if instruction.is_root)


def parameters_of(computation: Computation) -> list[HloInstruction]:
    """Returns the parameters of a computation in the order of their numbers."""
    parameters = (instruction for instruction in computation.values() if instruction.opcode == "parameter")
    return sorted(parameters, key=lambda parameter: int(parameter.attributes.split(")")[0]))


def integer_constant(instruction: HloInstruction) -> int | None:
    """Returns the value of an integer constant, also behind copies; None for any other instruction."""
    while instruction.opcode in ("copy", "bitcast", "copy-done", "copy-start"):
        instruction = instruction.operands[0]
    number = re.match(r"(-?\d+)\)", instruction.attributes)
    return int(number.group(1)) if instruction.opcode == "constant" and number else None


def _parse_instruction(line: str, computation: Computation, computations: dict[str, Computation]) -> None:
    """Adds the instruction of a line, if it has one, to a computation."""
    if not (found := _INSTRUCTION.match(line)):
        return
    root, name, type_text, opcode, attributes = found.groups()
    operands = [computation[item] for item in map(_last_word, _items(attributes)) if item in computation]
    types = _items(type_text[1:]) if type_text.startswith("(") else [type_text]
    elements = tuple(tuple(_parse_arrays(element)) for element in types)
    instruction = HloInstruction(name, opcode, elements, tuple(operands), attributes, bool(root), computations)
    computation[name] = instruction
    for operand in set(operands):
        operand.users.append(instruction)


def _items(text: str) -> list[str]:
    """Returns the items of the list in brackets that begins before `text`: ["a", "(b, c)"] for "a, (b, c)), d"."""
    depth, begin, items = 0, 0, []
    for index, character in enumerate(text):
        if not depth and character in ",)":
            items.append(text[begin:index].strip())
            begin = index + 1
            if character == ")":
                break
        depth += (character in "([{") - (character in ")]}")
    return items


def _last_word(item: str) -> str:
    """Returns the name of an operand, which may follow its type or a comment."""
    return re.split(r"[\s%/]", item)[-1]


def _parse_arrays(type_text: str) -> Iterator[HloArray]:
    for dtype, sides, layout in _ARRAY.findall(type_text):
        shape = tuple(int(side.strip().lstrip("<=")) for side in sides.split(",") if side.strip())
        bits = 8 if dtype == "pred" else int((re.findall(r"\d+", dtype) or ["0"])[0])  # the first number in "bf16", "f8e4m3fn"
        order, _, tiles = layout.partition(":")
        minor_to_major = [int(dimension) for dimension in order.split(",") if dimension.strip().isdigit()]
        space = re.search(r"S\((\d+)\)", tiles)
        tile = re.search(r"T\(([\d,]+)\)", tiles)
        padded = list(shape)
        if tile and len(minor_to_major) == len(shape):
            for dimension, side in zip(minor_to_major, reversed(tile.group(1).split(",")), strict=False):
                padded[dimension] = -(-shape[dimension] // int(side)) * int(side)
        size, padded_size = (-(-math.prod(sides) * bits // 8) for sides in (shape, padded))
        yield HloArray(dtype, shape, size, padded_size, int(space.group(1)) if space else 0)
