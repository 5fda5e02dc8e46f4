"""Parameters and multiply-accumulates of an STLight network, part by part.

The paper counted with fvcore, which knows no convolution whose padding is given as "same": both depthwise convolutions
were left out. Otherwise a multiply-accumulate counts 1, evaluation-mode batch norm 2 per element, GELU, additions and
the shuffle 0, for one sequence. `MultiplyAccumulates.paper` counts so, `.true` adds the depthwise convolutions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stlight_jax.model.stlight import STLight, STLightConfig


class Part(NamedTuple):
    """One row of the count, summed over all blocks."""

    name: str
    parameters: int
    paper: int
    true: int


@dataclasses.dataclass(frozen=True)
class Count:
    """Rows in the order of the network."""

    parts: tuple[Part, ...]
    height: int
    width: int

    @property
    def total(self) -> Part:
        """The sum of all parts."""
        return Part("total", *(sum(column) for column in zip(*(part[1:] for part in self.parts), strict=True)))

    def as_json(self) -> dict[str, Any]:
        """Frame size, parts and total as plain data."""
        return {
            "frame": [self.height, self.width],
            "parts": [part._asdict() for part in self.parts],
            "total": self.total._asdict(),
        }


def count(config: STLightConfig, height: int, width: int) -> Count:
    """Counts parameters (of the real parameter tree) and multiply-accumulates for one sequence of `height` x `width` frames.

    Raises InputError for frame sides the patch does not divide.
    """
    frames = jax.ShapeDtypeStruct((1, config.in_frames, height, width, config.in_channels), jnp.float32)
    config.check_frames(frames.shape)
    native = dataclasses.replace(config, depthwise="native")  # counted without compiling the CPU kernels
    params = jax.eval_shape(STLight(native).init, jax.random.key(0), frames)["params"]
    mixers = [tree for name, tree in params.items() if name.startswith("mixers_")]
    encoder, reassembly = params["patch_encoder"], params["patch_reassembly"]

    d, depth = config.hidden_dim, config.depth
    cells = (height // config.patch_size) * (width // config.patch_size)
    normalised = 2 * cells * d  # one evaluation-mode batch norm
    near, far = (depth * cells * d * side**2 for side in (config.near_kernel, config.far_kernel))
    encoded = cells * d * config.in_frames * config.in_channels * config.encoder_kernel**2
    pointwise = depth * cells * d * d
    reassembled = height * width * (d // config.patch_size**2) * config.out_frames * config.out_channels

    def of_mixers(name: str) -> int:
        return sum(_size(tree[name]) for tree in mixers)

    def same(name: str, parameters: int, operations: int) -> Part:
        return Part(name, parameters, operations, operations)

    return Count(
        (
            same("encoder, convolution", _size(encoder["conv"]) + _size(encoder["bias"]), encoded),
            same("encoder, batch norm", _size(encoder["norm"]), normalised),
            Part("mixers, near depthwise", of_mixers("near"), 0, near),
            Part("mixers, far depthwise", of_mixers("far"), 0, far),
            same("mixers, spatial norm", of_mixers("spatial_norm"), depth * normalised),
            same("mixers, pointwise", of_mixers("pointwise"), pointwise),
            same("mixers, pointwise norm", of_mixers("pointwise_norm"), depth * normalised),
            same("reassembly, 1x1", _size(reassembly), reassembled),
        ),
        height,
        width,
    )


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
