"""The shape of an STLight network, and the shapes of the frames that fit it."""

import dataclasses
from typing import Self

from etils import epy

from stlight_jax.config.sections import ModelSection
from stlight_jax.errors import InputError

with epy.lazy_imports():  # an ONNX file is run without JAX
    import jax


FITTED_SHORTCUTS = ("linear", "flow_linear")  # start at a map that is fitted to the training data
MOVING_SHORTCUTS = ("flow", "flow_linear")  # move pixels along the motion between the input frames


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
      patch_size: p; frames are padded, by their last row and column, until it divides their sides.
      overlap: O; the encoder's kernel is `p * max(1, O)` wide. 0 and 1 are the same network.
      near_kernel: k1, side of the first depthwise kernel; odd.
      far_kernel: k2, side of the second, dilated depthwise kernel; odd.
      dilation: Dilation of the far kernel.
      shortcut: Path beside the network: "none", "last", "linear", "flow" or "flow_linear"; see
        `stlight_jax.model.shortcut`. ("auto" is replaced when a run starts.)
      shortcut_scales: Number of smoothed copies of its inputs that the map of "linear" and "flow_linear" also has.
      input: What the network sees: "frames"; "changes" from each frame to the last one, which only a network with a shortcut
        can predict from; or "frames_and_flow", also the flow's forecast, which the shortcuts "flow" and "flow_linear" have.
        Covariates stay as they are. (As for the shortcut, "auto" is replaced.)
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
      periods: Periods in sampling steps. For each, the network sees an earlier frame for every lead time, before the input
        frames; see `stlight_jax.model.context`. It is no key of the section `model`: data.periods has it.
      frame_step: Sampling steps from one input frame to the next, as data.frame_step has it.
      covariates: Number of the last input channels that data.clock and data.static make, beside the data's own.
      mean_periods: Further periods, for each of which the network sees means of earlier frames instead; from data.periods, too.

    Raises:
      InputError: A value is not permitted. The message names the key, its value and the permitted values.
    """

    periods: tuple[int, ...] = ()
    frame_step: int = 1
    covariates: int = 0
    mean_periods: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("periods", "mean_periods"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        steps = (*self.context_periods, self.frame_step)
        if any(isinstance(step, bool) or not isinstance(step, int) or step < 1 for step in steps):
            raise InputError(
                f"periods are {list(self.context_periods)} and frame_step is {self.frame_step}; expected whole numbers of at "
                "least 1"
            )
        self._check_shortcut()
        self._check_sizes()

    def _check_shortcut(self) -> None:
        """Checks the shortcut, and what the network sees beside it."""
        if self.shortcut == "auto":
            raise InputError("model.shortcut is auto, which training replaces; choose none, last, linear, flow or flow_linear")
        if self.input == "auto":
            raise InputError("model.input is auto, which training replaces; choose frames, changes or frames_and_flow")
        if self.input == "changes" and (self.shortcut == "none" or self.seen_frames == 1):
            raise InputError(
                f"model.input is changes, model.shortcut {self.shortcut} and model.in_frames {self.in_frames}; expected a "
                "shortcut, which sees the frames, and more than one frame; change these, or set model.input=frames"
            )
        if self.input == "frames_and_flow" and self.shortcut not in MOVING_SHORTCUTS:
            raise InputError(
                f"model.input is frames_and_flow and model.shortcut {self.shortcut}, which has no flow; set model.shortcut to "
                "flow or flow_linear, or model.input=frames"
            )
        if self.shortcut != "none" and self.out_channels > self.in_channels:
            raise InputError(
                f"model.shortcut is {self.shortcut} and model.out_channels {self.out_channels}, more than the "
                f"{self.in_channels} channels of the input frames; a shortcut continues input channels: set it to none"
            )

    def _check_sizes(self) -> None:
        """Checks the numbers of frames and channels, and the sides of patches and kernels."""
        least = dict.fromkeys(("in_frames", "out_frames", "in_channels", "out_channels", "hidden_dim", "patch_size"), 1)
        for key, lowest in {**least, "depth": 2, "shortcut_scales": 0}.items():
            if getattr(self, key) < lowest:
                raise InputError(f"model.{key} is {getattr(self, key)}; it must be at least {lowest}")
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
    def from_section(
        cls,
        section: ModelSection,
        channels: int | None = None,
        periods: tuple[int, ...] = (),
        frame_step: int = 1,
        covariates: bool = False,
        mean_periods: tuple[int, ...] = (),
    ) -> Self:
        """Makes the network's shape from a config.

        Args:
          section: The config's section `model`.
          channels: Channels of the data, for the keys that are 0 in the section; None if they are not known.
          periods: The periods of data.periods, in sampling steps.
          frame_step: The config's data.frame_step.
          covariates: Whether the channels that the network does not predict are covariates.
          mean_periods: The periods of data.periods of which the network sees means.

        Returns:
          The network's shape.

        Raises:
          InputError: A value is not permitted, or JAX does not offer the type of the activations.
        """
        values = dataclasses.asdict(section if channels is None else section.for_data(channels))
        further = max(0, values["in_channels"] - values["out_channels"]) if covariates else 0
        config = cls(**values, periods=periods, frame_step=frame_step, covariates=further, mean_periods=mean_periods)
        if config.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise InputError("model.dtype is float64, which JAX offers only with JAX_ENABLE_X64=1 in the environment")
        return config

    @property
    def context_periods(self) -> tuple[int, ...]:
        """The periods of the earlier frames that the network sees before its input, in their order."""
        return (*self.periods, *self.mean_periods)

    @property
    def periods_text(self) -> str:
        """The periods as data.periods has them."""
        return ",".join([*map(str, self.periods), *(f"mean:{period}" for period in self.mean_periods)])

    @property
    def context_frames(self) -> int:
        """Number of earlier frames that the network sees before its input: for each period, of the lead times 0 to T'."""
        return len(self.context_periods) * (self.out_frames + 1)

    @property
    def seen_frames(self) -> int:
        """Number of all frames that the network sees."""
        return self.context_frames + self.in_frames

    @property
    def smoothed_copies(self) -> int:
        """Number of smoothed copies of a shortcut's inputs: none without a linear map."""
        return self.shortcut_scales if self.shortcut in FITTED_SHORTCUTS else 0

    @property
    def shortcut_inputs(self) -> int:
        """Number of inputs of the linear map of a shortcut, for one pixel."""
        return self.fitted_inputs(self.seen_frames, self.out_frames)

    @property
    def encoded_channels(self) -> int:
        """Number of channels of the patch encoder's input: all values of a pixel that the network sees."""
        of_flow = self.out_frames * self.out_channels if self.input == "frames_and_flow" else 0
        return self.seen_frames * self.in_channels + of_flow

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
        """The blocks (from 0) at whose inputs the long skip begins and ends."""
        return self.depth // 3, 2 * self.depth // 3

    def fitted_inputs(self, seen_frames: int, out_frames: int) -> int:
        """Counts the inputs of a shortcut's linear map in a fit, for one pixel.

        Args:
          seen_frames: Frames that the fit has: the T input frames, and some or all of the context frames.
          out_frames: Lead times that the fit has, at most T'.
        """
        of_flow = out_frames * self.out_channels if self.shortcut in MOVING_SHORTCUTS else 0
        smoothed = self.in_frames * (self.in_channels - self.covariates) + of_flow
        return seen_frames * self.in_channels + of_flow + self.smoothed_copies * smoothed

    def check_sequence(self, shape: tuple[int, ...]) -> None:
        """Checks that sequences can train or evaluate this network, which may predict only the first of their channels.

        Args:
          shape: Shape of a sequence, `[history + in_frames + horizon, h, w, c]`.

        Raises:
          InputError: The shape does not fit the network.
        """
        self.check_frames((1, self.seen_frames, *shape[1:]))
        if shape[0] <= self.in_frames or self.out_channels > shape[3]:
            raise InputError(
                f"the data's sequences have shape {list(shape)}; model.in_frames and model.out_channels require more than "
                f"{self.in_frames} frames and at least {self.out_channels} channels"
            )

    def check_frames(self, shape: tuple[int, ...]) -> None:
        """Checks that frames can be the input of this network.

        Args:
          shape: Shape of the frames, `[b, context_frames + in_frames, h, w, in_channels]`.

        Raises:
          InputError: The shape does not fit the network.
        """
        wanted = f"[b, {self.seen_frames}, h, w, {self.in_channels}]"
        if len(shape) != 5 or shape[1] != self.seen_frames or shape[4] != self.in_channels:
            keys = "data.periods, model.in_frames" if self.context_periods else "model.in_frames"
            raise InputError(f"frames have shape {list(shape)}; {keys} and model.in_channels require {wanted}")
        if 0 in shape:
            raise InputError(f"frames have shape {list(shape)}, which is empty; every axis must have at least 1 element")
