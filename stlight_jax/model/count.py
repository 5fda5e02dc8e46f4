"""Parameters and multiply-accumulates of an STLight network, part by part.

The paper counted with fvcore, which ignores convolutions whose padding is given as "same", so both depthwise convolutions were
left out. The other rules are: a multiply-accumulate counts 1, evaluation-mode batch norm 2 per element, GELU, additions and
the shuffle 0, all for one sequence. `PartCount.paper` follows these rules; `PartCount.true` adds the depthwise convolutions.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stlight_jax.model.stlight import STLight, STLightConfig


class PartCount(NamedTuple):
    """The count of one part of the network, over all blocks.

    Attributes:
      name: Name of the part.
      parameters: Number of parameters.
      paper: Multiply-accumulates by the paper's rules.
      true: Multiply-accumulates with the depthwise convolutions.
    """

    name: str
    parameters: int
    paper: int
    true: int


@dataclasses.dataclass(frozen=True)
class Count:
    """The counts of all parts.

    Attributes:
      parts: One count for each part, in the order of the network.
      height: Height of the frames in pixels.
      width: Width of the frames in pixels.
    """

    parts: tuple[PartCount, ...]
    height: int
    width: int

    @property
    def total(self) -> PartCount:
        """The sum of all parts."""
        parameters, paper, true = (sum(column) for column in zip(*(part[1:] for part in self.parts), strict=True))
        return PartCount("total", parameters, paper, true)

    def as_json(self) -> dict[str, Any]:
        """Returns frame size, parts and total as plain data."""
        return {
            "frame": [self.height, self.width],
            "parts": [part._asdict() for part in self.parts],
            "total": self.total._asdict(),
        }


def count(config: STLightConfig, height: int, width: int) -> Count:
    """Counts parameters, in the real parameter tree, and multiply-accumulates.

    Args:
      config: The network's shape.
      height: Height of the frames in pixels.
      width: Width of the frames in pixels.

    Returns:
      The counts for one sequence.

    Raises:
      InputError: A side of the frames is less than 1.
    """
    frames = jax.ShapeDtypeStruct((1, config.seen_frames, height, width, config.in_channels), jnp.float32)
    config.check_frames(frames.shape)
    native = dataclasses.replace(config, depthwise="native")  # counted without compiling the CPU kernels
    params = jax.eval_shape(STLight(native).init, jax.random.key(0), frames)["params"]
    mixers = [tree for name, tree in params.items() if name.startswith("mixers_")]
    encoder, reassembly = params["patch_encoder"], params["patch_reassembly"]

    d, depth = config.hidden_dim, config.depth
    cells = -(-height // config.patch_size) * -(-width // config.patch_size)  # frames are padded to whole patches
    batch_norm = 2 * cells * d  # in evaluation mode
    near, far = (depth * cells * d * side**2 for side in (config.near_kernel, config.far_kernel))
    predicted = config.out_frames * config.out_channels
    encoding = cells * d * config.encoded_channels * config.encoder_kernel**2
    pointwise = depth * cells * d * d
    reassembling = cells * d * predicted
    linear = height * width * config.shortcut_inputs * predicted

    def mixer_size(name: str) -> int:
        return sum(_size(tree[name]) for tree in mixers)

    # name, parameters, multiply-accumulates by the paper's rules and true ones
    parts = [
        ("encoder, convolution", _size(encoder["conv"]) + _size(encoder["bias"]), encoding, encoding),
        ("encoder, batch norm", _size(encoder["norm"]), batch_norm, batch_norm),
        ("mixers, near depthwise", mixer_size("near"), 0, near),
        ("mixers, far depthwise", mixer_size("far"), 0, far),
        ("mixers, spatial norm", mixer_size("spatial_norm"), depth * batch_norm, depth * batch_norm),
        ("mixers, pointwise", mixer_size("pointwise"), pointwise, pointwise),
        ("mixers, pointwise norm", mixer_size("pointwise_norm"), depth * batch_norm, depth * batch_norm),
        ("reassembly, 1x1", _size(reassembly), reassembling, reassembling),
    ]
    if "shortcut" in params:
        parts.append(("shortcut, linear", _size(params["shortcut"]), linear, linear))
    return Count(tuple(PartCount(*part) for part in parts), height, width)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
