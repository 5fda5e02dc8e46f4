"""Other networks to compare with, after OpenSTL: ConvLSTM, and networks like SimVP and TAU. Linear regression has no network.

They differ from OpenSTL's in size, and in their training, which is that of STLight here: one loss on the predicted frames only,
no scheduled sampling for ConvLSTM, no second loss for TAU, no drop path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from stlight_jax.model.ops.batch_norm import BatchNorm
from stlight_jax.model.ops.depthwise import Implementation, as_conv_general_dilated
from stlight_jax.model.ops.layers import Conv, Dense, gelu, pointwise_product
from stlight_jax.model.stlight import STLight, pixel_shuffle
from stlight_jax.model.time_folding import fold_time, unfold_time

_LAYER_SCALE = 1e-2  # first value
_NORMAL = nn.initializers.truncated_normal(0.02)  # OpenSTL's, of SimVP


class ConvLSTM(STLight):
    """Stacked convolutional LSTMs on patches (Shi et al., 2015): `openstl/models/convlstm_model.py`.

    The network sees the input frames one by one, then its own forecasts.

    Attributes:
      features: Hidden channels of each layer.
      filter_side: Side of the kernels.
    """

    features: tuple[int, ...] = (64, 64, 64, 64)
    filter_side: int = 5

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Predicts the frames that follow, see `STLight`."""
        config = self.config
        self.variable("batch_stats", "none", jnp.zeros, ())  # the training loop expects running statistics
        cells = [ConvLSTMCell(features, self.filter_side, name=f"layer_{i}") for i, features in enumerate(self.features)]
        patches = pixel_unshuffle(frames, config.patch_size)  # [b, t, h/p, w/p, c*p*p]
        channels = patches.shape[-1]
        grid = patches.shape[:1] + patches.shape[2:4]
        states = [(jnp.zeros((*grid, features)),) * 2 for features in self.features]  # hidden and cell
        to_frame = nn.Dense(channels, use_bias=False, name="to_frame")
        predicted = []
        for time in range(config.in_frames + config.out_frames - 1):
            x = patches[:, time] if time < config.in_frames else predicted[-1]  # [b, h/p, w/p, c*p*p]
            for layer, cell in enumerate(cells):
                states[layer] = cell(x, states[layer])
                x = states[layer][0]
            if time >= config.in_frames - 1:
                predicted.append(to_frame(x))
        x = jnp.stack(predicted, 1)  # [b, t', h/p, w/p, c*p*p]
        x = pixel_shuffle(x.reshape(-1, *x.shape[2:]), config.patch_size)  # [b*t', h, w, c]
        return x.reshape(frames.shape[0], config.out_frames, *frames.shape[2:4], config.out_channels)


class ConvLSTMCell(nn.Module):
    """One layer: `openstl/modules/convlstm_modules.py` without layer norm.

    Attributes:
      features: Hidden channels.
      filter_side: Side of the kernels.
    """

    features: int
    filter_side: int

    @nn.compact
    def __call__(self, x: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Returns the next hidden and cell state.

        Args:
          x: `[b, h, w, c]`.
          state: Hidden and cell state, `[b, h, w, features]` each.
        """
        hidden, cell = state
        sides = (self.filter_side, self.filter_side)
        gates = nn.Conv(4 * self.features, sides, use_bias=False, name="of_input")(x)
        gates = gates + nn.Conv(4 * self.features, sides, use_bias=False, name="of_hidden")(hidden)  # [b, h, w, 4 * features]
        enter, forget, candidate, leave = jnp.split(gates, 4, -1)
        cell = nn.sigmoid(forget + 1) * cell + nn.sigmoid(enter) * jnp.tanh(candidate)
        return nn.sigmoid(leave) * jnp.tanh(cell), cell


class SimVP(STLight):
    """SimVP (Gao et al., 2022; Tan et al., 2022), and with the other attention TAU (Tan et al., 2023).

    Frames are encoded and decoded one by one, with one stride of 2; a translator relates them: `openstl/models/simvp_model.py`.

    Attributes:
      spatial: Channels of the encoder and the decoder of a frame (hid_S).
      temporal: Channels of the translator (hid_T).
      blocks: Blocks of the translator (N_T), at least 2; the first has the width of the encoded frames.
      mlp_ratio: Widening in the second half of a block.
      attention: "gated" of SimVP, or "temporal" of TAU.
    """

    spatial: int = 64
    temporal: int = 512
    blocks: int = 8
    mlp_ratio: int = 8
    attention: Literal["gated", "temporal"] = "gated"

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Predicts the frames that follow, see `STLight`."""
        batch, time = frames.shape[:2]
        x = frames.reshape(-1, *frames.shape[2:])  # [b*t, h, w, c]
        skipped = self._layer("encoder_0")(x)  # [b*t, h, w, s]
        x = self._layer("encoder_1", stride=2)(skipped)  # [b*t, h/2, w/2, s]

        x = fold_time(x.reshape(batch, time, *x.shape[1:]))  # [b, h/2, w/2, t*s]
        width = x.shape[-1]
        for number in range(self.blocks):
            block = AttentionBlock(
                self.attention, self.mlp_ratio, self.config.depthwise, self.axis_name, name=f"block_{number}"
            )
            x = block(x, train)
            if number in (0, self.blocks - 1):
                target = self.temporal if number == 0 else width
                x = Dense(target, kernel_init=_NORMAL, name=f"reduction_{number}")(x)
        x = unfold_time(x, time)  # [b, t, h/2, w/2, s]

        x = self._layer("decoder_0", up=True)(x.reshape(-1, *x.shape[2:]))  # [b*t, h, w, s]
        x = self._layer("decoder_1")(x + skipped)  # [b*t, h, w, s]
        x = nn.Dense(self.config.out_channels, name="readout")(x)  # [b*t, h, w, c]
        return x.reshape(batch, time, *x.shape[1:])

    def _layer(self, name: str, stride: int = 1, up: bool = False) -> Callable[[jax.Array], jax.Array]:
        convolution = nn.Conv(self.spatial * (4 if up else 1), (3, 3), stride, padding=1, kernel_init=_NORMAL, name=name)
        norm = nn.GroupNorm(2, epsilon=1e-5, name=f"{name}_norm")

        def apply(x: jax.Array) -> jax.Array:
            x = convolution(x)
            return nn.silu(norm(pixel_shuffle(x, 2) if up else x))

        return apply


class AttentionBlock(nn.Module):
    """A block of the translator: attention by large kernels, then a widened pointwise half, both with residuals.

    Attributes:
      attention: As in `SimVP`.
      mlp_ratio: As in `SimVP`.
      depthwise: Implementation of the depthwise convolutions.
      axis_name: As in `STLight`.
    """

    attention: str
    mlp_ratio: int
    depthwise: Implementation
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[b, h, w, d]` to the same shape."""
        y = BatchNorm(self.axis_name, name="attention_norm")(x, train)
        z = gelu(self._pointwise("attention_in", x.shape[-1])(y))
        z = self._pointwise("attention_out", x.shape[-1])(self._attended(z)) + y
        x = x + self._scale("attention_scale", x.shape[-1]) * z

        y = BatchNorm(self.axis_name, name="mlp_norm")(x, train)
        y = self._pointwise("mlp_in", self.mlp_ratio * x.shape[-1])(y)
        y = self._pointwise("mlp_out", x.shape[-1])(gelu(self._depthwise("mlp_depthwise", y.shape[-1], 3)(y)))
        return x + self._scale("mlp_scale", x.shape[-1]) * y

    def _attended(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        large = self._depthwise("near", width, 5)(x)
        large = self._depthwise("far", width, 7, dilation=3)(large)
        if self.attention == "gated":
            values, gates = jnp.split(self._pointwise("large_pointwise", 2 * width)(large), 2, -1)
            return values * nn.sigmoid(gates)
        squeezed = nn.Dense(width // max(width // 16, 4), use_bias=False, name="squeeze")(x.mean((1, 2)))
        dynamic = nn.sigmoid(nn.Dense(width, use_bias=False, name="excite")(nn.relu(squeezed)))  # [b, d]
        return dynamic[:, None, None] * self._pointwise("large_pointwise", width)(large) * x

    def _pointwise(self, name: str, features: int) -> Dense:
        return Dense(features, kernel_init=_NORMAL, dot_general=pointwise_product, name=name)

    def _depthwise(self, name: str, features: int, side: int, dilation: int = 1) -> Conv:
        return Conv(
            features,
            (side, side),
            padding="SAME",
            kernel_dilation=dilation,
            feature_group_count=features,
            kernel_init=_NORMAL,
            conv_general_dilated=as_conv_general_dilated(self.depthwise),
            name=name,
        )

    def _scale(self, name: str, features: int) -> jax.Array:
        return self.param(name, nn.initializers.constant(_LAYER_SCALE), (features,))


def pixel_unshuffle(frames: jax.Array, side: int) -> jax.Array:
    """Inverts `pixel_shuffle` for frames: `[b, t, h, w, c]` to `[b, t, h/p, w/p, c*p*p]`."""
    batch, time, height, width, channels = frames.shape
    x = frames.reshape(batch, time, height // side, side, width // side, side, channels)
    return x.transpose(0, 1, 2, 4, 6, 3, 5).reshape(batch, time, height // side, width // side, channels * side**2)
