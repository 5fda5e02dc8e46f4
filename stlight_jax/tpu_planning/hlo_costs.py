"""The arithmetic and the memory traffic of one HLO instruction.

The counting is XLA's own: an addition or a product counts 1, a convolution 2 for each pair of an output and a tap within the
image; traffic is the arrays that instructions outside fusions read and write.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from stlight_jax.tpu_planning.hlo_text import Computation, HloArray, HloInstruction, parameters_of, root_of, users_of

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
_PASSES = {"default": 1, "high": 3, "highest": 6}
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


def instruction_cost(
    computations: Mapping[str, Computation], computation: Computation, instruction: HloInstruction
) -> ProgramCost:
    """Counts an instruction, including the computation of a fusion, without those of loops, calls and conditionals.

    Args:
      computations: all computations of the program by name.
      computation: the computation of the instruction.
      instruction: the instruction.
    """
    read, written = _traffic(computations, computation, instruction)
    moved = [array for array in (*read, *written) if array.space == 0]
    padded, plain = sum(array.padded_bytes for array in moved), sum(array.bytes for array in moved)
    return _arithmetic(computations, computation, instruction) + ProgramCost(bytes=padded, padding_bytes=padded - plain)


def _arithmetic(computations: Mapping[str, Computation], computation: Computation, instruction: HloInstruction) -> ProgramCost:
    opcode, elements = instruction.opcode, sum(array.elements for array in instruction.result)
    if opcode == "fusion":
        inner = computations[instruction.called("calls")]
        return sum((_arithmetic(computations, inner, part) for part in inner.values()), ProgramCost())
    if opcode in ("convolution", "dot"):
        operands = [computation[name].result[0] for name in instruction.operands]
        flops = _convolution_flops(instruction, *operands) if opcode == "convolution" else _dot_flops(instruction, operands[0])
        return ProgramCost(flops=flops, product_flops=flops, product_passes=flops * _passes(instruction, operands))
    if opcode in ("reduce", "reduce-window", "all-reduce"):
        reduced = instruction.operands[: max(len(instruction.operands) // 2, 1)]
        return ProgramCost(flops=sum(array.elements for name in reduced for array in computation[name].result))
    return ProgramCost(
        flops=elements if opcode in _ARITHMETIC else 0, transcendentals=elements if opcode in _TRANSCENDENTAL else 0
    )


def _passes(instruction: HloInstruction, operands: Iterable[HloArray]) -> int:
    """Returns the bfloat16 products that a product takes: 1 for bfloat16 operands, for float32 by its precision."""
    if all(array.dtype == "bf16" for array in operands):
        return 1
    return _PASSES.get(instruction.search(r"operand_precision=\{(\w+)") or "default", 1)


def _dot_flops(instruction: HloInstruction, left: HloArray) -> float:
    contracted = re.findall(r"\d+", instruction.search(r"lhs_contracting_dims=\{([\d,]*)\}"))
    return 2.0 * instruction.result[0].elements * math.prod(left.shape[int(dimension)] for dimension in contracted)


def _convolution_flops(instruction: HloInstruction, image: HloArray, kernel: HloArray) -> float:
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    if labels is None:
        raise ValueError(f"the convolution {instruction.name} has no dim_labels")
    of_image, of_kernel, of_result = labels.groups()
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


def _traffic(computations: Mapping[str, Computation], computation: Computation, instruction: HloInstruction) -> _Traffic:
    opcode, result = instruction.opcode, list(instruction.new_arrays)
    if opcode in _FREE or (opcode == "custom-call" and '"ConcatBitcast"' in instruction.attributes):
        return [], []
    if opcode in ("slice", "dynamic-slice", "gather", "copy-start", "slice-start"):
        return [_part_of(computation[instruction.operands[0]].result[0], result[0])], result
    if opcode == "dynamic-update-slice":
        update = computation[instruction.operands[1]].result[0]
        return [update], [_part_of(result[0], update)]
    if opcode == "fusion":
        inner = computations[instruction.called("calls")]
        return _fusion_reads(computations, computation, instruction, inner), _fusion_writes(instruction, inner)
    return [array for name in instruction.operands for array in computation[name].result], result


def _fusion_reads(
    computations: Mapping[str, Computation], computation: Computation, fusion: HloInstruction, inner: Computation
) -> list[HloArray]:
    parameters = parameters_of(inner)
    updated = {_origin(inner, part.operands[0]) for part in inner.values() if part.opcode == "dynamic-update-slice"}
    read: list[HloArray] = []
    for number, name in enumerate(fusion.operands):
        whole = computation[name].result
        parameter = parameters.get(number)
        if parameter is None or len(whole) != 1:
            read += whole
            continue
        slices = _slices(computations, inner, parameter.name)
        if slices is not None:  # one block of a stack of parameters or activations
            read += [_part_of(whole[0], part) for part in slices]
        elif parameter.name not in updated or len(users_of(inner, parameter.name)) > 1:  # else it is written in place
            read += whole
    return read


def _fusion_writes(fusion: HloInstruction, inner: Computation) -> list[HloArray]:
    root = root_of(inner)
    parts = [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]
    written = []
    for array, part in zip(fusion.result, parts, strict=False):
        while part.opcode in ("bitcast", "copy", "convert") and part.operands and part.operands[0] in inner:
            part = inner[part.operands[0]]
        in_place = part.opcode == "dynamic-update-slice"
        written.append(_part_of(array, inner[part.operands[1]].result[0]) if in_place else array)
    return written


def _slices(computations: Mapping[str, Computation], inner: Computation, name: str) -> list[HloArray] | None:
    """Returns the slices that a fusion takes of a parameter; None if it uses the parameter in any other way."""
    found: list[HloArray] = []
    for user in users_of(inner, name):
        if user.opcode in ("slice", "dynamic-slice") and user.operands[0] == name:
            found += user.result
            continue
        if user.opcode == "bitcast":
            aliases = [(inner, user.name)]
        elif user.opcode == "fusion":
            nested = computations[user.called("calls")]
            parameters = parameters_of(nested)
            aliases = [(nested, parameters[number].name) for number, given in enumerate(user.operands) if given == name]
        else:
            return None
        for computation, alias in aliases:
            slices = _slices(computations, computation, alias)
            if slices is None:
                return None
            found += slices
    return found


def _origin(computation: Computation, name: str) -> str:
    while computation[name].opcode in ("bitcast", "copy") and computation[name].operands:
        name = computation[name].operands[0]
    return name


def _part_of(whole: HloArray, part: HloArray) -> HloArray:
    """Returns a part of an array, in the memory of the whole array."""
    return dataclasses.replace(part, space=whole.space)
