"""From frames as they are stored to the range the network works in, and back; what is missing is marked and filled."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.statistics import is_missing
from stlight_jax.errors import InputError

# 1/255 = 257/65535 in two parts. An uint8 times the first is exact in float32, so only the sum of the two products rounds.
_FIRST = 257 / 65536
_REST = 257 / (65535 * 65536)


def to_unit_range(frames: jax.Array) -> jax.Array:
    """uint8 frames 0..255 -> float32 in [0, 1]. Runs on the device, so that a quarter of the bytes cross to it.

    The correctly rounded quotient by 255, as in NumPy and PyTorch. XLA turns a division by a constant into a product with its
    rounded inverse, which is another number for every second value.
    """
    frames = frames.astype(jnp.float32)
    return frames * _FIRST + frames * _REST


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How stored values become the network's: `low` is 0 and `high` is 1.

    Attributes:
      dtype: of stored values.
      low, high: one value for all channels, or one for each.
      missing: whether values may be missing. In floats, NaN are.
      fill: integers of this value are missing.
      filling: what the network is shown where values are missing, in its own range; one value, or one per channel.
    """

    dtype: str = "uint8"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    missing: bool = False
    fill: float | None = None
    filling: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        for low, high in zip(self.low, self.high, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise InputError(
                    f"the value range is {low:g} to {high:g}: there is nothing to learn from constant data; check the data, or "
                    "declare a range with data.value_low and data.value_high"
                )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Scaling:
        """From what `as_json` gave. Raises InputError for what another version gave."""
        unknown = sorted(content.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise InputError(
                f"its scaling has keys that are not known here ({', '.join(unknown)}); install a newer stlight_jax"
            )
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return dataclasses.asdict(self)

    def to_network(self, frames: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Stored frames `[..., c]` -> float32 frames, and bool of the same shape, False where values are missing.

        Where none can be missing the second is None.
        """
        if self.dtype == "uint8" and (self.low, self.high) == ((0.0,), (255.0,)):
            values = to_unit_range(frames)
        else:
            low, span = self._low_and_span(np.float32)
            values = (frames.astype(jnp.float32) - low) / span
        if not self.missing:
            return values, None
        here = jnp.isfinite(values) if self.fill is None else frames != jnp.asarray(self.fill, frames.dtype)
        return jnp.where(here, values, jnp.asarray(self.filling, jnp.float32)), here

    def for_channels(self, channels: int) -> Scaling:
        """Of the first so many channels."""
        return dataclasses.replace(
            self,
            **{key: getattr(self, key)[:channels] for key in ("low", "high", "filling") if len(getattr(self, key)) > 1},
        )

    def to_network_on_host(self, frames: np.ndarray) -> np.ndarray:
        """`[..., c]` numbers of any type -> float32 in the network's range, in NumPy; missing values are not looked for.

        The same numbers as from `to_network` for the types that data are stored in.
        """
        if (self.low, self.high) == ((0.0,), (255.0,)) and frames.dtype.kind in "iu":
            return frames.astype(np.float32) / np.float32(255)
        low, span = self._low_and_span(np.float64 if is_wide(frames.dtype) else np.float32)
        return ((frames.astype(low.dtype) - low) / span).astype(np.float32)

    def on_host(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """As `to_network`, in NumPy and float64; missing values stay as they are."""
        low, high = (np.asarray(values, np.float64) for values in (self.low, self.high))
        values = (frames - low) / (high - low)
        return values, ~is_missing(frames, self.fill) if self.missing else None

    def from_network(self, values: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """The network's values `[..., c]` -> the data's own units, in `dtype`: float32 or float64."""
        low, span = self._low_and_span(dtype)
        return np.asarray(values, dtype) * span + low

    @property
    def common_span(self) -> float | None:
        """The range's width in the data's units; None where channels differ in it."""
        spans = {high - low for low, high in zip(self.low, self.high, strict=True)}
        return spans.pop() if len(spans) == 1 else None

    def _low_and_span(self, dtype: np.dtype | type) -> tuple[np.ndarray, np.ndarray]:
        low, high = (np.asarray(values, np.float64) for values in (self.low, self.high))
        return low.astype(dtype), (high - low).astype(dtype)


def is_wide(dtype: np.dtype) -> bool:
    """Whether there are values of a type that float32 has not: far from 0, with small differences."""
    return dtype.itemsize > 4 or (dtype.kind in "iu" and dtype.itemsize == 4)
