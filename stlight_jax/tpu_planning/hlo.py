"""What a compiled program does, read off its HLO text: arithmetic, memory traffic and collectives.

Loops count as often as they turn: XLA's own `cost_analysis` counts their body once, and a network here is a loop over its
blocks. Its counting is followed otherwise: an addition or a product counts 1, a convolution 2 for each pair of an output and a
tap that lies within the image; traffic is what instructions outside fusions read and write. Layouts tell padding: on TPUs the
two innermost dimensions of an array in memory fill tiles, such as 8 x 128.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=\s]*)\](?:\{([^{}]*)\})?")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)")
_OPCODE = re.compile(r"([a-z][a-z0-9\-]*)\(")
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute", "collective-broadcast")
_ARITHMETIC = {
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "negate", "abs", "and", "or", "xor", "not", "compare",
    "select", "clamp", "sign", "floor", "ceil", "remainder", "round-nearest-even", "round-nearest-afz", "shift-left",
    "shift-right-logical", "shift-right-arithmetic", "convert", "reduce-precision", "is-finite",
}  # fmt: skip
_TRANSCENDENTAL = {
    "exponential", "exponential-minus-one", "log", "log-plus-one", "logistic", "tanh", "erf", "sqrt", "rsqrt", "cbrt", "power",
    "sine", "cosine", "tan", "atan2",
}  # fmt: skip
# These move nothing by themselves: what they stand for is counted at the instructions that read or write it.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id", "replica-id", "opt-barrier",
    "copy-done", "slice-done", "async-done", "async-update", "all-reduce-done", "all-gather-done", "collective-permute-done",
    "add-dependency", "domain",
}  # fmt: skip
# Which element of the tuple that an asynchronous start gives is its result; others are operands and flags.
_RESULT_AT = {"all-gather-start": 1, "collective-permute-start": 1, "slice-start": 1, "copy-start": 0}
_PASSES = {"default": 1, "high": 3, "highest": 6}


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a shape, as it lies in memory.

    Attributes:
      dtype: HLO's name of it.
      shape: in elements.
      bytes: without padding.
      padded_bytes: as laid out.
      space: 0 is the device's main memory (HBM), others are small ones close to its units.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    padded_bytes: int
    space: int

    @property
    def elements(self) -> int:
        """How many."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of HLO: name, opcode, the elements of the tuple it gives, its operands' names, and the rest of the line.

    An element may be a tuple itself and have several arrays; what is no tuple has one element.
    """

    name: str
    opcode: str
    elements: tuple[tuple[Array, ...], ...]
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    @functools.cached_property
    def result(self) -> tuple[Array, ...]:
        """All arrays it gives."""
        return tuple(array for element in self.elements for array in element)

    @property
    def made(self) -> tuple[Array, ...]:
        """Those of them that are new: an asynchronous start gives its operands and flags beside them."""
        return self.elements[_RESULT_AT[self.opcode]] if self.opcode in _RESULT_AT else self.result

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute such as `calls` names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found.group(1) if found else None

    @property
    def source(self) -> str:
        """The JAX operation it came from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found.group(1) if found else ""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one run on one device.

    Attributes:
      flops: of arithmetic, convolutions and products included, transcendental functions not.
      product_flops: of convolutions and products alone.
      product_passes: the same, times the passes of bfloat16 products that their precision takes on a TPU.
      transcendentals: evaluations of such functions.
      bytes: moved to and from main memory, padding included.
      padding_bytes: the part of them that is padding.
    """

    flops: float = 0.0
    product_flops: float = 0.0
    product_passes: float = 0.0
    transcendentals: float = 0.0
    bytes: float = 0.0
    padding_bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def times(self, turns: int) -> Cost:
        """Of so many runs."""
        return Cost(*(turns * value for value in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class Collective:
    """What devices carry out together: kind, bytes of the result on one device, times per run, and where it comes from."""

    kind: str
    bytes: int
    times: int
    source: str


class Program:
    """A compiled module. Args: text, as `jax.stages.Compiled.as_text` gives it."""

    def __init__(self, text: str):
        self._computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if line and not line[0].isspace():
                header = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
                if header:
                    current = self._computations.setdefault(header.group(2), {})
                    self.entry = header.group(2) if header.group(1) else self.entry
            elif line.startswith(" ") and (instruction := _instruction(line)):
                current[instruction.name] = instruction

    def cost(self, loops: bool = True) -> Cost:
        """Of one run on one device. Args: loops: False counts the body of a loop once, as XLA's own analysis does."""
        return self._cost(self.entry, loops)

    def collectives(self) -> list[Collective]:
        """All of them, in no particular order."""
        return list(self._collectives(self.entry, 1))

    @functools.cache  # noqa: B019 - a program is read once and thrown away
    def _cost(self, computation: str, loops: bool) -> Cost:
        total = Cost()
        for instruction in self._computations[computation].values():
            total += self._own_cost(computation, instruction)
            for inner, turns in self._inner(computation, instruction, loops):
                total += self._cost(inner, loops).times(turns)
        return total

    def _inner(self, computation: str, instruction: Instruction, loops: bool) -> list[tuple[str, int]]:
        """The computations that an instruction runs as if they stood in its place, and how often."""
        if instruction.opcode == "while":
            return [(instruction.called("body") or "", self._turns(computation, instruction) if loops else 1)]
        if instruction.opcode == "call":
            return [(instruction.called("to_apply") or instruction.called("calls") or "", 1)]
        if instruction.opcode == "async-start":
            return [(instruction.called("calls") or "", 1)]
        if instruction.opcode == "conditional":  # one of them runs: for a bound, the cheapest
            names = re.findall(r"%([\w.\-]+)", "".join(re.findall(r"branch_computations=\{([^}]*)\}", instruction.rest)))
            names += [name for kind in ("true", "false") if (name := instruction.called(f"{kind}_computation"))]
            return [(min(names, key=lambda name: self._cost(name, loops).bytes), 1)] if names else []
        return []

    def _turns(self, computation: str, loop: Instruction) -> int:
        """As the compiler wrote it down, or else by a counter that goes up by one to a constant, as those of scans do."""
        found = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
        if found:
            return int(found.group(1))
        condition = self._computations[loop.called("condition") or ""]
        body = self._computations[loop.called("body") or ""]
        root = next(part for part in condition.values() if part.is_root)
        counter = condition[root.operands[0]]
        place = re.search(r"index=(\d+)", counter.rest)
        if root.opcode == "compare" and "direction=LT" in root.rest and place:
            number = int(place.group(1))
            outside = self._computations[computation]
            last = self._constant(condition, root.operands[1])
            start = self._constant(outside, outside[loop.operands[0]].operands[number])
            following = next(part for part in body.values() if part.is_root).operands[number]
            steps = [self._constant(body, name) for name in body[following].operands] if body[following].opcode == "add" else []
            if last is not None and start is not None and 1 in steps:
                return last - start
        raise ValueError(f"the compiled program does not tell how often its loop {loop.name} turns")

    def _constant(self, computation: dict[str, Instruction], name: str) -> int | None:
        """The value of an integer that is one; None if it is not."""
        found = computation[name]
        while found.opcode in ("copy", "bitcast", "copy-done", "copy-start"):
            found = computation[found.operands[0]]
        number = re.match(r"(-?\d+)\)", found.rest)
        return int(number.group(1)) if found.opcode == "constant" and number else None

    def _collectives(self, computation: str, times: int) -> Iterator[Collective]:
        for instruction in self._computations[computation].values():
            kind = instruction.opcode.removesuffix("-start")
            if kind in _COLLECTIVES:
                yield Collective(kind, sum(array.bytes for array in instruction.made), times, instruction.source)
            if instruction.opcode == "fusion":
                yield from self._collectives(instruction.called("calls") or "", times)
            for inner, turns in self._inner(computation, instruction, True):
                yield from self._collectives(inner, times * turns)

    def _own_cost(self, computation: str, instruction: Instruction) -> Cost:
        """Without what it calls as `_inner` says; a fusion's arithmetic is its own."""
        flops, products, passes, transcendentals = self._arithmetic(computation, instruction)
        read, written = self._traffic(computation, instruction)
        moved = [*read, *written]
        return Cost(
            flops, products, passes, transcendentals,
            sum(array.padded_bytes for array in moved if array.space == 0),
            sum(array.padded_bytes - array.bytes for array in moved if array.space == 0),
        )  # fmt: skip

    def _arithmetic(self, computation: str, instruction: Instruction) -> tuple[float, float, float, float]:
        opcode, elements = instruction.opcode, sum(array.elements for array in instruction.result)
        if opcode == "fusion":
            inner = instruction.called("calls") or ""
            parts = [self._arithmetic(inner, part) for part in self._computations[inner].values()]
            return tuple(map(sum, zip(*parts, strict=True)))  # type: ignore[return-value]
        if opcode in ("convolution", "dot"):
            operands = [self._arrays(computation, name)[0] for name in instruction.operands]
            count = (
                _convolution_flops(instruction, *operands) if opcode == "convolution" else _dot_flops(instruction, operands[0])
            )
            return count, count, count * _passes(instruction, operands), 0.0
        if opcode in _ARITHMETIC:
            return elements, 0.0, 0.0, 0.0
        if opcode in _TRANSCENDENTAL:
            return 0.0, 0.0, 0.0, elements
        if opcode in ("reduce", "reduce-window", "all-reduce"):
            given = instruction.operands[: max(len(instruction.operands) // 2, 1)]
            return sum(array.elements for name in given for array in self._arrays(computation, name)), 0.0, 0.0, 0.0
        return 0.0, 0.0, 0.0, 0.0

    def _traffic(self, computation: str, instruction: Instruction) -> tuple[list[Array], list[Array]]:
        """The arrays, or parts of them, that it reads and writes."""
        opcode, result = instruction.opcode, list(instruction.made)
        if opcode in _FREE or opcode in ("while", "call", "conditional", "async-start"):
            return [], []
        if opcode in ("slice", "dynamic-slice", "gather", "copy-start", "slice-start"):
            return [_part(self._arrays(computation, instruction.operands[0])[0], result[0])], result
        if opcode == "dynamic-update-slice":
            update = self._arrays(computation, instruction.operands[1])[0]
            return [update], [_part(result[0], update)]
        if opcode == "fusion":
            return self._fusion_traffic(computation, instruction)
        if opcode == "custom-call" and '"ConcatBitcast"' in instruction.rest:
            return [], []
        return [array for name in instruction.operands for array in self._arrays(computation, name)], result

    def _fusion_traffic(self, computation: str, instruction: Instruction) -> tuple[list[Array], list[Array]]:
        inner = self._computations[instruction.called("calls") or ""]
        parameters = _parameters(inner)
        updated = {self._origin(inner, part.operands[0]) for part in inner.values() if part.opcode == "dynamic-update-slice"}
        read: list[Array] = []
        for number, name in enumerate(instruction.operands):
            whole = self._arrays(computation, name)
            parameter = parameters.get(number)
            if parameter is None or len(whole) != 1:
                read += whole
                continue
            slices = self._slices(inner, parameter.name)
            if slices is not None:  # of a stack of blocks' parameters or activations it takes one
                read += [_part(whole[0], part) for part in slices]
            elif parameter.name in updated and len(self._users(inner, parameter.name)) == 1:
                continue  # written in place
            else:
                read += whole
        root = next(part for part in inner.values() if part.is_root)
        roots = [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]
        written = []
        for array, part in zip(instruction.result, roots, strict=False):
            while part.opcode in ("bitcast", "copy", "convert") and part.operands and part.operands[0] in inner:
                part = inner[part.operands[0]]
            if part.opcode == "dynamic-update-slice":
                written.append(_part(array, inner[part.operands[1]].result[0]))
            else:
                written.append(array)
        return read, written

    def _slices(self, inner: dict[str, Instruction], name: str) -> list[Array] | None:
        """What is taken of a parameter of a fusion if all its users take slices; otherwise None."""
        found: list[Array] = []
        for user in self._users(inner, name):
            if user.opcode in ("slice", "dynamic-slice") and user.operands[0] == name:
                found += user.result
                continue
            if user.opcode == "bitcast":
                aliases = [(inner, user.name)]
            elif user.opcode == "fusion":
                nested = self._computations[user.called("calls") or ""]
                parameters = _parameters(nested)
                aliases = [(nested, parameters[place].name) for place, given in enumerate(user.operands) if given == name]
            else:
                return None
            for computation, alias in aliases:
                slices = self._slices(computation, alias)
                if slices is None:
                    return None
                found += slices
        return found

    def _users(self, inner: dict[str, Instruction], name: str) -> list[Instruction]:
        return [part for part in inner.values() if name in part.operands]

    def _origin(self, inner: dict[str, Instruction], name: str) -> str:
        while inner[name].opcode in ("bitcast", "copy") and inner[name].operands:
            name = inner[name].operands[0]
        return name

    def _arrays(self, computation: str, name: str) -> list[Array]:
        return list(self._computations[computation][name].result)


def _instruction(line: str) -> Instruction | None:
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
    operands = [word.split()[-1].removeprefix("%") for word in words if word.strip()]
    elements = tuple(tuple(_arrays_of(element)) for element in _elements_of(type_text))
    return Instruction(name, opcode.group(1), elements, tuple(operands), rest, bool(root))


def _split_type(text: str) -> tuple[str, str]:
    """The type of an instruction, and what follows it."""
    if text.startswith("("):
        end = _closing(text[1:]) + 2
        return text[:end], text[end:].lstrip()
    type_text, _, rest = text.partition(" ")
    return type_text, rest


def _closing(text: str) -> int:
    """Where the parenthesis closes that stands before `text`."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return place
    return len(text)


def _elements_of(type_text: str) -> Iterator[str]:
    """The types in a tuple's, without looking into them; of another type that itself."""
    if not type_text.startswith("("):
        yield type_text
        return
    depth, begin = 0, 1
    for place, character in enumerate(type_text):
        depth += (character in "([{") - (character in ")]}")
        if (character, depth) in ((",", 1), (")", 0)):
            yield type_text[begin:place]
            begin = place + 1


def _arrays_of(type_text: str) -> Iterator[Array]:
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
        yield Array(dtype, shape, size, padded_size, int(space.group(1)) if space else 0)


def _parameters(computation: dict[str, Instruction]) -> dict[int, Instruction]:
    """By their numbers."""
    return {int(part.rest.split(")")[0]): part for part in computation.values() if part.opcode == "parameter"}


def _part(whole: Array, part: Array) -> Array:
    """A part of an array in the memory of the whole one."""
    return dataclasses.replace(part, space=whole.space)


def _passes(instruction: Instruction, operands: list[Array]) -> int:
    """Products of bfloat16 that a product takes: of bfloat16 operands 1, of float32 by its precision."""
    if all(array.dtype == "bf16" for array in operands):
        return 1
    found = re.search(r"operand_precision=\{(\w+)", instruction.rest)
    return _PASSES.get(found.group(1) if found else "default", 1)


def _dot_flops(instruction: Instruction, left: Array) -> float:
    found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
    contracted = [int(dimension) for dimension in found.group(1).split(",") if dimension] if found else []
    return 2.0 * instruction.result[0].elements * math.prod(left.shape[dimension] for dimension in contracted)


def _convolution_flops(instruction: Instruction, image: Array, kernel: Array) -> float:
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
    if labels is None:
        raise ValueError(f"the convolution {instruction.name} has no dim_labels")
    of_image, of_kernel, of_result = labels.groups()
    result = instruction.result[0]
    window = {key: value.split("x") for key, value in re.findall(r"(\w+)=([\dx_\-]+)", _braces(instruction.rest, "window="))}
    positions = 1.0
    for number, digit in enumerate(sorted(label for label in of_kernel if label.isdigit())):

        def of(key: str, otherwise: str, number: int = number) -> str:
            return window[key][number] if key in window else otherwise

        low = int(of("pad", "0_0").split("_")[0])
        positions *= _valid_pairs(
            image.shape[of_image.index(digit)], kernel.shape[of_kernel.index(digit)], result.shape[of_result.index(digit)],
            int(of("stride", "1")), low, int(of("lhs_dilate", "1")), int(of("rhs_dilate", "1")),
        )  # fmt: skip
    batch, features = (result.shape[of_result.index(label)] for label in "bf")
    return 2.0 * batch * features * kernel.shape[of_kernel.index("i")] * positions


def _valid_pairs(image: int, kernel: int, result: int, stride: int, low: int, image_step: int, kernel_step: int) -> int:
    """Pairs of an output and a tap along one dimension that meet a pixel, neither the padding nor a hole of the dilation."""
    count = 0
    for output in range(result):
        for tap in range(kernel):
            place = output * stride + tap * kernel_step - low
            count += place >= 0 and place % image_step == 0 and place // image_step < image
    return count


def _braces(text: str, key: str) -> str:
    found = re.search(rf"{key}\{{([^}}]*)\}}", text)
    return found.group(1) if found else ""
