"""Predicts the frames that follow given frames, in the same units."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from stlight_jax.data.covariates import Covariates
from stlight_jax.data.formats.value_conversion import can_hold, to_dtype
from stlight_jax.data.scaling import Scaling, is_wide
from stlight_jax.errors import InputError
from stlight_jax.inference.covariate_input import covariate_frames
from stlight_jax.inference.frame_input import FrameInput, check_shape
from stlight_jax.inference.frame_remarks import FrameRemarks
from stlight_jax.inference.other_units import in_other_units
from stlight_jax.inference.shipped_networks import ONNX_SUFFIX
from stlight_jax.inference.tiles import TiledPass
from stlight_jax.inference.trained_model import OnnxProgram, TrainedModel
from stlight_jax.model.context import ContextPlan, HistoryFrame, SeenFrames, check_horizon, plan_context
from stlight_jax.model.stlight_config import STLightConfig

if TYPE_CHECKING:
    import jax

    from stlight_jax.inference.onnx_file import OnnxSession
    from stlight_jax.inference.predictor import Programs

ROLLOUTS = ("blocks", "frames")


class Forecaster:
    """Predicts future frames from frames in their own units.

    Missing values (NaN, masked, or in integers the training data's fill value) are shown to the network as in training. A pixel
    that is missing in all frames that the network sees is missing in its predictions again.

    Args:
      model: The trained network, see `load`.
      rollout: How horizons beyond T' are reached: predictions are fed back in "blocks" of T' frames, or in single "frames", the
        first one of each pass, which takes T' times the work.
      tile: Side in pixels of the tiles that frames are cut into; 0 cuts only frames that do not fit into `memory`. None: the
        side of the training's crops if the receptive field exceeds it, see `stlight_jax.model.tiling.crop_tile`, else 0.
      overlap: Pixels that neighbouring tiles share, see `stlight_jax.model.tiling`. None: twice the receptive radius, where
        predictions equal those of whole frames, but at most half a tile; then seams are blended and a message is printed.
      memory: Bytes that one pass may take, approximately.
      value_range: The (lowest, highest) value, in the units of these frames, that correspond to the lowest and highest of the
        trained range, of each channel that has a range of its own; None if the units are those of the training data. Channels
        that were constant in training keep their constant. In other units, no fill value marks missing values.
      device: JAX's default device if None. ONNX Runtime runs on the CPU.

    Attributes:
      model: The network's `STLightConfig`.
      channels: Number of channels of the frames of a call: all that the network sees but the covariates.
      covariates: Makes the other channels that the network sees; None if there are none.
      scaling: From the units of frames to the network's range.
      description: The description of its checkpoint, see `TrainedModel`.
      source: Where it was loaded from, for messages.

    Raises:
      InputError: An argument is impossible.
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
        self.model: STLightConfig = model.config
        self.scaling: Scaling = model.data_scaling if value_range is None else in_other_units(model.data_scaling, value_range)
        self.description = model.description
        self.source, self._rollout = model.source, rollout
        self._programs = _programs(model, device)
        crop = model.description.get("config", {}).get("data", {}).get("crop", 0)
        self._pass = TiledPass(self._programs, self.model, tile, overlap, memory, crop)
        stored = model.description.get("covariates")
        self.covariates: Covariates | None = None if stored is None else Covariates.from_json(stored)
        # Frames are given with the channels of the data alone.
        self.channels = self.model.in_channels - model.scaling.covariates
        self._data_model = dataclasses.replace(self.model, in_channels=self.channels)
        self._input_scaling = self.scaling.for_channels(self.channels)
        self._remarks = FrameRemarks(self.source, self.model, self.scaling, self.channels)

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
          path: A workdir, the folder of one of its checkpoints, a `.stlight` file, an ONNX file of `export`, which ONNX Runtime
            runs without JAX, or the name of a shipped network ("moving_mnist", "tiny").
          checkpoint: Checkpoint of a workdir: "best" (lowest validation MSE; see `train.least_gain`), "last" or a step.
          compute_dtype: Type of activations, "float32", "bfloat16" or, with JAX's `jax_enable_x64`, "float64"; None for the
            type of the training, or of the export.
          use_program: Whether to run a file's exported program; False runs its weights by this package's network.
          **settings: Arguments of `Forecaster`.

        Raises:
          InputError: The network does not exist, is damaged, expired, or was written by an unknown version.
        """
        if str(path).endswith(ONNX_SUFFIX):
            from stlight_jax.inference import onnx_file

            return cls(onnx_file.load(path, checkpoint, compute_dtype, use_program), **settings)
        from stlight_jax.inference import trained

        model = trained.load(path, checkpoint)
        if not use_program:
            model = model.without_program()
        if compute_dtype not in (None, model.config.dtype):
            if model.program is not None:
                raise InputError(
                    f"{path} was exported with dtype {model.config.dtype}; export it with --dtype={compute_dtype}, or give "
                    "use_program=False"
                )
            config: Any = model.config
            model = dataclasses.replace(model, config=dataclasses.replace(config, dtype=compute_dtype))
        return cls(model, **settings)

    @property
    def compilations(self) -> int:
        """Number of programs that have been compiled."""
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
        survey: bool = True,
        history_first: bool = False,
        times: Any = None,
    ) -> np.ndarray | np.ma.MaskedArray:
        """Predicts the frames that follow.

        Args:
          frames: `[t, h, w]`, `[t, h, w, c]` or `[b, t, h, w, c]`, numbers of any type in the data's own units. Missing values
            are masked, NaN or infinite in floats, or the data's fill value in integers. Of more frames than the network needs
            (see `frames_needed`) the last ones are used. If they are at least T but fewer than it needs, earlier frames
            are missing.
          horizon: Number of frames to predict; T' if None.
          dtype: Type of the result; that of `frames` if None (float32 for booleans). Integers are rounded, and clipped to the
            range of their type.
          ready: Called after each pass with the number of frames predicted so far.
          survey: Whether to warn of numbers that seem to mean "missing" and of predictions far outside the trained range;
            False for a caller that does so itself.
          history_first: Whether `frames` are the frames of `history` followed by the T input frames; False for frames at equal
            steps.
          times: Moments of the frames, `[t]` or `[b, t]`, datetime64 or text, for a network with `data.clock`; beyond T', the
            step between the last two leads to the predicted frames, unless their moments follow.

        Returns:
          `[horizon, h, w]` if frames have no axis of channels and c' is 1, `[horizon, h, w, c']` or `[b, horizon, h, w, c']`.
          Missing values are NaN in floats and the data's fill value in integers. The result is a masked array if `frames` are
          one, or if integers without a fill value have missing values.

        Raises:
          InputError: Frames are too few, have another number of channels or only missing values, or predictions are not finite.
        """
        horizon = self._checked_horizon(horizon)
        network = self._data_model, self._input_scaling, self._source_of_frames, self._programs.dtype
        history = self.history(horizon)
        given = FrameInput.from_array(frames, *network, history, history_first)
        covariates = None
        if self.covariates is not None:
            listed = None if history_first else history
            covariates = covariate_frames(self.covariates, times, given, self._data_model, listed, horizon)
        result_dtype = given.dtype if dtype is None else _checked_dtype(dtype)
        if not history_first:
            earliest = min((time for frame in history for time in frame.times), default=0)
            self._remarks.on_count(given, self.frames_needed(horizon), self._frames_since(earliest))
        # Suspicious input is the cause of suspicious output.
        warn_of_output = survey and not self._remarks.on_values(given, frames)
        return self._to_units(self._predict(given, covariates, horizon, ready), given, result_dtype, warn_of_output)

    def history(self, horizon: int | None = None) -> tuple[HistoryFrame, ...]:
        """Returns the frames that a network with periods sees beside its T input frames.

        Args:
          horizon: Number of frames to predict; T' if None.

        Returns:
          Their times, in sampling steps since the last input frame, ascending, at most 0; for means, also the steps between
          their frames. Empty without `data.periods`.
        """
        return self._plan(self._checked_horizon(horizon)).history

    def frames_needed(self, horizon: int | None = None) -> int:
        """Returns the number of frames for a call, `frame_step` apart, with which no earlier frame is missing.

        Means of earlier frames also use the frames before these.

        Args:
          horizon: Number of frames to predict; T' if None.
        """
        return self._frames_since(min((frame.time for frame in self.history(horizon)), default=0))

    def _frames_since(self, time: int) -> int:
        """Returns the number of frames from a time to the last input frame, at least T."""
        return max(self.model.in_frames, 1 - time // self.model.frame_step)

    def warmup(self, shape: tuple[int, ...], horizon: int | None = None) -> None:
        """Compiles the programs for frames of a shape in advance.

        Args:
          shape: Shape of the frames, as for a call.
          horizon: Number of frames to predict; T' if None.

        Raises:
          InputError: The shape or the horizon does not fit the network.
        """
        if not isinstance(shape, tuple | list) or not all(isinstance(side, int | np.integer) and side >= 0 for side in shape):
            raise InputError(f"shape is {shape!r}; expected a shape of frames, such as (10, 64, 64)")
        batch, height, width = check_shape(tuple(shape), self._data_model, self._source_of_frames)
        self._checked_horizon(horizon)
        for tiled in self._pass.shapes(batch, height, width):
            self._programs.compile(tiled)

    def _plan(self, horizon: int) -> ContextPlan:
        """Returns the passes of a forecast."""
        single = self._rollout == "frames" and horizon > self.model.out_frames
        return plan_context(self.model, horizon, 1 if single else self.model.out_frames)

    @property
    def _source_of_frames(self) -> str:
        """The name of the network for messages about frames, with the channels that they lack."""
        if self.covariates is None:
            return self.source
        return f"{self.source}, which makes {', '.join(self.covariates.names)} itself (data.clock, data.static),"

    def _predict(
        self, given: FrameInput, covariates: np.ndarray | None, horizon: int, ready: Callable[[int], None] | None
    ) -> np.ndarray:
        """Returns `[b, horizon, h, w, c']` in the network's range; `covariates` as from `covariate_frames`."""
        lost = given.lost
        plan = self._plan(horizon)
        known = given.values if given.valid is None else np.where(given.valid, given.values, given.values.dtype.type(np.nan))
        first = known.shape[1]  # predicted frame

        def with_covariates(frames: np.ndarray, number: int) -> np.ndarray:
            if covariates is None:
                return frames
            return np.concatenate([frames, covariates[:, number : number + frames.shape[1]]], axis=-1, dtype=known.dtype)

        seen = SeenFrames(plan, with_covariates(known, 0))
        blocks: list[np.ndarray] = []
        count = 0
        for number in range(len(plan.passes)):
            block = self.scaling.with_constants(self._pass(seen.of_pass(number)))
            if len(plan.passes) == horizon:
                block = block[:, :1]
            self._check_finite(block, count)
            blocks.append(block)
            count += block.shape[1]
            if ready is not None:
                ready(min(count, horizon))
            if count < horizon:
                shown = block if lost is None else np.where(lost, block.dtype.type(np.nan), block)
                seen.append(with_covariates(shown, first + count - block.shape[1]))
        return np.concatenate(blocks, axis=1)[:, :horizon]

    def _to_units(
        self, prediction: np.ndarray, given: FrameInput, dtype: np.dtype, warn_of_output: bool
    ) -> np.ndarray | np.ma.MaskedArray:
        """Converts predictions to the data's units and type, and marks missing values."""
        channels, fill = self.model.out_channels, self.scaling.fill
        values = self.scaling.output_in_units(prediction, np.float64 if is_wide(dtype) else np.float32)
        if self.scaling.transform != "none":
            self._check_finite(values, 0)  # the inverse of a logarithm can overflow
        missing = _missing_again(given, values.shape)
        if warn_of_output:
            self._remarks.on_output(values if missing is None else np.where(missing, np.nan, values))
        has_mark = dtype.kind == "f" or (fill is not None and can_hold(dtype, fill))
        if missing is not None:
            values = np.where(missing, np.nan if has_mark else 0, values)
        values = to_dtype(values, dtype, fill if dtype.kind != "f" and has_mark else None)
        shape = values.shape[1:-1] if given.rank == 3 and channels == 1 else values.shape[given.rank < 5 :]
        if given.masked or (missing is not None and not has_mark):
            return np.ma.MaskedArray(values.reshape(shape), False if missing is None else missing.reshape(shape))
        return values.reshape(shape)

    def _checked_horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.model.out_frames
        if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
            raise InputError(f"horizon is {horizon!r}; it must be a whole number, at least 1")
        check_horizon("horizon", int(horizon), self._data_model)
        return int(horizon)

    def _check_finite(self, block: np.ndarray, before: int) -> None:
        """Checks predictions `[b, t, h, w, c]`, which follow `before` predicted frames."""
        finite = np.isfinite(block).all(axis=(0, 2, 3, 4))
        if not finite.all():
            first = before + int(np.argmin(finite)) + 1
            raise InputError(
                f"{self.source} predicts values that are not finite, first in frame {first}; choose another checkpoint"
                + (f", or a horizon below {first}" if first > 1 else "")
            )


def _missing_again(given: FrameInput, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns where predictions `[b, t', h, w, c']` are missing, because no input value was valid; None: nowhere."""
    lost = given.lost
    if lost is None:
        return None
    lost = lost[..., : shape[-1]] if shape[-1] <= lost.shape[-1] else np.asarray(lost.all(-1, keepdims=True))
    return np.broadcast_to(lost, shape) if lost.any() else None


def _programs(model: TrainedModel, device: jax.Device | None) -> Programs | OnnxSession:
    """Makes what runs one pass of a network; of JAX and ONNX Runtime, only the one that is needed is imported."""
    if not isinstance(model.program, OnnxProgram):
        from stlight_jax.inference.predictor import Programs

        return Programs(model, device)
    from stlight_jax.inference.onnx_file import OnnxSession

    if device is not None and getattr(device, "platform", "") != "cpu":
        raise InputError(f"device is {device!r}; ONNX Runtime runs {model.source} on the CPU: leave device out")
    return OnnxSession(model.program, model.source)


def _checked_dtype(dtype: str | np.dtype | type) -> np.dtype:
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise InputError(f"dtype is {dtype!r}; expected integers or floats, such as 'float32'") from None
    if found.kind not in "iuf":
        raise InputError(f"dtype is {found}; expected integers or floats, such as 'float32'")
    return found
