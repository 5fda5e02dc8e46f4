"""Covariates: input channels beside the data's own that are known in advance, the time of day and a static field.

The network sees them after the channels of the data, and predicts none of them. Their values are in the network's range.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import zlib
from typing import Any

import numpy as np

from stlight_jax.data.statistics import with_nan
from stlight_jax.errors import InputError

MEAN = 0.5  # stands for a value that is missing
_DAY = 86_400_000_000  # microseconds
_MONDAY = 4 * _DAY  # 1970-01-05
_CYCLES = ("day", "week", "year")


def parse_clock(text: str) -> tuple[str, ...]:
    """Reads the key `data.clock`.

    Args:
      text: as a user writes it, such as "" or "day,week".

    Returns:
      The cycles.

    Raises:
      InputError: a cycle is unknown or repeated.
    """
    cycles = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    if not {*cycles} <= {*_CYCLES} or len({*cycles}) < len(cycles):
        raise InputError(f"data.clock is {text!r}; expected some of {', '.join(_CYCLES)}, such as day,week, or nothing")
    return cycles


@dataclasses.dataclass(frozen=True, eq=False)
class Covariates:
    """The covariates of a data set.

    Attributes:
      clock: cycles of the calendar. Each has two channels, (1 + sine) / 2 and (1 + cosine) / 2 of the phase of a frame's
        moment; the phase is 0 at midnight, at the midnight before Monday, or on 1 January.
      static: float32 `[h, w, n]` in [0, 1], the same in all frames; n can be 0.
      fill: number that marks missing values in the data's integers, which covariates turn into floats; None for none.
    """

    clock: tuple[str, ...] = ()
    static: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    fill: float | None = None

    @functools.cached_property
    def names(self) -> list[str]:
        """The names of the channels."""
        waves = [f"{wave} of the {cycle}" for cycle in self.clock for wave in ("sine", "cosine")]
        return waves + [f"static field {number + 1}" for number in range(self.static.shape[-1])]

    @property
    def digest(self) -> str:
        """A checksum; "" without covariates."""
        content = b"".join((repr((self.clock, self.static.shape)).encode(), self.static.tobytes()))
        return hashlib.sha256(content).hexdigest() if self.names else ""

    def at(self, moments: np.ndarray, height: int, width: int) -> np.ndarray:
        """Returns the covariates of frames.

        Args:
          moments: datetime64 `[...]`, of which only the shape counts without a clock; covariates at NaT are missing.
          height: of the frames.
          width: of the frames.

        Returns:
          float32 `[..., h, w, n]`, NaN where a value is missing.
        """
        shape = (*moments.shape, height, width)
        waves = [np.broadcast_to(wave[..., None, None], shape) for cycle in self.clock for wave in _waves(moments, cycle)]
        fields = [np.broadcast_to(field, shape) for field in np.moveaxis(self.static, -1, 0)]
        return np.stack([*waves, *fields], axis=-1, dtype=np.float32)

    def beside(self, frames: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Appends the covariates to frames.

        Args:
          frames: `[n, h, w, c]` as they are stored.
          moments: as for `at`, `[n]`.

        Returns:
          float32 `[n, h, w, c + covariates]`, NaN where values are missing.
        """
        own = self.at(moments, *frames.shape[1:3])
        return np.concatenate([with_nan(frames, self.fill), own], axis=-1, dtype=np.float32)

    def as_json(self) -> dict[str, Any]:
        """Returns the covariates as plain data, for a checkpoint."""
        return {
            "clock": list(self.clock),
            "shape": list(self.static.shape),
            "static": packed(self.static),
            "fill": self.fill,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Covariates:
        """Restores covariates from the dict that `as_json` returned."""
        static = unpacked(content["static"], np.dtype(np.float32)).reshape(content["shape"])
        return cls(tuple(content["clock"]), static, content["fill"])


def _waves(moments: np.ndarray, cycle: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns sine and cosine of the phase of moments in [0, 1], NaN at NaT."""
    moments = moments.astype("M8[us]")
    if cycle == "year":
        year = moments.astype("M8[Y]")
        first, following = year.astype("M8[us]"), (year + np.timedelta64(1, "Y")).astype("M8[us]")
        phase = (moments - first) / (following - first)
    else:
        length = _DAY if cycle == "day" else 7 * _DAY
        phase = np.where(np.isnat(moments), np.nan, (moments.astype(np.int64) - _MONDAY) % length / length)
    angle = 2 * np.pi * phase
    return (1 + np.sin(angle)) / 2, (1 + np.cos(angle)) / 2


def packed(array: np.ndarray) -> str:
    """Compresses the values of an array to text."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()


def unpacked(text: str, dtype: np.dtype) -> np.ndarray:
    """Returns the values that `packed` compressed, on one axis."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)
