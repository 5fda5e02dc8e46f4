"""Scaling between stored values and the network's range, with marks for missing values."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from etils import epy

from stlight_jax.data.statistics import is_missing
from stlight_jax.errors import InputError

with epy.lazy_imports():  # configs import the data sets for their keys, and need no JAX
    import jax
    import jax.numpy as jnp

# 1/255 = 257/65535 in two parts. An integer of 15 bits times the first is exact in float32, so only the sum of the two
# products rounds.
_LEADING = 257 / 65536
_REMAINDER = 257 / (65535 * 65536)


def to_unit_range(frames: jax.Array) -> jax.Array:
    """Scales uint8 frames to [0, 1] on the device, so that a quarter of the bytes cross to it.

    The result is the correctly rounded quotient by 255, as in NumPy and PyTorch. XLA turns a division by a constant into a
    product with its rounded inverse, which differs for every second value.

    Args:
      frames: uint8 of any shape, or integers of at most 15 bits.

    Returns:
      float32 of the same shape, in [0, 1] for uint8.
    """
    frames = frames.astype(jnp.float32)
    return frames * _LEADING + frames * _REMAINDER


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A linear map from stored values to the network's range: `low` becomes 0, `high` becomes 1.

    A channel with `low` equal to `high` was constant in training. Its constant becomes 0, differences from the constant keep
    their size, and every value of the network becomes the constant.

    Attributes:
      dtype: NumPy's name of the stored values' dtype.
      low: stored value that becomes 0; one for all channels, or one per channel.
      high: stored value that becomes 1; as many as `low`. At least one is larger than its `low`.
      missing: whether values can be missing. In float data, NaN marks them.
      fill: the integer that marks a missing value; None in float data.
      filling: the network's input where values are missing, in the network's range; one value, or one per channel.
    """

    dtype: str = "uint8"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    missing: bool = False
    fill: float | None = None
    filling: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        """Checks the range."""
        has_range = any(low < high for low, high in zip(self.low, self.high, strict=True))
        for low, high in zip(self.low, self.high, strict=True):
            if not (has_range and np.isfinite(low) and np.isfinite(high) and low <= high):
                raise InputError(
                    f"the value range is {low:g} to {high:g}: a network cannot learn from constant data; check the data, or "
                    "declare a range with data.value_low and data.value_high"
                )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Scaling:
        """Restores a scaling from the dict that `as_json` returned.

        Args:
          content: the fields by name; lists stand for tuples.

        Returns:
          The scaling.

        Raises:
          InputError: a newer version wrote the dict.
        """
        unknown = sorted(content.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise InputError(f"its scaling has unknown keys ({', '.join(unknown)}); install a newer stlight_jax")
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        return cls(**fields)

    def as_json(self) -> dict[str, Any]:
        """Returns the fields as plain data, for a checkpoint."""
        return dataclasses.asdict(self)

    def with_mark(self) -> Scaling:
        """Returns the scaling of the same values, of which some can be missing.

        Integers without a fill value take the next wider signed type, where the number below their range marks missing values.
        """
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f" or self.fill is not None:
            return dataclasses.replace(self, missing=True)
        limits = np.iinfo(dtype)
        wider = np.promote_types(dtype, np.min_scalar_type(int(limits.min) - 1))
        return dataclasses.replace(self, dtype=wider.name, fill=float(limits.min - 1), missing=True)

    @property
    def _is_bytes(self) -> bool:
        return (self.low, self.high) == ((0.0,), (255.0,))

    def to_network(self, frames: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Scales stored frames on the device and fills missing values.

        Args:
          frames: `[..., c]` in the stored dtype.

        Returns:
          float32 `[..., c]` in the network's range, and a bool mask of the same shape, False where values are missing. The
          mask is None if no value can be missing.
        """
        if self.dtype in ("uint8", "int16") and self._is_bytes:  # int16 as of `with_mark`
            values = to_unit_range(frames)
        else:
            low, divisor = self._low_and_divisor(np.float32)
            values = (frames.astype(jnp.float32) - low) / divisor
        if not self.missing:
            return values, None
        valid = jnp.isfinite(values) if self.fill is None else frames != jnp.asarray(self.fill, frames.dtype)
        return jnp.where(valid, values, jnp.asarray(self.filling, jnp.float32)), valid

    def fill_missing(self, values: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Fills the missing values of frames that enter the network.

        Args:
          values: float `[..., c]` in the network's range, NaN where values are missing.

        Returns:
          The frames with `filling` where values are missing, and a bool mask that is False there; None if no value can be
          missing.
        """
        if not self.missing:
            return values, None
        valid = ~jnp.isnan(values)
        return jnp.where(valid, values, jnp.asarray(self.filling, values.dtype)), valid

    def for_channels(self, channels: int) -> Scaling:
        """Restricts the scaling to the first channels.

        Args:
          channels: number of channels to keep.

        Returns:
          The scaling of these channels.
        """

        def chosen(values: tuple[float, ...]) -> tuple[float, ...]:
            return values[:channels] if len(values) > 1 else values

        return dataclasses.replace(self, low=chosen(self.low), high=chosen(self.high), filling=chosen(self.filling))

    def to_network_on_host(self, frames: np.ndarray) -> np.ndarray:
        """Scales frames in NumPy, with the same results as `to_network`; missing values are not filled.

        Args:
          frames: `[..., c]` of any real dtype.

        Returns:
          float32 `[..., c]` in the network's range.
        """
        if self._is_bytes and frames.dtype.kind in "iu":
            return frames.astype(np.float32) / np.float32(255)
        low, divisor = self._low_and_divisor(np.float64 if is_wide(frames.dtype) else np.float32)
        return ((frames.astype(low.dtype) - low) / divisor).astype(np.float32)

    def to_network_float64(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Scales stored frames in NumPy and float64; missing values keep their marks.

        Args:
          frames: `[..., c]` in the stored dtype.

        Returns:
          float64 `[..., c]` in the network's range, and a mask as from `to_network`.
        """
        low, divisor = self._low_and_divisor(np.float64)
        missing = is_missing(frames, self.fill) if self.missing else None
        return (frames - low) / divisor, None if missing is None else ~missing

    def from_network(self, values: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Scales the network's values back to the data's units.

        Args:
          values: `[..., c]` in the network's range.
          dtype: float32 or float64.

        Returns:
          `[..., c]` of `dtype`, in the data's units.
        """
        low, span = self._low_and_span(dtype)
        return np.asarray(values, dtype) * span + low

    def with_constants(self, prediction: Any) -> Any:
        """Sets the network's prediction of constant channels to their constant.

        Args:
          prediction: float `[..., c]` in the network's range, a NumPy or a JAX array.

        Returns:
          The same with 0 in the channels that were constant in training.
        """
        constants = self.for_channels(prediction.shape[-1]).constants
        if not constants:
            return prediction
        return prediction * np.isin(np.arange(prediction.shape[-1]), constants, invert=True).astype(prediction.dtype)

    @property
    def constants(self) -> list[int]:
        """The numbers of the channels that were constant in training, from 0."""
        return [number for number, (low, high) in enumerate(zip(self.low, self.high, strict=True)) if low == high]

    @property
    def common_span(self) -> float | None:
        """Width of the range in the data's units; None if channels differ in it."""
        spans = {high - low for low, high in zip(self.low, self.high, strict=True)}
        return spans.pop() if len(spans) == 1 else None

    def _low_and_span(self, dtype: np.dtype | type) -> tuple[np.ndarray, np.ndarray]:
        low, high = (np.asarray(values, np.float64) for values in (self.low, self.high))
        return low.astype(dtype), (high - low).astype(dtype)

    def _low_and_divisor(self, dtype: np.dtype | type) -> tuple[np.ndarray, np.ndarray]:
        low, span = self._low_and_span(dtype)
        return low, np.where(span > 0, span, span.dtype.type(1))


def is_constant(low: float, high: float) -> bool:
    """Returns whether values between `low` and `high` differ by no more than the rounding of float32."""
    return high - low <= 4 * float(np.finfo(np.float32).eps) * max(abs(low), abs(high))


def is_wide(dtype: np.dtype) -> bool:
    """Returns whether float32 cannot hold every value of a dtype, such as small differences far from 0."""
    return dtype.itemsize > 4 or (dtype.kind in "iu" and dtype.itemsize == 4)
