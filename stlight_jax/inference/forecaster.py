"""From anybody's frames to the frames that follow, in the same units."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats.value_conversion import can_hold, to_dtype
from stlight_jax.data.scaling import Scaling, is_wide
from stlight_jax.errors import InputError
from stlight_jax.inference import trained
from stlight_jax.inference.programs import Programs
from stlight_jax.inference.tiled import TiledPass
from stlight_jax.inference.trained import TrainedModel
from stlight_jax.model.rollout import check_horizon
from stlight_jax.model.stlight import STLightConfig

ROLLOUTS = ("blocks", "frames")
_FAR = 0.5  # of the trained range; values further outside are told
_SCALED_ALREADY = 0.02  # of the trained range; values that fill less of it look as if they were in other units


class Forecaster:
    """Predicts future frames from frames in their own units.

    Values that are missing (NaN, masked, or in integers the training data's fill value) are shown to the network as in
    training; a pixel that is missing in all frames the network sees is missing in its predictions again.

    Args:
      model: what predicts, see `load`.
      rollout: beyond T' frames predictions are fed back, in "blocks" of T' frames, or in single "frames": the first one of each
        pass, T' times the work.
      tile: side of the tiles that frames are cut into, in pixels; None cuts only what `memory` does not hold.
      overlap: of neighbouring tiles, in pixels; see `stlight_jax.inference.tiles`. None: twice the receptive radius, where the
        predictions are those of whole frames, but at most half a tile; then seams are blended, and that is said.
      memory: bytes that a pass may take, about.
      value_range: the (lowest, highest) value of these frames' units that mean what the lowest and highest of the trained range
        mean; None if the units are those trained on. In other units the training data's fill value stands for nothing.
      device: JAX's default one if None.

    Attributes:
      model: the network's `STLightConfig`.
      scaling: from the units of frames to the network's range.
      description: what its checkpoint says, see `TrainedModel`.
      source: where it was loaded from, for people.
    """

    def __init__(
        self,
        model: TrainedModel,
        *,
        rollout: str = "blocks",
        tile: int | None = None,
        overlap: int | None = None,
        memory: int = 2 * 2**30,
        value_range: tuple[float, float] | None = None,
        device: jax.Device | None = None,
    ):
        if rollout not in ROLLOUTS:
            raise InputError(f"rollout is {rollout!r}; choose one of {', '.join(ROLLOUTS)}")
        if device is not None and not isinstance(device, jax.Device):
            raise InputError(f"device is {device!r}; expected one of jax.devices(), such as {jax.local_devices()[0]!r}")
        self.model: STLightConfig = model.config
        self.scaling: Scaling = model.scaling if value_range is None else _in_units(model.scaling, value_range)
        self.description = model.description
        self.source, self._rollout = model.source, rollout
        self._programs = Programs(model, device or jax.local_devices()[0])
        self._pass = TiledPass(self._programs, self.model, tile, overlap, memory)
        self._said: set[str] = set()

    @classmethod
    def load(
        cls,
        path: epath.PathLike,
        *,
        checkpoint: str = "best",
        compute_dtype: str | None = None,
        use_program: bool = True,
        **settings: Any,
    ) -> Forecaster:
        """Loads a trained network.

        Args:
          path: a workdir, the folder of one of its checkpoints, a `.stlight` file, or the name of a shipped network.
          checkpoint: of a workdir: "best" (lowest validation MSE), "last" or a step.
          compute_dtype: of activations, "float32", "bfloat16" or, with JAX's `jax_enable_x64`, "float64"; None as it was
            trained, or exported.
          use_program: run a file's exported program; False runs its weights by this package's own code.
          settings: as for `Forecaster`.

        Raises:
          InputError: nothing is there, it is damaged, of another version, or expired.
        """
        model = trained.load(path, checkpoint)
        if not use_program:
            model = trained.without_program(model)
        if compute_dtype not in (None, model.config.dtype):
            if model.program is not None:
                raise InputError(
                    f"{path} was exported with dtype {model.config.dtype}; export it with --dtype={compute_dtype}, or give "
                    "use_program=False"
                )
            model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype=compute_dtype))
        return cls(model, **settings)

    @property
    def compilations(self) -> int:
        """How many programs have been compiled."""
        return len(self._programs)

    def __repr__(self) -> str:
        model, scaling = self.model, self.scaling
        return (
            f"Forecaster({self.source!r}: {model.in_frames} -> {model.out_frames} frames, {model.in_channels} -> "
            f"{model.out_channels} channel(s), {min(scaling.low):g} to {max(scaling.high):g})"
        )

    def __call__(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        dtype: str | np.dtype | type | None = None,
        ready: Callable[[int], None] | None = None,
    ) -> np.ndarray | np.ma.MaskedArray:
        """Predicts the frames that follow.

        Args:
          frames: `[t, h, w]`, `[t, h, w, c]` or `[b, t, h, w, c]`, numbers of any type in the data's own units; a masked array,
            in floats NaN (or infinite values), and in integers the data's fill value say what is missing. Of more than T frames
            the last T are used.
          horizon: how many frames to predict; T' if None.
          dtype: of the result; that of `frames` if None (float32 for booleans). Integers are rounded, and cut off at what
            their type holds.
          ready: told after each pass how many frames are predicted by then.

        Returns:
          `[horizon, h, w]` where frames have no channels axis and c' is 1, `[horizon, h, w, c']` or `[b, horizon, h, w, c']`.
          Missing values are NaN in floats and the data's fill value in integers; a masked array for a masked array, or where
          integers have no fill value.

        Raises:
          InputError: too few frames, another number of channels, nothing but missing values, predictions that are not finite.
        """
        given = self._understood(frames)
        horizon = self._horizon(horizon)
        dtype = given.dtype if dtype is None else _number_type(dtype)
        filling = np.asarray(self._inputs_scaling.filling, np.float32)
        seen = given.values if given.here is None else np.where(given.here, given.values, filling)
        lost = None if given.here is None else ~given.here.any(axis=1, keepdims=True)  # [b, 1, h, w, c]
        blocks: list[np.ndarray] = []
        count = 0
        while count < horizon:
            block = self._pass(seen)
            if self._rollout == "frames" and horizon > self.model.out_frames:
                block = block[:, :1]
            self._check_finite(block, count)
            blocks.append(block)
            count += block.shape[1]
            if ready is not None:
                ready(min(count, horizon))
            if count < horizon:
                fed = block if lost is None else np.where(lost, filling, block)
                seen = np.concatenate([seen, fed], axis=1)[:, -self.model.in_frames :]
        prediction = np.concatenate(blocks, axis=1)[:, :horizon]
        return self._in_own_units(prediction, given, dtype)

    def warmup(self, shape: tuple[int, ...], horizon: int | None = None) -> None:
        """Compiles what frames of this shape will need, before they come. Args and errors as for a call."""
        if not isinstance(shape, tuple | list) or not all(isinstance(side, int | np.integer) and side >= 0 for side in shape):
            raise InputError(f"shape is {shape!r}; expected that of frames, such as (10, 64, 64)")
        batch, height, width = self._check_shape(tuple(shape))
        self._horizon(horizon)
        for tiled in self._pass.shapes(batch, height, width):
            self._programs.compiled(tiled)

    @property
    def _inputs_scaling(self) -> Scaling:
        return self.scaling.for_channels(self.model.in_channels)

    def _horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.model.out_frames
        if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
            raise InputError(f"horizon is {horizon!r}; it must be a whole number, at least 1")
        check_horizon("horizon", int(horizon), self.model)
        return int(horizon)

    def _check_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """-> batch, height, width."""
        model = self.model
        if len(shape) not in (3, 4, 5):
            raise InputError(f"frames have shape {list(shape)}; expected [t, h, w], [t, h, w, c] or [b, t, h, w, c]")
        if 0 in shape:
            raise InputError(f"frames have shape {list(shape)}: there is nothing in them")
        full = (1, *shape, 1) if len(shape) == 3 else (1, *shape) if len(shape) == 4 else shape
        if full[4] != model.in_channels:
            # [b, t, h, w] looks like [t, h, w, c] with as many channels as there are columns.
            batch = len(shape) == 4 and full[4] > 4
            hint = "; a batch without channels needs a last axis of 1: frames[..., None]" if batch else ""
            if len(shape) == 3:
                hint = " (without an axis of channels there is one)"
            raise InputError(
                f"frames have shape {list(shape)}, {full[4]} channel(s); {self.source} takes {model.in_channels}{hint}"
            )
        if full[1] < model.in_frames:
            raise InputError(
                f"frames have shape {list(shape)}: {full[1]} frame(s); {self.source} needs {model.in_frames} to predict"
            )
        return full[0], full[2], full[3]

    def _understood(self, frames: Any) -> _Given:
        masked = isinstance(frames, np.ma.MaskedArray)
        array = frames if masked else np.asarray(frames)
        if array.dtype.kind not in "biuf":
            raise InputError(f"frames are {array.dtype}; expected integers, floats or booleans")
        batch, height, width = self._check_shape(array.shape)
        model, scaling = self.model, self._inputs_scaling
        rank = array.ndim
        array = array.reshape(batch, -1, height, width, model.in_channels)
        if array.shape[1] > model.in_frames:
            self._say_once(f"{array.shape[1]} frames are given; the last {model.in_frames} are used")
            array = array[:, -model.in_frames :]
        mask = np.ma.getmaskarray(array) if masked else None
        data = np.ma.getdata(array) if masked else array
        dtype = np.dtype(np.float32) if data.dtype.kind == "b" else data.dtype
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite to the network
            missing = ~np.isfinite(data.astype(np.float32, copy=False)) if data.dtype.kind == "f" else np.zeros((), bool)
        if scaling.fill is not None and data.dtype.kind in "iu":
            missing = missing | (data == scaling.fill)
        missing = missing if mask is None else missing | mask
        here = np.broadcast_to(~missing, data.shape) if missing.any() else None
        if here is not None and not here.any(axis=(1, 2, 3, 4)).all():
            which = int(np.argmin(here.any(axis=(1, 2, 3, 4))))
            where = f"sequence {which} of the frames" if batch > 1 else "the frames"
            raise InputError(f"{where}: all values are missing or not finite; there is nothing to predict from")
        self._check_range(data, here, scaling)
        with np.errstate(over="ignore", invalid="ignore"):  # where values are missing
            values = scaling.to_network_on_host(data).astype(self._programs.dtype)
        return _Given(values, here, rank, dtype, masked)

    def _check_range(self, data: np.ndarray, here: np.ndarray | None, scaling: Scaling) -> None:
        """Tells values that the network cannot know what to do with, once."""
        low, high = min(scaling.low), max(scaling.high)
        shown = data if here is None else data[here]
        lowest, highest = float(shown.min()), float(shown.max())
        told = f"the frames' values are {lowest:g} to {highest:g}; {self.source} was trained on {low:g} to {high:g}"
        span = high - low
        if lowest < low - _FAR * span or highest > high + _FAR * span:
            self._warn_once("far", f"{told}: far outside, the prediction may be meaningless; are the units the same?")
        elif lowest >= 0 and 0 < highest <= 1 and span * _SCALED_ALREADY >= 1:
            self._warn_once(
                "scaled", f"{told}: they look as if they were scaled already; if they are, say so with the value range 0, 1"
            )

    def _say_once(self, message: str) -> None:
        if "given" not in self._said:
            self._said.add("given")
            print_message(message)

    def _warn_once(self, key: str, message: str) -> None:
        if key not in self._said:
            self._said.add(key)
            logging.warning("%s", message)

    def _check_finite(self, block: np.ndarray, before: int) -> None:
        """Args: block: predictions `[b, t, h, w, c]`; before: how many frames came before them."""
        finite = np.isfinite(block).all(axis=(0, 2, 3, 4))
        if not finite.all():
            first = before + int(finite.argmin()) + 1
            raise InputError(
                f"{self.source} predicts values that are not finite, first in frame {first}; choose another checkpoint"
                + (f", or a horizon below {first}" if first > 1 else "")
            )

    def _in_own_units(self, prediction: np.ndarray, given: _Given, dtype: np.dtype) -> np.ndarray | np.ma.MaskedArray:
        channels = self.model.out_channels
        values = self.scaling.for_channels(channels).from_network(prediction, np.float64 if is_wide(dtype) else np.float32)
        gone = self._lost_again(given, values.shape)
        fill = self.scaling.fill
        marked = dtype.kind == "f" or (fill is not None and can_hold(dtype, fill))
        if gone is not None:
            values = np.where(gone, np.nan if marked else 0, values)
        values = to_dtype(values, dtype, fill if dtype.kind != "f" and marked else None)
        shape = values.shape[1:-1] if given.rank == 3 and channels == 1 else values.shape[given.rank < 5 :]
        if given.masked or (gone is not None and not marked):
            return np.ma.MaskedArray(values.reshape(shape), False if gone is None else gone.reshape(shape))
        return values.reshape(shape)

    def _lost_again(self, given: _Given, shape: tuple[int, ...]) -> np.ndarray | None:
        """Where predictions `[b, t', h, w, c']` are missing: where nothing was seen."""
        if given.here is None:
            return None
        lost = ~given.here.any(axis=1, keepdims=True)  # [b, 1, h, w, c]
        lost = lost[..., : shape[-1]] if shape[-1] <= lost.shape[-1] else lost.all(-1, keepdims=True)
        return np.broadcast_to(lost, shape) if lost.any() else None


@dataclasses.dataclass(frozen=True)
class _Given:
    """Frames as they were given.

    Attributes:
      values: float `[b, T, h, w, c]` in the network's range, anything where they are missing.
      here: bool like them; None if nothing is missing.
      rank: number of axes that they had.
      dtype: that predictions get.
      masked: whether they were a masked array.
    """

    values: np.ndarray
    here: np.ndarray | None
    rank: int
    dtype: np.dtype
    masked: bool


def _in_units(scaling: Scaling, value_range: tuple[float, float]) -> Scaling:
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        raise InputError(f"value_range is {value_range!r}; expected two numbers, such as (0, 1)") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"value_range is {low:g}, {high:g}; expected two numbers, the first one less than the second")
    return dataclasses.replace(scaling, low=(low,), high=(high,), fill=None)


def _number_type(dtype: str | np.dtype | type) -> np.dtype:
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise InputError(f"dtype is {dtype!r}; expected integers or floats, such as 'float32'") from None
    if found.kind not in "iuf":
        raise InputError(f"dtype is {found}; expected integers or floats, such as 'float32'")
    return found
