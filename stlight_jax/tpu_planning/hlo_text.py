"""The text of a compiled program (HLO), parsed into computations of instructions."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=\s]*)\](?:\{([^{}]*)\})?")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)")
_OPCODE = re.compile(r"([a-z][a-z0-9\-]*)\(")
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


@dataclasses.dataclass(frozen=True)
class HloInstruction:
    """One line of HLO.

    Attributes:
      name: name of the instruction and of its result.
      opcode: the operation, such as "add".
      elements: arrays of each element of the resulting tuple; one element if the result is no tuple.
      operands: names of the operands.
      attributes: the rest of the line, from the first operand on.
      is_root: whether the result is that of the computation.
    """

    name: str
    opcode: str
    elements: tuple[tuple[HloArray, ...], ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @functools.cached_property
    def result(self) -> tuple[HloArray, ...]:
        """All resulting arrays."""
        return tuple(array for element in self.elements for array in element)

    @property
    def new_arrays(self) -> tuple[HloArray, ...]:
        """The resulting arrays without the operands and flags that an asynchronous start returns beside them."""
        return self.elements[_RESULT_INDEX[self.opcode]] if self.opcode in _RESULT_INDEX else self.result

    def called(self, attribute: str) -> str:
        """Returns the name of the computation in an attribute such as `calls`; "" without the attribute."""
        return self.search(rf"\b{attribute}=%?([\w.\-]+)")

    def search(self, pattern: str) -> str:
        """Returns the first group of a pattern's first match in the attributes; "" without a match."""
        found = re.search(pattern, self.attributes)
        return found.group(1) if found else ""


Computation = dict[str, HloInstruction]  # by name, in the order of execution


def parse_hlo(text: str) -> tuple[dict[str, Computation], str]:
    """Parses a compiled module.

    Args:
      text: the module as `jax.stages.Compiled.as_text` returns it.

    Returns:
      The computations by name, and the name of the entry computation.
    """
    computations: dict[str, Computation] = {}
    entry = ""
    current: Computation = {}
    for line in text.splitlines():
        if line and not line[0].isspace():
            header = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
            if header:
                current = computations.setdefault(header.group(2), {})
                entry = header.group(2) if header.group(1) else entry
        elif line.startswith(" ") and (instruction := _parse_instruction(line)):
            current[instruction.name] = instruction
    return computations, entry


def root_of(computation: Computation) -> HloInstruction:
    """Returns the instruction with the result of a computation."""
    return next(instruction for instruction in computation.values() if instruction.is_root)


def parameters_of(computation: Computation) -> dict[int, HloInstruction]:
    """Returns the parameters of a computation by number."""
    parameters = (instruction for instruction in computation.values() if instruction.opcode == "parameter")
    return {int(parameter.attributes.split(")")[0]): parameter for parameter in parameters}


def users_of(computation: Computation, name: str) -> list[HloInstruction]:
    """Returns the instructions that have the named one as an operand."""
    return [instruction for instruction in computation.values() if name in instruction.operands]


def integer_constant(computation: Computation, name: str) -> int | None:
    """Returns the value of an integer constant, also behind copies; None for any other instruction."""
    instruction = computation[name]
    while instruction.opcode in ("copy", "bitcast", "copy-done", "copy-start"):
        instruction = computation[instruction.operands[0]]
    number = re.match(r"(-?\d+)\)", instruction.attributes)
    return int(number.group(1)) if instruction.opcode == "constant" and number else None


def _parse_instruction(line: str) -> HloInstruction | None:
    found = _INSTRUCTION.match(line)
    if not found:
        return None
    root, name, rest = found.groups()
    type_text, rest = _split_type(rest)
    opcode = _OPCODE.match(rest)
    if opcode is None:
        return None
    rest = rest[opcode.end() :]
    words = re.sub(r"/\*.*?\*/|\[[^\]]*\]|\{[^}]*\}", "", rest[: _closing(rest)]).split(",")
    operands = tuple(word.split()[-1].removeprefix("%") for word in words if word.strip())
    elements = tuple(tuple(_parse_arrays(element)) for element in _elements(type_text))
    return HloInstruction(name, opcode.group(1), elements, operands, rest, bool(root))


def _split_type(text: str) -> tuple[str, str]:
    """Splits the text after "=" into the type and the rest."""
    if text.startswith("("):
        end = _closing(text[1:]) + 2
        return text[:end], text[end:].lstrip()
    type_text, _, rest = text.partition(" ")
    return type_text, rest


def _closing(text: str) -> int:
    """Returns the index of the parenthesis that closes the one before `text`."""
    depth = 1
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return index
    return len(text)


def _elements(type_text: str) -> Iterator[str]:
    """Yields the types of a tuple's elements, which may be tuples again; or the type itself if it is no tuple."""
    if not type_text.startswith("("):
        yield type_text
        return
    depth, begin = 0, 1
    for index, character in enumerate(type_text):
        depth += (character in "([{") - (character in ")]}")
        if (character, depth) in ((",", 1), (")", 0)):
            yield type_text[begin:index]
            begin = index + 1


def _parse_arrays(type_text: str) -> Iterator[HloArray]:
    for dtype, sides, layout in _ARRAY.findall(type_text):
        shape = tuple(int(side.strip().lstrip("<=")) for side in sides.split(",") if side.strip())
        bits = _BITS.get(dtype) or int((re.findall(r"\d+", dtype) or ["0"])[0])
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
