"""The STLight network (Alfarano et al., WACV 2025), part by part in the order of the paper.

Time is folded into channels, one strided convolution makes space-time patches, a stack of depthwise and pointwise mixers
relates near and far patches, and a pixel shuffle with a 1x1 convolution gives all future frames at once.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from stlight_jax.model.initialisers import kaiming_normal, repeat_over_patches, torch_default_bias, torch_default_kernel
from stlight_jax.model.ops import cpu_kernels, cpu_training
from stlight_jax.model.ops.batch_norm import STATISTICS, BatchNorm, FoldedBatchNorm, running_average
from stlight_jax.model.ops.depthwise import as_conv_general_dilated
from stlight_jax.model.ops.layers import Conv, Dense, gelu, pointwise_product
from stlight_jax.model.shortcut import Shortcut, fill_from_neighbours, flow_forecast
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.model.time_folding import fold_time, unfold_time

_PRECISIONS = {"float32": lax.Precision.HIGHEST, "tensorfloat32": lax.Precision.HIGH, "bfloat16": lax.Precision.DEFAULT}
_DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}
_CONVOLVED = "convolved"  # checkpoint name of the outputs of convolutions, which "elementwise" rematerialisation stores


class _Part(nn.Module):
    """The network, or a part of it that has batch norms.

    Attributes:
      config: The network's shape.
      axis_name: Device axis over which the batch statistics are averaged in training; None for one device.
      folded: Whether the network takes the variables of `batch_norm.fold`, which can predict but not train.
    """

    config: STLightConfig
    axis_name: str | None = None
    folded: bool = False

    def _batch_norm(self, name: str) -> BatchNorm | FoldedBatchNorm:
        """Makes a batch norm with PyTorch's epsilon and momentum; the running variance is Flax's biased one."""
        dtype = _DTYPES[self.config.dtype]
        if self.folded:
            return FoldedBatchNorm(dtype=dtype, name=name)
        return BatchNorm(axis_name=self.axis_name, dtype=dtype, param_dtype=_parameter_dtype(self.config), name=name)


class STLight(_Part):
    """Predicts `out_frames` frames from `in_frames` frames, and from earlier ones if it has periods.

    `model.apply(variables, frames)` predicts. `model.apply(variables, frames, train=True, mutable=["batch_stats"])` normalises
    by the batch's statistics and returns `(prediction, updated statistics)`. Its parts define their own gradients, so it
    supports reverse-mode differentiation of first order only.

    See `_Part` for its arguments.
    """

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Predicts the frames that follow.

        Args:
          frames: `[b, context_frames + in_frames, h, w, in_channels]`, floats in [0, 1].
          train: Whether to normalise by the batch's statistics and update the running ones.
          valid: bool like `frames`, False where values are missing and `frames` has a filling; None if none are. A network
            with a shortcut sees the nearest valid value in time instead of the filling.

        Returns:
          `[b, out_frames, h, w, out_channels]` in float32 or wider, not clipped (paper section 3.3).

        Raises:
          InputError: The shape of the frames does not fit the config.
          TypeError: The frames are not floats.
        """
        config = self.config
        config.check_frames(frames.shape)
        if not jnp.issubdtype(frames.dtype, jnp.floating):
            raise TypeError(f"frames are {frames.dtype}; STLight takes floats in [0, 1] (uint8 frames: divide by 255)")
        skip_from, skip_to = config.skip_blocks
        if config.shortcut != "none" and valid is not None:
            frames = fill_from_neighbours(frames, valid, config.in_frames, config.context_periods)

        dtype = _DTYPES[config.dtype]
        seen = frames
        if config.input == "changes":  # covariates stay: a static field does not change
            seen = frames.astype(jnp.promote_types(frames.dtype, dtype))  # the wider type, which rounds no difference
            last = seen[:, -1:, ..., : config.in_channels - config.covariates]
            seen = seen - jnp.pad(last, [(0, 0)] * 4 + [(0, config.covariates)])  # [b, t, h, w, c]
        x = fold_time(seen.astype(dtype))  # [b, h, w, t*c]
        flow = flow_forecast(config, frames, valid)  # [b, t', h, w, c'] or None
        if config.input == "frames_and_flow":
            assert flow is not None
            x = jnp.concatenate([x, fold_time(flow.astype(dtype))], axis=-1)  # [b, h, w, t*c + t'*c']
        x = pad_to_patches(x, config.patch_size)  # h and w are multiples of p from here on
        x = PatchEncoder(config, self.axis_name, self.folded, name="patch_encoder")(x, train)  # [b, h/p, w/p, d]
        x = self._mixers("mixers_before_skip", skip_from, x, train)
        skipped = x
        x = self._mixers("mixers_across_skip", skip_to - skip_from, x, train)
        x = self._mixers("mixers_after_skip", config.depth - skip_to, x + skipped, train)
        x = PatchReassembly(config, name="patch_reassembly")(x)  # [b, h, w, t'*c']
        x = x[:, : frames.shape[2], : frames.shape[3]]  # without the padding
        prediction = unfold_time(x, config.out_frames)  # [b, t', h, w, c']
        chex.assert_shape(prediction, (frames.shape[0], config.out_frames, *frames.shape[2:4], config.out_channels))
        prediction = prediction.astype(jnp.promote_types(prediction.dtype, jnp.float32))
        if config.shortcut != "none":
            prediction = prediction + Shortcut(config, name="shortcut")(frames, flow, valid)  # [b, t', h, w, c']
        return prediction

    def _mixers(self, name: str, length: int, x: jax.Array, train: bool) -> jax.Array:
        """Applies `length` mixer blocks; stacked parameters (leading axis = block) keep compile time independent of depth."""
        if length == 0:
            return x
        config = self.config
        blocks = nn.scan(
            _rematerialising(MixerBlock, config.rematerialise),
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=length,
            unroll=min(config.scan_unroll, length),
        )
        by_layers = blocks(config, self.axis_name, self.folded, parent=None)
        if train and not self.is_initializing() and self._trains_fused(x):
            return self._train_fused(name, by_layers, x)
        if self.folded and _is_fused(config, x):
            return lax.platform_dependent(
                self.variables["params"][name],
                x,
                cpu=lambda params, x: cpu_kernels.mixers(x, params, config.dilation),
                default=lambda params, x: by_layers.apply({"params": params}, x, False)[0],
            )
        x, _ = blocks(config, self.axis_name, self.folded, name=name)(x, train)
        return x

    def _trains_fused(self, x: jax.Array) -> bool:
        """Returns whether CPUs train with one kernel for a stack of blocks, which normalises by one device's statistics."""
        one_device = self.axis_name is None or lax.axis_size(self.axis_name) == 1
        return one_device and self.config.rematerialise != "blocks" and _is_fused(self.config, x) and cpu_training.available()

    def _train_fused(self, name: str, by_layers: nn.Module, x: jax.Array) -> jax.Array:
        """Applies a stack of mixer blocks and moves their running averages."""
        running: Any = self.get_variable("batch_stats", name)

        def on_cpu(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            y, statistics = cpu_training.mixers(x, params, self.config.dilation)
            names = [(norm, part) for norm in ("spatial_norm", "pointwise_norm") for part in ("mean", "var")]
            moved: dict[str, dict[str, jax.Array]] = {}
            for index, (norm, part) in enumerate(names):
                moved.setdefault(norm, {})[part] = running_average(running[norm][part], statistics[:, index])
            return y, moved

        def elsewhere(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": running}
            (y, _), updates = by_layers.apply(variables, x, True, mutable=["batch_stats"])
            return y, updates["batch_stats"]

        x, moved = lax.platform_dependent(self.variables["params"][name], x, cpu=on_cpu, default=elsewhere)
        self.put_variable("batch_stats", name, moved)
        return x


class PatchEncoder(_Part):
    """Makes space-time patches: one strided convolution, batch norm and GELU (paper section 3.1).

    See `_Part` for its arguments.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[b, h, w, t*c]` to `[b, h/p, w/p, d]`."""
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
        x = self._batch_norm("norm")(x, train)
        return gelu(x)


class MixerBlock(_Part):
    """Mixes patches by near and far depthwise convolutions with a residual, then by a pointwise convolution without one.

    Paper section 3.2 and appendix G.

    See `_Part` for its arguments.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, None]:
        """Maps `[b, h/p, w/p, d]` to the same shape; the None is the per-block output that `nn.scan` expects."""
        config = self.config
        residual = x
        x = checkpoint_name(self._depthwise("near", config.near_kernel, dilation=1)(x), _CONVOLVED)
        x = checkpoint_name(self._depthwise("far", config.far_kernel, dilation=config.dilation)(x), _CONVOLVED)
        x = gelu(x)
        x = residual + self._batch_norm("spatial_norm")(x, train)

        x = Dense(
            config.hidden_dim,
            kernel_init=kaiming_normal,
            dot_general=pointwise_product,
            name="pointwise",
            **_arithmetic(config),
        )(x)
        x = gelu(checkpoint_name(x, _CONVOLVED))
        x = self._batch_norm("pointwise_norm")(x, train)
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
    """Makes frames of patches: a pixel shuffle to the frame's size, then a 1x1 convolution to all frames (paper section 3.3).

    The convolution gives float32 at least. In bfloat16, XLA would sum the gradients of its bias over all pixels in that type,
    which stops growing after some hundreds of equal terms, and the loss would see rounded predictions. The products alone may
    be those of bfloat16, where a device is faster with them.

    Attributes:
      config: The network's shape.
    """

    config: STLightConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, h/p, w/p, d]` to `[b, h, w, t'*c']`."""
        config = self.config
        arithmetic = _arithmetic(config) | {"dtype": _parameter_dtype(config)}
        if config.dtype == "bfloat16":
            arithmetic["precision"] = lax.Precision.DEFAULT
        x = pixel_shuffle(x, config.patch_size).astype(arithmetic["dtype"])  # [b, h, w, d/p**2]
        zeros = nn.initializers.zeros
        initial = (zeros, zeros) if config.shortcut != "none" else (torch_default_kernel, torch_default_bias(x.shape[-1]))
        return nn.Dense(
            config.out_frames * config.out_channels,
            kernel_init=initial[0],
            bias_init=initial[1],
            name="conv",
            **arithmetic,
        )(x)  # [b, h, w, t'*c']


def pad_to_patches(x: jax.Array, patch_size: int) -> jax.Array:
    """Repeats the last row and column of `[b, h, w, c]` until the patch divides both sides."""
    height, width = x.shape[1:3]
    if not isinstance(height, int) or not isinstance(width, int):  # symbols of an export, which are multiples of the patch
        return x
    return jnp.pad(x, ((0, 0), (0, -height % patch_size), (0, -width % patch_size), (0, 0)), mode="edge")


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Maps `[b, h, w, c*r*r]` to `[b, h*r, w*r, c]` in PyTorch's channel order, c*r*r + row*r + column."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, channels // factor**2)


def init_variables(model: STLight, seed: int, frame_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Makes the initial variables of a network; they are the same on every process.

    Args:
      model: The network.
      seed: Seed of the random weights.
      frame_shape: `[h, w, c]` of an input frame; the variables do not depend on h and w.

    Returns:
      {"params", "batch_stats"}. With a shortcut, the pixels of a patch start with equal features (see `repeat_over_patches`).
    """
    key, frames = jax.random.key(seed), jnp.zeros((1, model.config.seen_frames, *frame_shape), jnp.float32)
    # Random numbers compile to long, straight code, which LLVM optimises for seconds although it runs once. (tiny, Zen 4: 4 s
    # of processor time instead of 10.) A jit inside another trace takes no options.
    traced = isinstance(key, jax.core.Tracer)
    on_cpu = not traced and all(device.platform == "cpu" for device in key.devices())
    options = {"xla_backend_optimization_level": 1} if on_cpu else None
    variables = dict(jax.jit(model.init, compiler_options=options)(key, frames))
    return variables if model.config.shortcut == "none" else repeat_over_patches(variables, model.config.patch_size)


def _is_fused(config: STLightConfig, x: jax.Array) -> bool:
    """Returns whether CPUs have one kernel for all mixer blocks of a stack, in predictions and in training."""
    supported = cpu_kernels.supports_mixers(x.dtype, config.hidden_dim, (config.near_kernel, config.far_kernel))
    return supported and config.depthwise in ("auto", "cpu") and cpu_kernels.available()


def _rematerialising(block: type[nn.Module], rematerialise: str) -> type[nn.Module]:
    """Makes a mixer block recompute activations in the backward pass, as `STLightConfig.rematerialise` asks."""
    if rematerialise == "nothing":
        return block
    stored = jax.checkpoint_policies.save_only_these_names(_CONVOLVED, STATISTICS)
    policy = stored if rematerialise == "elementwise" else None
    # In a loop, common-subexpression elimination cannot undo the recomputation, so it need not be prevented.
    return nn.remat(block, policy=policy, prevent_cse=False, static_argnums=(2,))


def _parameter_dtype(config: STLightConfig) -> DTypeLike:
    """Returns float32, or float64 for activations in float64."""
    return jnp.promote_types(_DTYPES[config.dtype], jnp.float32)


def _arithmetic(config: STLightConfig) -> dict[str, Any]:
    """Returns the types and the precision of a layer, as arguments of Flax's layers."""
    return {
        "dtype": _DTYPES[config.dtype],
        "param_dtype": _parameter_dtype(config),
        "precision": _PRECISIONS[config.precision],
    }
