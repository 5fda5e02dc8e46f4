"""Scaling between stored values and the network's range, with marks for missing values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epy

from stlight_jax.data.statistics import is_missing
from stlight_jax.data.unit_range import to_unit_range
from stlight_jax.data.value_transforms import TransformName, restored, transformed
from stlight_jax.errors import InputError

with epy.lazy_imports():  # configs import the data sets for their keys, and need no JAX
    import jax
    import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A map from stored values to the network's range: `low` becomes 0, `high` becomes 1; linear but for a transform.

    Metrics are computed in the metrics' range, where the data are never transformed: `untransformed` maps to it. Without a
    transform, both ranges are the same.

    A channel with `low` equal to `high` was constant in training. Its constant becomes 0, differences from the constant keep
    their size, and every value of the network becomes the constant.

    Attributes:
      dtype: NumPy's name of the stored values' dtype.
      low: stored value that becomes 0; one for all channels, or one per channel.
      high: stored value that becomes 1; as many as `low`. At least one is larger than its `low`.
      missing: whether values can be missing. In float data, NaN marks them.
      fill: the integer that marks a missing value; None in float data.
      filling: the network's input where values are missing, in the network's range; one value, or one per channel.
      transform: applied before the linear map, see `stlight_jax.data.value_transforms`.
      offset: of the transform `log`; as many as `low`.
      clip_low: least value of the output, in the data's units; one for all channels, or one per channel; None for no bound.
      clip_high: largest value of the output; as many as `clip_low`.
      covariates: number of the last channels that are covariates, which are stored in the network's range; `filling` has a
        value for each channel then.
      data_fill: the integer that marks a missing value in the data, where floats are stored instead of integers.
    """

    dtype: str = "uint8"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    missing: bool = False
    fill: float | None = None
    filling: tuple[float, ...] = (0.0,)
    transform: TransformName = "none"
    offset: tuple[float, ...] = (0.0,)
    clip_low: tuple[float | None, ...] = (None,)
    clip_high: tuple[float | None, ...] = (None,)
    covariates: int = 0
    data_fill: float | None = None

    def __post_init__(self) -> None:
        """Checks the range."""
        has_range = any(low < high for low, high in zip(self.low, self.high, strict=True))
        for low, high in zip(self.low, self.high, strict=True):
            if not (has_range and np.isfinite(low) and np.isfinite(high) and low <= high):
                raise InputError(
                    f"the value range is {low:g} to {high:g}: a network cannot learn from constant data; check the data, or "
                    "declare a range with data.value_low and data.value_high"
                )
        if self.transform != "none":
            if min(self.low) < 0:
                raise InputError(
                    f"the values go from {min(self.low):g} to {max(self.high):g}; data.transform={self.transform} expects "
                    "values of at least 0; set data.transform=none"
                )
            _, span = self.low_and_span(np.float64)
            if not span.any():
                raise InputError(
                    f"the values go from {min(self.low):g} to {max(self.high):g}; data.transform={self.transform} expects "
                    "larger values, of which it makes different ones; set data.transform=none, or check the units"
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
        """Returns the fields as plain data, for a checkpoint.

        Fields that 0.1 does not have are left out if they have their default, so that 0.1 reads the result.
        """
        later = ("transform", "offset", "clip_low", "clip_high", "covariates", "data_fill")
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.name in later}
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in defaults or value != defaults[key]}

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

    def with_floats(self) -> Scaling:
        """Returns the scaling of the same values as floats, of which NaN marks the missing ones."""
        if np.dtype(self.dtype).kind == "f":
            return dataclasses.replace(self, missing=True)
        return dataclasses.replace(self, dtype="float32", fill=None, data_fill=self.fill_in_data, missing=True)

    @property
    def fill_in_data(self) -> float | None:
        """The integer that marks a missing value in the data, whatever type is stored."""
        return self.data_fill if self.fill is None else self.fill

    @property
    def _is_bytes(self) -> bool:
        return (self.low, self.high, self.transform) == ((0.0,), (255.0,), "none")

    @property
    def untransformed(self) -> Scaling:
        """The scaling from stored values to the metrics' range."""
        if self.transform == "none":
            return self

        def to_metrics(own: Scaling, filling: np.ndarray) -> np.ndarray:
            return np.asarray(own.to_metrics(own.from_network(filling, np.float64)))

        filling = self._of_data(np.asarray(self.filling), to_metrics)
        return dataclasses.replace(self, transform="none", offset=(0.0,), filling=tuple(filling.tolist()))

    def to_network(self, frames: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Scales stored frames on the device and fills missing values.

        Args:
          frames: `[..., c]` in the stored dtype.

        Returns:
          float32 `[..., c]` in the network's range, and a bool mask of the same shape, False where values are missing. The
          mask is None if no value can be missing.
        """
        values = self._of_data(frames, Scaling._scaled_on_device)
        if not self.missing:
            return values, None
        if self.fill is not None:
            valid = frames != jnp.asarray(self.fill, frames.dtype)
        else:  # transforms make a finite value of -inf
            valid = jnp.isfinite(values if self.transform == "none" else frames)
        return jnp.where(valid, values, jnp.asarray(self.filling, jnp.float32)), valid

    def _scaled_on_device(self, frames: jax.Array) -> jax.Array:
        if self.dtype in ("uint8", "int16") and self._is_bytes:  # int16 as of `with_mark`
            return to_unit_range(frames)
        return self._scaled(frames, np.float32)

    def _of_data(self, values: Any, function: Callable[[Scaling, Any], Any]) -> Any:
        """Applies a function to the channels of the data, with their scaling, and keeps the covariates `[..., c]`."""
        if not self.covariates:
            return function(self, values)
        count = values.shape[-1] - self.covariates
        data = function(self.for_channels(count), values[..., :count])
        return data.__array_namespace__().concatenate([data, values[..., count:].astype(data.dtype)], axis=-1)

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
        fields = ("low", "high", "filling", "offset", "clip_low", "clip_high")
        chosen: dict[str, Any] = {name: getattr(self, name)[:channels] for name in fields if len(getattr(self, name)) > 1}
        if self.covariates:
            chosen["covariates"] = max(0, channels - len(self.filling) + self.covariates)
        return dataclasses.replace(self, **chosen)

    def to_network_on_host(self, frames: np.ndarray) -> np.ndarray:
        """Scales frames in NumPy, with the same results as `to_network`; missing values are not filled.

        Args:
          frames: `[..., c]` of any real dtype.

        Returns:
          float32 `[..., c]` in the network's range.
        """
        if self._is_bytes and frames.dtype.kind in "iu":
            return frames.astype(np.float32) / np.float32(255)
        return np.asarray(self._scaled(frames, np.float64 if is_wide(frames.dtype) else np.float32), np.float32)

    def to_network_float64(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Scales stored frames in NumPy and float64; missing values keep their marks.

        Args:
          frames: `[..., c]` in the stored dtype.

        Returns:
          float64 `[..., c]` in the network's range, and a mask as from `to_network`.
        """
        missing = is_missing(frames, self.fill) if self.missing else None
        values = self._of_data(frames, lambda own, data: own._scaled(data, np.float64))
        return values, None if missing is None else ~missing

    def from_network(self, values: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Scales the network's values back to the data's units.

        Args:
          values: `[..., c]` in the network's range.
          dtype: float32 or float64.

        Returns:
          `[..., c]` of `dtype`, in the data's units.
        """
        low, span = self.low_and_span(dtype)
        return restored(self.transform, np.asarray(values, dtype) * span + low, np.asarray(self.offset))

    def output(self, prediction: Any) -> Any:
        """Turns the network's prediction into the output that metrics and pictures are made of.

        Channels that were constant get their constant, the transform is inverted, and values are clipped.

        Args:
          prediction: float `[..., c]` in the network's range, a NumPy or a JAX array.

        Returns:
          The output in the metrics' range.
        """
        scaling = self.for_channels(prediction.shape[-1])
        prediction = scaling.with_constants(prediction)
        if scaling.transform != "none":
            low, span = scaling.low_and_span(prediction.dtype)
            values = restored(scaling.transform, prediction * span + low, np.asarray(scaling.offset))
            prediction = scaling.to_metrics(values)
        return scaling.clipped(prediction)

    def output_in_units(self, prediction: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Turns the network's prediction into the output in the data's units, as `output` does in the metrics' range.

        Args:
          prediction: float `[..., c]` in the network's range.
          dtype: float32 or float64.

        Returns:
          `[..., c]` of `dtype`.
        """
        scaling = self.for_channels(prediction.shape[-1])
        values = scaling.from_network(scaling.with_constants(prediction), dtype)
        lowest, highest = scaling.clip_ends
        return np.minimum(np.maximum(values, lowest.astype(dtype)), highest.astype(dtype)) if scaling._clips else values

    def clipped(self, values: Any) -> Any:
        """Clips values to the bounds of the output.

        Args:
          values: float `[..., c]` in the metrics' range, a NumPy or a JAX array.

        Returns:
          The clipped values.
        """
        if not self._clips:
            return values
        scaling, xp = self.for_channels(values.shape[-1]), np if isinstance(values, np.ndarray) else jnp
        lowest, highest = (scaling.to_metrics(ends).astype(values.dtype) for ends in scaling.clip_ends)
        return xp.minimum(xp.maximum(values, lowest), highest)

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

    @property
    def _clips(self) -> bool:
        return any(end is not None for end in (*self.clip_low, *self.clip_high))

    @property
    def clip_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of the output in the data's units, infinite where an output has no bound."""
        lowest = np.array([-np.inf if end is None else end for end in self.clip_low])
        return lowest, np.array([np.inf if end is None else end for end in self.clip_high])

    def _scaled(self, values: Any, dtype: np.dtype | type) -> Any:
        """Scales values in the data's units, NumPy or JAX, to the network's range in float32 or float64."""
        low, span = self.low_and_span(dtype)
        return (self._transformed(values.astype(dtype)) - low) / np.where(span > 0, span, span.dtype.type(1))

    def _transformed(self, values: Any) -> Any:
        """Transforms values in the data's units, NumPy or JAX."""
        if self.transform == "none":
            return values
        return transformed(self.transform, values, np.asarray(self.offset), self.floor)

    def to_metrics(self, values: Any) -> Any:
        """Scales values in the data's units, NumPy or JAX, to the metrics' range."""
        low, high = (np.asarray(ends, np.float64) for ends in (self.low, self.high))
        divisor = np.where(high > low, high - low, 1.0)
        return (values - low.astype(values.dtype)) / divisor.astype(values.dtype)

    @property
    def floor(self) -> np.ndarray:
        """The least value that the transform takes: 0, or `low` for `log` without an offset."""
        offset, low = np.asarray(self.offset), np.asarray(self.low)
        return np.where((self.transform != "log") | (offset > 0), 0.0, low)

    def low_and_span(self, dtype: np.dtype | type) -> tuple[np.ndarray, np.ndarray]:
        """Returns the transformed `low`, and the transformed `high` minus it, of type `dtype`."""
        low, high = (self._transformed(np.asarray(values, np.float64)) for values in (self.low, self.high))
        return low.astype(dtype), (high - low).astype(dtype)


def is_wide(dtype: np.dtype) -> bool:
    """Returns whether float32 cannot hold every value of a dtype, such as small differences far from 0."""
    return dtype.itemsize > 4 or (dtype.kind in "iu" and dtype.itemsize == 4)
