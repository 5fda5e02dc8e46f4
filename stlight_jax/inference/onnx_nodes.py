"""The nodes of an ONNX graph while it is written, with the operations on frames that several of its parts need."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class GraphNodes:
    """A graph that grows node by node. A value is represented by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def integers(self, values: list[int]) -> str:
        """Adds a constant of int64."""
        return self.constant(values, np.int64)

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output."""
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def cast(self, value: str, dtype: int) -> str:
        """Adds a conversion to a type of `TensorProto`."""
        return self.add("Cast", value, to=dtype)

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        """Adds a slice along one axis."""
        return self.add("Slice", value, *(self.integers([number]) for number in (start, end, axis)))

    def parts(self, value: str, lengths: list[int]) -> list[str]:
        """Cuts `[b, t, ...]` into parts of some lengths."""
        if len(lengths) == 1:
            return [value]
        names = [f"{value}_{number}" for number in range(len(lengths))]
        self.nodes.append(helper.make_node("Split", [value, self.integers(lengths)], names, name=f"{value}_split", axis=1))
        return names

    def folded(self, value: str, frames: int, channels: int) -> str:
        """Folds time into channels: `[b, t, h, w, c]` to `[b, t*c, h, w]`."""
        x = self.add("Transpose", value, perm=[0, 1, 4, 2, 3])  # [b, t, c, h, w]
        shape = self.add("Concat", self.integers([0, frames * channels]), self.add("Shape", x, start=3), axis=0)
        return self.add("Reshape", x, shape)  # [b, t*c, h, w]

    def unfolded(self, value: str, frames: int, channels: int) -> str:
        """Inverts `folded`: `[b, t*c, h, w]` to `[b, t, h, w, c]`."""
        shape = self.add("Concat", self.integers([0, frames, channels]), self.add("Shape", value, start=2), axis=0)
        return self.add("Transpose", self.add("Reshape", value, shape), perm=[0, 1, 3, 4, 2])

    def convolution(self, value: str, kernel: np.ndarray, bias: np.ndarray, **attributes: Any) -> str:
        """Adds a convolution with Flax's kernel `[rows, columns, c, d]` of `[b, c, h, w]`."""
        return self.add("Conv", value, self.constant(kernel.transpose(3, 2, 0, 1)), self.constant(bias), **attributes)
