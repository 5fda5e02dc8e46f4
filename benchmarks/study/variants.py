"""STLight with one part exchanged, for questions that no key of the config answers.

`Variant` with its attributes at their defaults is STLight, weight by weight. It takes frames without missing values and without
context frames.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from stlight_jax.model.initialisers import kaiming_normal, repeat_over_patches, torch_default_kernel
from stlight_jax.model.ops.layers import Dense, gelu, pointwise_product
from stlight_jax.model.shortcut import Shortcut
from stlight_jax.model.stlight import (
    MixerBlock,
    PatchEncoder,
    PatchReassembly,
    STLight,
    fold_time,
    pixel_shuffle,
    unfold_time,
)
from stlight_jax.model.stlight_config import STLightConfig

_GROUPS = 8  # of channels that group norm normalises together


class Variant(STLight):
    """STLight with exchangeable parts.

    Attributes:
      block: Class of the mixer blocks.
      reassembly: Class of the patch reassembly.
      skip: Blocks at whose inputs the long skip begins and ends, as parts of the depth; None for no long skip.
      initial: Initialisation: the paper's "hybrid", or "kaiming_normal" or "torch_default" for all layers, or "repeated" for
        the hybrid one with the last pointwise weights repeated over the pixels of a patch.
    """

    block: type[MixerBlock] = MixerBlock
    reassembly: type[nn.Module] = PatchReassembly
    skip: tuple[float, float] | None = (1 / 3, 2 / 3)
    initial: Literal["hybrid", "kaiming_normal", "torch_default", "repeated"] = "hybrid"

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Predicts the frames that follow, see `STLight`."""
        config = self.config
        begin, end = skip_blocks(config.depth, self.skip or (1 / 3, 2 / 3))
        x = fold_time(frames)  # [b, h, w, t*c]
        x = PatchEncoder(config, self.axis_name, self.folded, name="patch_encoder")(x, train)  # [b, h/p, w/p, d]
        x = self._mixers("mixers_before_skip", begin, x, train)
        skipped = x
        x = self._mixers("mixers_across_skip", end - begin, x, train)
        x = x if self.skip is None else x + skipped
        x = self._mixers("mixers_after_skip", config.depth - end, x, train)
        x = self.reassembly(config, name="patch_reassembly")(x)  # [b, h, w, t'*c']
        prediction = unfold_time(x, config.out_frames)  # [b, t', h, w, c']
        if config.shortcut != "none":
            prediction = prediction + Shortcut(config, name="shortcut")(frames)  # [b, t', h, w, c']
        return prediction

    def _mixers(self, name: str, length: int, x: jax.Array, train: bool) -> jax.Array:
        if length == 0:
            return x
        blocks = nn.scan(
            self.block,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=length,
        )
        return blocks(self.config, self.axis_name, self.folded, name=name)(x, train)[0]

    @nn.nowrap
    def init(self, rngs: jax.Array, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Makes the initial variables, see `nn.Module.init`."""
        variables = super().init(rngs, *args, **kwargs)
        if self.initial == "hybrid":
            return variables
        if self.initial == "repeated":
            return repeat_over_patches(variables, self.config.patch_size)
        redraw = functools.partial(_redrawn, self.initial, rngs)
        return {**variables, "params": jax.tree_util.tree_map_with_path(redraw, variables["params"])}


def skip_blocks(depth: int, parts: tuple[float, float]) -> tuple[int, int]:
    """Returns the blocks, from 0, at whose inputs a long skip begins and ends."""
    begin, end = (int(depth * part + 1e-6) for part in parts)  # 2 / 3 of 6 are 4
    return begin, end


def _redrawn(initial: str, key: jax.Array, path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
    """Draws a kernel, or a bias with PyTorch's default, again; biases of norms are zero everywhere."""
    names = [part.key for part in path]
    key = jax.random.fold_in(key, sum(ord(letter) * 31**place for place, letter in enumerate("/".join(names))) % 2**31)
    stacked = names[0].startswith("mixers_")  # one kernel for each block
    if names[-1] == "kernel":
        if initial == "kaiming_normal":
            initializer = kaiming_normal if not stacked else _stacked(kaiming_normal)
        else:
            initializer = torch_default_kernel if not stacked else _stacked(torch_default_kernel)
        return initializer(key, leaf.shape, leaf.dtype)
    return leaf


def _stacked(initializer: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """Makes an initialiser of stacked kernels, `[block, ...]`."""

    def stacked(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.vmap(lambda each: initializer(each, shape[1:], dtype))(jax.random.split(key, shape[0]))

    return stacked


class OneKernelBlock(MixerBlock):
    """ConvMixer's block (Trockman & Kolter, 2022): one depthwise kernel, of side k2 without dilation, instead of two."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, None]:
        """Maps `[b, h/p, w/p, d]` to the same shape, see `MixerBlock`."""
        mixed = gelu(self._depthwise("far", self.config.far_kernel, dilation=1)(x))
        x = x + self._batch_norm("spatial_norm")(mixed, train)
        x = gelu(Dense(self.config.hidden_dim, kernel_init=kaiming_normal, dot_general=pointwise_product, name="pointwise")(x))
        return self._batch_norm("pointwise_norm")(x, train), None


class ResidualBlock(MixerBlock):
    """A mixer block whose pointwise half has a residual, too.

    Attributes:
      layer_scale: First value of a learnt factor for each channel of both halves; 0 for no factor.
    """

    layer_scale: ClassVar[float] = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, None]:
        """Maps `[b, h/p, w/p, d]` to the same shape, see `MixerBlock`."""
        config = self.config
        y = self._depthwise("near", config.near_kernel, dilation=1)(x)
        y = gelu(self._depthwise("far", config.far_kernel, dilation=config.dilation)(y))
        x = x + self._scaled("spatial_scale", self._batch_norm("spatial_norm")(y, train))
        y = gelu(Dense(config.hidden_dim, kernel_init=kaiming_normal, dot_general=pointwise_product, name="pointwise")(x))
        return x + self._scaled("pointwise_scale", self._batch_norm("pointwise_norm")(y, train)), None

    def _scaled(self, name: str, x: jax.Array) -> jax.Array:
        if not self.layer_scale:
            return x
        return x * self.param(name, nn.initializers.constant(self.layer_scale), x.shape[-1:])


class ScaledBlock(ResidualBlock):
    """A residual block with layer scale (Touvron et al., 2021)."""

    layer_scale: ClassVar[float] = 0.1


class GroupNormBlock(MixerBlock):
    """A mixer block that normalises each sequence separately, so that it does not depend on the batch."""

    def _batch_norm(self, name: str) -> Any:
        return _GroupNorm(name=name)


class ResidualGroupNormBlock(ResidualBlock):
    """A residual block that normalises each sequence separately."""

    def _batch_norm(self, name: str) -> Any:
        return _GroupNorm(name=name)


class _GroupNorm(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        del train
        return nn.GroupNorm(_GROUPS, epsilon=1e-5, name="norm")(x)


class PointwiseFirst(nn.Module):
    """Patch reassembly in the other order: a 1x1 convolution to all pixels of a patch, then the pixel shuffle.

    Attributes:
      config: The network's shape.
    """

    config: STLightConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, h/p, w/p, d]` to `[b, h, w, t'*c']`."""
        config = self.config
        features = config.out_frames * config.out_channels * config.patch_size**2
        x = nn.Dense(features, kernel_init=torch_default_kernel, name="conv")(x)  # [b, h/p, w/p, t'*c'*p*p]
        return pixel_shuffle(x, config.patch_size)  # [b, h, w, t'*c']


def variant(**parts: Any) -> Any:
    """Returns a function that makes a `Variant` with these attributes from a shape and an axis, as `STLight` does."""
    assert {field.name for field in dataclasses.fields(Variant)} >= parts.keys()
    return functools.partial(Variant, **parts)
