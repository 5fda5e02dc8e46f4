"""The cost and the collectives of a compiled program, counted in its HLO text.

The counting is XLA's own: an addition or a product counts 1, a convolution 2 for each pair of an output and a tap within the
image; traffic is the arrays that instructions outside fusions read and write. But a loop counts as often as it runs: XLA's
`cost_analysis` counts its body once, and the network is a loop over its blocks.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

import numpy as np

from stlight_jax.tpu_planning.hlo_text import (
    Computation,
    HloArray,
    HloInstruction,
    integer_constant,
    parameters_of,
    parse_hlo,
    root_of,
)  # fmt: skip

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
# These move no data: their traffic is counted at the instructions that read or write their arrays, or in their computations.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id", "replica-id", "opt-barrier",
    "copy-done", "slice-done", "async-done", "async-update", "all-reduce-done", "all-gather-done", "collective-permute-done",
    "add-dependency", "domain", "while", "call", "conditional", "async-start",
}  # fmt: skip
_PASSES = {"high": 3, "highest": 6}
_Traffic = tuple[list[HloArray], list[HloArray]]  # arrays, or parts of arrays, that are read and written


@dataclasses.dataclass(frozen=True)
class ProgramCost:
    """The cost of one run on one device.

    Attributes:
      flops: arithmetic operations, including convolutions and products, without transcendental functions.
      product_flops: operations of convolutions and products alone.
      product_passes: `product_flops`, times the passes of bfloat16 products that the precision takes on a TPU.
      transcendentals: evaluations of transcendental functions.
      bytes: traffic to and from main memory in bytes, including padding.
      padding_bytes: the part of `bytes` that is padding.
    """

    flops: float = 0.0
    product_flops: float = 0.0
    product_passes: float = 0.0
    transcendentals: float = 0.0
    bytes: float = 0.0
    padding_bytes: float = 0.0

    def __add__(self, other: ProgramCost) -> ProgramCost:
        return ProgramCost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def times(self, runs: int) -> ProgramCost:
        """Returns the cost of several runs."""
        return ProgramCost(*(runs * value for value in dataclasses.astuple(self)))


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
        self._entry = parse_hlo(text)

    def cost(self, loops: bool = True) -> ProgramCost:
        """Counts one run on one device.

        Args:
          loops: whether to count a loop as often as it runs; otherwise its body counts once, as in XLA's own analysis.
        """
        return _cost(self._entry, loops)

    def collectives(self) -> list[Collective]:
        """Returns all collectives, in no particular order."""
        return list(_collectives(self._entry, 1))


def _cost(computation: Computation, loops: bool) -> ProgramCost:
    total = ProgramCost()
    for instruction in computation.values():
        read, written = _traffic(instruction)
        moved = [array for array in (*read, *written) if array.space == 0]
        padded, plain = sum(array.padded_bytes for array in moved), sum(array.bytes for array in moved)
        total += _arithmetic(instruction) + ProgramCost(bytes=padded, padding_bytes=padded - plain)
        for inner, times in _inlined(instruction, loops):
            total += _cost(inner, loops).times(times)
    return total


def _collectives(computation: Computation, times: int) -> Iterator[Collective]:
    for instruction in computation.values():
        kind = instruction.opcode.removesuffix("-start")
        if kind in _COLLECTIVES:
            yield Collective(kind, sum(array.bytes for array in instruction.new_arrays), times)
        if instruction.opcode == "fusion":
            yield from _collectives(instruction.called("calls"), times)
        for inner, repeats in _inlined(instruction, True):
            yield from _collectives(inner, times * repeats)


def _inlined(instruction: HloInstruction, loops: bool) -> list[tuple[Computation, int]]:
    """Returns the computations that an instruction runs in its place, and how often each runs."""
    if instruction.opcode == "while":
        return [(instruction.called("body"), _trip_count(instruction) if loops else 1)]
    if instruction.opcode in ("call", "async-start"):
        return [(instruction.called("to_apply|calls"), 1)]
    if instruction.opcode == "conditional":  # one branch runs: for a lower bound, the cheapest
        names = re.findall(r"%([\w.\-]+)", instruction.search(r"branch_computations=\{([^}]*)\}"))
        names += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", instruction.attributes)
        return [(min(map(instruction.computations.__getitem__, names), key=lambda branch: _cost(branch, loops).bytes), 1)]
    return []


def _trip_count(loop: HloInstruction) -> int:
    """Returns the compiler's count, or else that of a counter which increases by one to a constant, as in scans."""
    known = loop.search(r'known_trip_count":\{"n":"(\d+)"')
    if known:
        return int(known)
    comparison = root_of(loop.called("condition"))
    index = comparison.operands[0].search(r"index=(\d+)")
    if comparison.opcode == "compare" and "direction=LT" in comparison.attributes and index:
        end = integer_constant(comparison.operands[1])
        start = integer_constant(loop.operands[0].operands[int(index)])
        following = root_of(loop.called("body")).operands[int(index)]
        steps = map(integer_constant, following.operands) if following.opcode == "add" else ()
        if end is not None and start is not None and 1 in steps:
            return end - start
    raise ValueError(f"the compiled program has no trip count for its loop {loop.name}")


def _arithmetic(instruction: HloInstruction) -> ProgramCost:
    opcode, elements = instruction.opcode, sum(array.elements for array in instruction.result)
    if opcode == "fusion":
        return sum(map(_arithmetic, instruction.called("calls").values()), ProgramCost())
    if opcode in ("convolution", "dot"):
        left, right = (operand.result[0] for operand in instruction.operands)
        flops = _convolution_flops(instruction, left, right) if opcode == "convolution" else _dot_flops(instruction, left)
        # The bfloat16 products that a product takes: one of bfloat16 operands is exact.
        passes = _PASSES.get(instruction.search(r"operand_precision=\{(\w+)"), 1)
        passes = 1 if left.dtype == right.dtype == "bf16" else passes
        return ProgramCost(flops=flops, product_flops=flops, product_passes=flops * passes)
    if opcode in ("reduce", "reduce-window", "all-reduce"):
        reduced = instruction.operands[: max(len(instruction.operands) // 2, 1)]
        return ProgramCost(flops=sum(array.elements for operand in reduced for array in operand.result))
    return ProgramCost(
        flops=elements if opcode in _ARITHMETIC else 0, transcendentals=elements if opcode in _TRANSCENDENTAL else 0
    )


def _dot_flops(instruction: HloInstruction, left: HloArray) -> float:
    contracted = re.findall(r"\d+", instruction.search(r"lhs_contracting_dims=\{([\d,]*)\}"))
    return 2.0 * instruction.result[0].elements * math.prod(left.shape[int(dimension)] for dimension in contracted)


def _convolution_flops(instruction: HloInstruction, image: HloArray, kernel: HloArray) -> float:
    of_image, of_kernel, of_result = re.split("_|->", instruction.search(r"dim_labels=([\w>-]+)"))
    result = instruction.result[0]
    window = re.findall(r"(\w+)=([\dx_\-]+)", instruction.search(r"window=\{([^}]*)\}"))
    pairs = 1
    for number, digit in enumerate(sorted(label for label in of_kernel if label.isdigit())):
        along = {key: values.split("x")[number] for key, values in window}
        pairs *= _valid_pairs(
            image.shape[of_image.index(digit)], kernel.shape[of_kernel.index(digit)], result.shape[of_result.index(digit)],
            stride=int(along.get("stride", 1)), low=int(along.get("pad", "0_0").split("_")[0]),
            image_step=int(along.get("lhs_dilate", 1)), kernel_step=int(along.get("rhs_dilate", 1)),
        )  # fmt: skip
    batch, features = (result.shape[of_result.index(label)] for label in "bf")
    return 2.0 * batch * features * kernel.shape[of_kernel.index("i")] * pairs


def _valid_pairs(image: int, kernel: int, result: int, stride: int, low: int, image_step: int, kernel_step: int) -> int:
    """Counts the pairs of an output and a tap along one dimension that meet a pixel, not padding or a hole of the dilation."""
    position = np.arange(result)[:, None] * stride + np.arange(kernel) * kernel_step - low  # [result, kernel]
    return int(np.sum((position >= 0) & (position % image_step == 0) & (position // image_step < image)))


def _traffic(instruction: HloInstruction) -> _Traffic:
    opcode, operands, result = instruction.opcode, instruction.operands, list(instruction.new_arrays)
    if opcode in _FREE or (opcode == "custom-call" and '"ConcatBitcast"' in instruction.attributes):
        return [], []
    if opcode in ("slice", "dynamic-slice", "gather", "copy-start", "slice-start"):
        return [_part_of(operands[0].result[0], result[0])], result
    if opcode == "dynamic-update-slice":
        update = operands[1].result[0]
        return [update], [_part_of(result[0], update)]
    if opcode == "fusion":
        return _fusion_reads(instruction), _fusion_writes(instruction)
    return [array for operand in operands for array in operand.result], result


def _fusion_reads(fusion: HloInstruction) -> list[HloArray]:
    inner = fusion.called("calls")
    updated = {_origin(part.operands[0]) for part in inner.values() if part.opcode == "dynamic-update-slice"}
    read: list[HloArray] = []
    for operand, parameter in zip(fusion.operands, parameters_of(inner), strict=True):
        whole = operand.result
        slices = _slices(parameter) if len(whole) == 1 else None
        if slices is not None:  # one block of a stack of parameters or activations
            read += [_part_of(whole[0], part) for part in slices]
        elif len(whole) != 1 or parameter not in updated or len(parameter.users) > 1:  # else it is written in place
            read += whole
    return read


def _fusion_writes(fusion: HloInstruction) -> list[HloArray]:
    root = root_of(fusion.called("calls"))
    written = []
    for array, part in zip(fusion.result, root.operands if root.opcode == "tuple" else [root], strict=False):
        part = _origin(part, "convert")
        in_place = part.opcode == "dynamic-update-slice"
        written.append(_part_of(array, part.operands[1].result[0]) if in_place else array)
    return written


def _slices(parameter: HloInstruction) -> list[HloArray] | None:
    """Returns the slices that a fusion takes of a parameter; None if it uses the parameter in any other way."""
    found: list[HloArray] = []
    for user in parameter.users:
        if user.opcode in ("slice", "dynamic-slice") and user.operands[0] is parameter:
            found += user.result
            continue
        if user.opcode == "bitcast":
            aliases = [user]
        elif user.opcode == "fusion":
            inner = zip(user.operands, parameters_of(user.called("calls")), strict=True)
            aliases = [alias for given, alias in inner if given is parameter]
        else:
            return None
        for alias in aliases:
            slices = _slices(alias)
            if slices is None:
                return None
            found += slices
    return found


def _origin(instruction: HloInstruction, *also: str) -> HloInstruction:
    """Returns the instruction whose result reaches `instruction` through copies, bitcasts and the opcodes `also`."""
    while instruction.opcode in ("bitcast", "copy", *also):
        instruction = instruction.operands[0]
    return instruction


def _part_of(whole: HloArray, part: HloArray) -> HloArray:
    """Returns a part of an array, in the memory of the whole array."""
    return dataclasses.replace(part, space=whole.space)
