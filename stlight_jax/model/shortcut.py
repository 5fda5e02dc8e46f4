"""The shortcut: a path beside the network, from the input frames to the output, that forecasts without learning features.

The paper's network has none. With one, the network's last convolution starts at zero, so that a forecast starts where the
shortcut ends, and the network learns the difference.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from stlight_jax.model.ops import optical_flow
from stlight_jax.model.ops.smoothing import smoothed
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS, STLightConfig
from stlight_jax.model.time_folding import fold_time, unfold_time


class Shortcut(nn.Module):
    """Forecasts all frames from the input frames.

    - "last" repeats the last frame.
    - "linear" is one linear map of the input frames for all pixels, a 1x1 convolution with bias. Its initial weights repeat the
      last frame; training replaces them by a ridge regression before the first step.
    - "flow" carries the last frame along the motion between the input frames, as nowcasting of rain does.
    - "flow_linear" is one linear map of the input frames and of the flow's forecast, as "linear" is of the input frames. Its
      initial weights repeat the flow's forecast. The fit draws it to the mean at lead times at which the motion is uncertain.

    With `shortcut_scales`, a linear map also has smoothed copies of its inputs, see `smoothed_inputs`.

    Attributes:
      config: The network's shape.
    """

    config: STLightConfig

    @nn.compact
    def __call__(self, frames: jax.Array, flow: jax.Array | None = None, valid: jax.Array | None = None) -> jax.Array:
        """Forecasts.

        Args:
          frames: `[b, context_frames + in_frames, h, w, in_channels]`, without missing values, see `fill_from_neighbours`.
          flow: The forecast of the flow, as from `flow_forecast`.
          valid: As for `flow_forecast`.

        Returns:
          `[b, out_frames, h, w, out_channels]`, in float32 or wider.
        """
        config = self.config
        dtype = jnp.promote_types(jnp.promote_types(config.dtype, frames.dtype), jnp.float32)
        frames = frames.astype(dtype)
        if config.shortcut == "last":
            last = frames[:, -1:, ..., : config.out_channels]  # [b, 1, h, w, c']
            return jnp.broadcast_to(last, (last.shape[0], config.out_frames, *last.shape[2:]))  # [b, t', h, w, c']
        if config.shortcut == "flow":
            assert flow is not None
            return flow.astype(dtype)  # [b, t', h, w, c']
        x = fold_time(frames)  # [b, h, w, t*c]
        if config.shortcut == "flow_linear":
            assert flow is not None
            x = jnp.concatenate([x, fold_time(flow.astype(dtype))], axis=-1)  # [b, h, w, t*c + t'*c']
        x = jnp.concatenate([x, *smoothed_inputs(config, frames, flow, valid)], axis=-1)  # [b, h, w, inputs]
        x = nn.Dense(
            config.out_frames * config.out_channels,
            dtype=dtype,
            param_dtype=dtype,
            precision=lax.Precision.HIGHEST,
            kernel_init=lambda _, shape, dtype: unfitted_kernel(config, shape, dtype),
            name="linear",
        )(x)  # [b, h, w, t'*c']
        return unfold_time(x, config.out_frames)  # [b, t', h, w, c']


def flow_forecast(config: STLightConfig, frames: jax.Array, valid: jax.Array | None = None) -> jax.Array | None:
    """Carries the last frame along the motion between the input frames, if the shortcut does. No gradient passes through it.

    Args:
      config: The network's shape.
      frames: As for `Shortcut`.
      valid: bool like `frames`, False where values were missing; None if no value was.

    Returns:
      float32 `[b, out_frames, h, w, out_channels]`; None for a shortcut without a flow.
    """
    if config.shortcut not in MOVING_SHORTCUTS:
        return None
    recent = frames[:, -config.in_frames :, ..., : config.out_channels]  # a static field would hold the motion back
    seen = None if valid is None else valid[:, -config.in_frames :, ..., : config.out_channels]
    known = None if seen is None else seen.any(axis=1)  # [b, h, w, c']; other values have been filled in
    motion = optical_flow.motion(recent, seen)
    forecast, _ = optical_flow.extrapolate(recent[:, -1], motion, config.out_frames, known)
    return lax.stop_gradient(forecast)


def smoothed_inputs(
    config: STLightConfig, frames: jax.Array, flow: jax.Array | None = None, valid: jax.Array | None = None
) -> list[jax.Array]:
    """Smooths the inputs of a linear map, without the frames of earlier periods and without covariates.

    Large structures change slowly and can be predicted for longer than small ones (Seed, "A dynamic and spatial scaling
    approach to advection forecasting", Journal of Applied Meteorology 42, 2003). So a map can keep the large ones alone.

    Args:
      config: The network's shape.
      frames: As for `Shortcut`.
      flow: As for `Shortcut`.
      valid: As for `flow_forecast`. Pixels without a valid value in the T input frames do not count.

    Returns:
      For each of the `shortcut_scales` an array `[b, h, w, n]`, of the T input frames and the flow.
    """
    parts = [frames[:, -config.in_frames :, ..., : config.in_channels - config.covariates]]
    parts += [] if flow is None else [flow.astype(frames.dtype)]
    known = None if valid is None else valid[:, -config.in_frames :].any(axis=1, keepdims=True)  # [b, 1, h, w, c]
    copies = []
    for part in parts:
        counts = None if known is None else known[..., : part.shape[-1]]
        copies.append([fold_time(copy) for copy in smoothed(part, counts, config.shortcut_scales)])
    return [jnp.concatenate(of_scale, axis=-1) for of_scale in zip(*copies, strict=True)]


def unfitted_kernel(config: STLightConfig, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Makes the kernel of a linear map that repeats the last frame, or the flow's forecast.

    Args:
      config: The network's shape.
      shape: `[inputs, t'*c']`; the first inputs are t*c of the frames and, for "flow_linear", t'*c' of the flow's forecast.
      dtype: Type of the weights.

    Returns:
      The kernel, channel index t*C + c on both axes.
    """
    of_frames, output = config.seen_frames * config.in_channels, jnp.arange(shape[1])
    last = of_frames - config.in_channels + output % config.out_channels
    copied = of_frames + output if config.shortcut in MOVING_SHORTCUTS else last
    return jnp.zeros(shape, dtype).at[copied, output].set(1)


def fill_from_neighbours(frames: jax.Array, valid: jax.Array, in_frames: int, periods: tuple[int, ...] = ()) -> jax.Array:
    """Fills missing values from other frames: by the last earlier valid value, else by the first later one.

    A value that is missing in the context takes that of the same lead time and another period, which has the same phase: its
    own period in another form (a single frame for a mean) comes first, then the shortest multiple, then the longest divisor.
    Where all of these are missing, it takes the last input frame's.

    Args:
      frames: `[b, context + in_frames, h, w, c]`; any number where values are missing.
      valid: bool like `frames`, False where values are missing.
      in_frames: T, the number of input frames after the context.
      periods: Periods of the context frames, as in `STLightConfig.context_periods`.

    Returns:
      Like `frames`; values that are missing in all T input frames keep their number.
    """
    context = frames.shape[1] - in_frames
    recent = [frames[:, context + time] for time in range(in_frames)]  # [b, h, w, c] each
    known = [valid[:, context + time] for time in range(in_frames)]
    forward = [(time, time - 1) for time in range(1, in_frames)]
    backward = [(time, time + 1) for time in range(in_frames - 2, -1, -1)]
    for time, neighbour in (*forward, *backward):
        recent[time] = jnp.where(known[time], recent[time], recent[neighbour])
        known[time] = known[time] | known[neighbour]
    if not periods:
        before = [jnp.where(valid[:, :context], frames[:, :context], recent[-1][:, None])]
    else:
        leads = np.split(np.arange(context), len(periods))  # indices of the frames of each period
        before = []
        for number in range(len(periods)):
            filled = recent[-1][:, None]
            for source in filling_order(number, periods):
                filled = jnp.where(valid[:, leads[source]], frames[:, leads[source]], filled)
            before.append(filled)  # [b, lead times, h, w, c]
    return jnp.concatenate([*before, jnp.stack(recent, axis=1)], axis=1)


def filling_order(number: int, periods: tuple[int, ...]) -> list[int]:
    """Returns the order in which the frames of some periods replace missing frames of one of them.

    Args:
      number: Index of that period.
      periods: As for `fill_from_neighbours`.

    Returns:
      Indices of periods; the first choice, the period itself, comes last, so that each replaces the ones before.
    """
    period = periods[number]
    ascending = sorted(range(len(periods)), key=periods.__getitem__)
    divisors = [index for index in ascending if periods[index] < period and period % periods[index] == 0]
    multiples = [index for index in ascending if periods[index] > period and periods[index] % period == 0]
    same = [index for index in ascending if periods[index] == period and index != number]
    return [*divisors, *reversed(multiples), *same, number]
