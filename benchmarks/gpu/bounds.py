"""Lower bounds of the time of a step: the bytes that a perfect fusion would move."""

import math
from typing import Any

import jax

from stlight_jax import STLightConfig
from stlight_jax.torch_reference.weights import variable_shapes

# Passes over a block's activations (read or written once each) if every convolution and product reads its operands once and
# writes its result once, and everything between them is computed on the way. x is the block's input, n, f and p are the outputs
# of near, far and pointwise; norms and GELUs are computed anew by each reader.
#   forward: near reads x and writes n, far reads n and writes f, pointwise reads f and x and writes p: 7
#   backward: the sums of the last norm read p; pointwise reads its cotangent, p, f and x and writes one; far reads that, f and
#   n and writes one; near reads that, x and the residual's cotangent and writes one: 14
_FORWARD, _BACKWARD = 7, 14
_ENDS_FORWARD, _ENDS_BACKWARD = 2, 4  # encoder and reassembly, which have hardly any other bytes
_ADAM_BYTES = 32  # per parameter: the gradient written and read, parameter and both moments read and written, float32


def fused_bytes(config: STLightConfig, side: int, batch: int, training: bool) -> int:
    """Counts the bytes that a perfectly fused program reads and writes.

    Args:
      config: the network.
      side: height and width of a frame.
      batch: sequences.
      training: whether it is a training step, or a prediction.

    Returns:
      Bytes.
    """
    itemsize = 2 if config.dtype == "bfloat16" else 4
    pass_bytes = batch * (side // config.patch_size) ** 2 * config.hidden_dim * itemsize
    shapes: dict[str, Any] = variable_shapes(config)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    passes = config.depth * _FORWARD + _ENDS_FORWARD
    if not training:
        return passes * pass_bytes + parameters * itemsize
    passes += config.depth * _BACKWARD + _ENDS_BACKWARD
    return passes * pass_bytes + parameters * (_ADAM_BYTES + 3 * itemsize)
