"""The STLight network (Alfarano et al., WACV 2025), part by part in the order of the paper.

Time is folded into channels, one strided convolution makes space-time patches, a stack of depthwise + pointwise mixers
relates near and far patches, and a pixel shuffle with a 1x1 convolution gives all future frames at once.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from stlight_jax.config.sections import ModelSection
from stlight_jax.errors import InputError
from stlight_jax.model.ops.batch_norm import STATISTICS, BatchNorm, FoldedBatchNorm
from stlight_jax.model.ops.depthwise import as_conv_general_dilated
from stlight_jax.model.ops.layers import Conv, Dense, gelu, pointwise_product

_PRECISIONS = {"float32": lax.Precision.HIGHEST, "tensorfloat32": lax.Precision.HIGH, "bfloat16": lax.Precision.DEFAULT}
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


@dataclasses.dataclass(frozen=True, kw_only=True)
class STLightConfig(ModelSection):
    """The shape of one STLight network: the keys of the config's section `model`. It checks its values when it is made.

    Attributes:
      in_frames: T, the number of frames that the network sees.
      out_frames: T', the number of frames that it predicts in one pass.
      in_channels: C of the frames that it sees.
      out_channels: C of the frames that it predicts.
      hidden_dim: d, channels of the patch grid; a multiple of `patch_size**2`.
      depth: Number of mixer blocks, at least 2. The long skip runs from block `depth // 3` to `2 * depth // 3`.
      patch_size: p; the sides of a frame are multiples of it.
      overlap: O; the encoder's kernel is `p * max(1, O)` wide. 0 and 1 are the same network.
      near_kernel: k1, side of the first depthwise kernel; odd.
      far_kernel: k2, side of the second, dilated depthwise kernel; odd.
      dilation: Dilation of the far kernel.
      depthwise: Implementation of the depthwise convolutions: "auto", "native", "phases", "taps", "cpu" or "portable"; see
        `stlight_jax.model.ops.depthwise`.
      precision: Precision of matrix products on accelerators that offer less than float32: "float32" (full), "tensorfloat32"
        (three bfloat16 passes on a TPU) or "bfloat16" (the platform's fastest).
      dtype: Type of the activations: "float32", "bfloat16" or "float64". Parameters and batch statistics stay float32
        (float64 for "float64").
      rematerialise: Activations that training computes again instead of storing them: "nothing", the cheap ones between the
        convolutions ("elementwise", also the fastest), or whole "blocks". A step's memory at d 256, depth 16, batch 4 is 873,
        301 and 125 MiB. Results do not depend on it.
      scan_unroll: Mixer blocks per iteration of the compiled loop over blocks; the parameters do not depend on it.

    Raises:
      InputError: A value is not permitted. The message names the key, its value and the permitted values.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("in_channels", "out_channels"):
            if getattr(self, key) < 1:
                raise InputError(f"model.{key} is {getattr(self, key)}; it must be at least 1")
        for key in ("near_kernel", "far_kernel"):
            if getattr(self, key) % 2 == 0:
                raise InputError(f"model.{key} is {getattr(self, key)}; a kernel that keeps the grid's size is odd")
        if self.hidden_dim % self.patch_size**2:
            below = self.hidden_dim // self.patch_size**2 * self.patch_size**2
            raise InputError(
                f"model.hidden_dim is {self.hidden_dim}; the pixel shuffle needs a multiple of patch_size**2 = "
                f"{self.patch_size**2}, such as {below + self.patch_size**2}"
            )
        if self.overlap >= 2 and (self.overlap - 1) * self.patch_size % 2:
            raise InputError(
                f"model.overlap is {self.overlap} with patch_size {self.patch_size}: an odd patch with an even overlap "
                f"gives one patch too few per side; use overlap {self.overlap + 1} or 0, or an even patch_size"
            )

    @classmethod
    def from_section(cls, section: ModelSection, channels: int | None = None) -> Self:
        """Makes the network's shape from a config.

        Args:
          section: The config's section `model`.
          channels: Channels of the data, for the keys that are 0 in the section; None if they are not known.

        Returns:
          The network's shape.

        Raises:
          InputError: A value is not permitted, or JAX does not offer the type of the activations.
        """
        config = cls(**dataclasses.asdict(section if channels is None else section.with_channels(channels)))
        if config.dtype == "float64" and not jax.config.jax_enable_x64:
            raise InputError("model.dtype is float64, which JAX offers only with JAX_ENABLE_X64=1 in the environment")
        return config

    @property
    def encoder_kernel(self) -> int:
        """Side of the patch encoder's kernel, in pixels."""
        return self.patch_size * max(1, self.overlap)

    @property
    def encoder_padding(self) -> int:
        """Zero padding around the frame, in pixels, so that the grid has `h / p` by `w / p` cells."""
        return (self.overlap - 1) * self.patch_size // 2 if self.overlap >= 2 else 0

    @property
    def skip_blocks(self) -> tuple[int, int]:
        """The blocks (from 0) whose inputs the long skip leaves and joins."""
        return self.depth // 3, 2 * self.depth // 3

    def check_sequence(self, shape: tuple[int, ...]) -> None:
        """Raises InputError unless sequences `[in_frames + horizon, h, w, c]` can train or evaluate this network.

        It may predict fewer channels than it sees: the first ones.
        """
        self.check_frames((1, self.in_frames, *shape[1:]))
        if shape[0] <= self.in_frames or self.out_channels > shape[3]:
            raise InputError(
                f"the data's sequences have shape {list(shape)}; model.in_frames and model.out_channels ask for more than "
                f"{self.in_frames} frames and at least {self.out_channels} channels"
            )

    def check_frames(self, shape: tuple[int, ...]) -> None:
        """Raises InputError unless `shape` is `[b, in_frames, h, w, in_channels]` with sides the patch divides."""
        wanted = f"[b, {self.in_frames}, h, w, {self.in_channels}]"
        if len(shape) != 5 or shape[1] != self.in_frames or shape[4] != self.in_channels:
            raise InputError(f"frames have shape {list(shape)}; model.in_frames and model.in_channels ask for {wanted}")
        if 0 in shape:
            raise InputError(f"frames have shape {list(shape)}: there is nothing in them")
        if shape[2] % self.patch_size or shape[3] % self.patch_size:
            raise InputError(
                f"frames are {shape[2]} x {shape[3]} pixels; model.patch_size {self.patch_size} must divide both sides; "
                "set model.patch_size=1, or resize the frames (data.height, data.width)"
            )


class STLight(nn.Module):
    """Predicts `out_frames` frames from `in_frames` frames.

    `model.apply(variables, frames)` predicts. `model.apply(variables, frames, train=True, mutable=["batch_stats"])` uses
    the batch's statistics and returns `(prediction, updated statistics)`. It is differentiated in reverse, once: its parts have
    gradients of their own.

    Attributes:
      config: the network's shape.
      axis_name: device axis over which the batch statistics are averaged in training; None for one device.
      folded: made for `batch_norm.fold`'s variables, which can predict and not train.
    """

    config: STLightConfig
    axis_name: str | None = None
    folded: bool = False

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Args: frames `[b, in_frames, h, w, in_channels]`, floats in [0, 1]; train: normalise by the batch's statistics.

        Returns `[b, out_frames, h, w, out_channels]` in float32 or wider, not clipped (paper section 3.3).

        Raises InputError for a shape the config does not fit, and TypeError for frames that are not floats.
        """
        config = self.config
        config.check_frames(frames.shape)
        if not jnp.issubdtype(frames.dtype, jnp.floating):
            raise TypeError(f"frames are {frames.dtype}; STLight takes floats in [0, 1] (uint8 frames: divide by 255)")
        skip_from, skip_to = config.skip_blocks

        x = fold_time(frames.astype(_DTYPES[config.dtype]))  # [b, h, w, t*c]
        x = PatchEncoder(config, self.axis_name, self.folded, name="patch_encoder")(x, train)  # [b, h/p, w/p, d]
        x = self._mixers("mixers_before_skip", skip_from, x, train)
        skipped = x
        x = self._mixers("mixers_across_skip", skip_to - skip_from, x, train)
        x = self._mixers("mixers_after_skip", config.depth - skip_to, x + skipped, train)
        x = PatchReassembly(config, name="patch_reassembly")(x)  # [b, h, w, t'*c']
        prediction = unfold_time(x, config.out_frames)  # [b, t', h, w, c']
        chex.assert_shape(prediction, (frames.shape[0], config.out_frames, *frames.shape[2:4], config.out_channels))
        return prediction.astype(jnp.promote_types(prediction.dtype, jnp.float32))

    def _mixers(self, name: str, length: int, x: jax.Array, train: bool) -> jax.Array:
        """`length` mixer blocks with stacked parameters (leading axis = block), so compile time does not grow with depth."""
        if length == 0:
            return x
        blocks = nn.scan(
            _rematerialising(MixerBlock, self.config.rematerialise),
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=length,
            unroll=min(self.config.scan_unroll, length),
        )
        x, _ = blocks(self.config, self.axis_name, self.folded, name=name)(x, train)
        return x


class PatchEncoder(nn.Module):
    """Space-time patches by one strided convolution, batch norm, GELU (paper section 3.1)."""

    config: STLightConfig
    axis_name: str | None = None
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        config = self.config
        x = nn.Conv(
            config.hidden_dim,
            (config.encoder_kernel, config.encoder_kernel),
            strides=config.patch_size,
            padding=config.encoder_padding,
            use_bias=False,
            kernel_init=kaiming_normal,
            name="conv",
            **_arithmetic(config),
        )(x)  # [b, h/p, w/p, d]
        bias = self.param("bias", nn.initializers.zeros, (config.hidden_dim,), _parameter_dtype(config))
        if train:
            # The batch norm that follows subtracts any constant, so this gradient is zero. Left to rounding, its noise
            # would be scaled up by Adam into a random walk that differs with the number of devices.
            bias = lax.stop_gradient(bias)
        x = x + bias.astype(x.dtype)
        x = _batch_norm(self, name="norm")(x, train)
        return gelu(x)


class MixerBlock(nn.Module):
    """Near and far depthwise convolutions with a residual, then a pointwise one without (paper section 3.2, appendix G)."""

    config: STLightConfig
    axis_name: str | None = None
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, None]:
        config = self.config
        residual = x
        x = checkpoint_name(self._depthwise("near", config.near_kernel, dilation=1)(x), _CONVOLVED)
        x = checkpoint_name(self._depthwise("far", config.far_kernel, dilation=config.dilation)(x), _CONVOLVED)
        x = gelu(x)
        x = residual + _batch_norm(self, name="spatial_norm")(x, train)

        x = Dense(
            config.hidden_dim,
            kernel_init=kaiming_normal,
            dot_general=pointwise_product,
            name="pointwise",
            **_arithmetic(config),
        )(x)
        x = gelu(checkpoint_name(x, _CONVOLVED))
        x = _batch_norm(self, name="pointwise_norm")(x, train)
        return x, None

    def _depthwise(self, name: str, side: int, dilation: int) -> nn.Conv:
        return Conv(
            self.config.hidden_dim,
            (side, side),
            padding="SAME",
            kernel_dilation=dilation,
            feature_group_count=self.config.hidden_dim,
            kernel_init=kaiming_normal,
            conv_general_dilated=as_conv_general_dilated(self.config.depthwise),
            name=name,
            **_arithmetic(self.config),
        )


class PatchReassembly(nn.Module):
    """Pixel shuffle back to the frame's size, then a 1x1 convolution to all future frames (paper section 3.3)."""

    config: STLightConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        x = pixel_shuffle(x, config.patch_size)  # [b, h, w, d/p**2]
        return nn.Dense(
            config.out_frames * config.out_channels,
            kernel_init=torch_default_kernel,
            bias_init=_torch_default_bias(x.shape[-1]),
            name="conv",
            **_arithmetic(config),
        )(x)  # [b, h, w, t'*c']


def fold_time(frames: jax.Array) -> jax.Array:
    """`[b, t, h, w, c] -> [b, h, w, t*c]`, channel index t*C + c."""
    batch, time, height, width, channels = frames.shape
    return frames.transpose(0, 2, 3, 1, 4).reshape(batch, height, width, time * channels)


def unfold_time(x: jax.Array, time: int) -> jax.Array:
    """`[b, h, w, t*c] -> [b, t, h, w, c]`, the inverse of `fold_time`."""
    batch, height, width, folded = x.shape
    return x.reshape(batch, height, width, time, folded // time).transpose(0, 3, 1, 2, 4)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """`[b, h, w, c*r*r] -> [b, h*r, w*r, c]` in PyTorch's channel order, c*r*r + row*r + column."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, channels // factor**2)


_CONVOLVED = "convolved"


def _rematerialising(block: type[nn.Module], what: str) -> type[nn.Module]:
    """A mixer block that keeps less for its gradients. In a loop, the compiler cannot undo it by finding equal terms."""
    if what == "nothing":
        return block
    keep = jax.checkpoint_policies.save_only_these_names(_CONVOLVED, STATISTICS)
    return nn.remat(block, policy=keep if what == "elementwise" else None, prevent_cse=False, static_argnums=(2,))


# The paper's hybrid initialisation (appendices D and G): Kaiming-normal with fan_out and the ReLU gain for the encoder and
# the mixers, PyTorch's default for the last convolution. As in PyTorch, the fan-out of a depthwise kernel counts all
# output channels, which makes those weights small.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
torch_default_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _torch_default_bias(fan_in: int) -> nn.initializers.Initializer:
    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return uniform


def _parameter_dtype(config: STLightConfig) -> jnp.dtype:
    return jnp.promote_types(_DTYPES[config.dtype], jnp.float32)


def _arithmetic(config: STLightConfig) -> dict:
    return {
        "dtype": _DTYPES[config.dtype],
        "param_dtype": _parameter_dtype(config),
        "precision": _PRECISIONS[config.precision],
    }


def _batch_norm(part: PatchEncoder | MixerBlock, name: str) -> BatchNorm | FoldedBatchNorm:
    """PyTorch's eps and momentum; the running variance is Flax's biased one."""
    dtype = _DTYPES[part.config.dtype]
    if part.folded:
        return FoldedBatchNorm(dtype=dtype, name=name)
    parameter_dtype = _parameter_dtype(part.config)
    return BatchNorm(momentum=0.9, axis_name=part.axis_name, dtype=dtype, param_dtype=parameter_dtype, name=name)
