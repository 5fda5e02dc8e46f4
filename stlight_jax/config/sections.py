"""The keys of all sections but `data`, which each data set declares in its own file."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

from stlight_jax.config.schema import Key, Section

MOST_FRAMES = 10  # that a network sees, and predicts, if their number is left open
_SMALL_FRAME = 512  # pixels: patches of one pixel cost little there
# A step of `tiny` on two cores takes 20 s and 9 GB for 8 sequences of 480 x 640 pixels in patches of 2, 6 s and 3 GB of 4. On
# smaller frames, 128 x 160, patches of 2 give lower errors in the same time.
_LARGE_FRAME = 262_144
# The batch of a config that leaves its size open. Small frames train fast in larger batches, with less noisy gradients and
# statistics: on TaxiNYC, 16 x 8, 600 steps lower the validation MSE of the linear fit by 3 % with 8 sequences, by 18 % with 32.
_BATCH_PIXELS, _BATCH_SIZES = 32_768, (8, 32)
# From 15 windows of one rainfall, networks learnt that rainfall: on 3 windows of its end they were 2 and 11 % better than the
# flow alone, on another event 4 and 35 % worse (FMI radar, both ways). Such gains are no evidence.
_FEW_SEQUENCES, _LEAST_GAIN = 3, 0.2
# Seeds differ by more: on the temperatures of five years by 2 %, on a night of radar by 5 % (benchmarks/results/real_data).
_SMALLEST_GAIN = 0.01
# Validation windows without overlap, times squares of 16 x 16 pixels in a frame -> least gain below that number.
_GAINS_OF_FEW_SQUARES = {5: 0.2, 20: 0.1}
FEW_SQUARES = max(_GAINS_OF_FEW_SQUARES)
# The size of a config that leaves it open, and the peak learning rate for the lesser width. Fewer channels than a patch has
# predicted values are a bottleneck: with 320 values (KTH, 20 frames, patches of 4), three minutes on one core gave a test MSE
# of 2.24 with 96 channels, 1.82 with 192 and 1.78 with 320. With 24 values (KNMI radar), 48, 96 and 192 channels gave 10.0,
# 9.6 and 9.5.
_WIDTHS, _WIDTH_STEP, _DEPTH, _RATE = (96, 512), 32, 6, 2e-3
# An iteration of the fit of "flow_linear" takes 20 * inputs**3 * outputs products: with 320 and 30, about a second.
_MOST_SCALES, _MOST_INPUTS = 5, 320
_ONECYCLE = ("schedule", "onecycle")
_COSINE = ("schedule", "cosine")


# One key, one line (two if it is long).
# fmt: off
@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSection(Section, name="model"):
    """Section `model`: the network. `STLightConfig` adds the conditions that relate one key to another."""

    in_frames: Annotated[int, Key(
        "Number T of frames that the network sees; 0 takes 10, or as many as short data permit.", least=0, default=10)]
    out_frames: Annotated[int, Key(
        "Number T' of frames that the network predicts in one pass; 0 takes 10, or as many as short data permit.",
        least=0, default=10)]
    in_channels: Annotated[int, Key("Channels of the input frames; 0 takes those of the data.", least=0, default=1)]
    out_channels: Annotated[int, Key("Channels of the predicted frames; 0 takes those of the data.", least=0, default=1)]
    hidden_dim: Annotated[int, Key(
        "Number d of channels of the patch grid; a multiple of patch_size**2. 0 takes 96 to 512, as many as a "
        "patch has predicted values.",
        least=0, default=256)]
    depth: Annotated[int, Key("Number of mixer blocks; 0 takes 6.", least=2, special=0, default=16)]
    patch_size: Annotated[int, Key(
        "Side p of a patch in pixels; frames are padded until it divides both sides. 0 takes 2, but 1 for frames of at most "
        "512 pixels, and 4 for frames of more than 262,144 pixels if hidden_dim is a multiple of 16.", least=0, default=2)]
    overlap: Annotated[int, Key("Overlap O of patches: the encoder's kernel has side p * max(1, O).", least=0)] = 0
    near_kernel: Annotated[int, Key("Side k1 of the first depthwise kernel; odd.", least=1)] = 3
    far_kernel: Annotated[int, Key("Side k2 of the second, dilated depthwise kernel; odd.", least=1)] = 7
    dilation: Annotated[int, Key("Dilation of the far kernel.", least=1)] = 3
    shortcut: Annotated[Literal["none", "last", "linear", "flow", "flow_linear", "auto"], Key(
        "Path beside the network, from the input frames to the output: the last frame, a linear map of the input frames, the "
        "last frame carried along its motion (flow), or a linear map of the input frames and of the flow's forecast; auto "
        "chooses by the errors of their forecasts on validation windows.",
        since="0.2", absent="none")] = "none"
    input: Annotated[Literal["frames", "changes", "frames_and_flow", "auto"], Key(
        "What the network sees beside a shortcut: frames, changes from each frame to the last one, or frames and the forecast "
        "of the flow; auto takes changes if shortcut=auto takes last or linear, frames_and_flow if the shortcut has a flow.",
        since="0.2", absent="frames")] = "frames"
    shortcut_scales: Annotated[int, Key(
        "Number of smoothed copies of its inputs that the linear map of a shortcut also has, from a standard deviation of 1 "
        "pixel to one of 18 with 5; -1 takes 5, or fewer for frames of at most 1,024 pixels, or of many channels.",
        least=0, special=-1, below=9, since="0.2", absent=0)] = 0
    depthwise: Annotated[Literal["auto", "native", "phases", "taps", "cpu", "portable"], Key(
        "Implementation of the depthwise convolutions; auto takes the fastest one for the platform.")] = "auto"
    precision: Annotated[Literal["float32", "tensorfloat32", "bfloat16"], Key(
        "Precision of matrix products on accelerators that offer less than float32.", recipe=True)] = "float32"
    dtype: Annotated[Literal["float32", "bfloat16", "float64"], Key(
        "Type of the activations; float64 needs JAX_ENABLE_X64=1 in the environment.", recipe=True)] = "float32"
    rematerialise: Annotated[Literal["nothing", "elementwise", "blocks"], Key(
        "Activations that training recomputes instead of storing them.", resumable=True, absent="elementwise")] = "elementwise"
    scan_unroll: Annotated[int, Key("Mixer blocks per iteration of the compiled loop over blocks.", least=1)] = 1

    def for_data(self, channels: int, pixels: int | None = None, covariates: int = 0) -> ModelSection:
        """Replaces the values that are left open by a 0.

        Args:
          channels: Number of channels of the data, with covariates.
          pixels: Number of pixels of a frame; None if it is not known.
          covariates: Number of the last channels that are covariates, which no network predicts.
        """
        out_frames, out_channels = self.out_frames or MOST_FRAMES, self.out_channels or channels - covariates
        in_frames, in_channels = self.in_frames or MOST_FRAMES, self.in_channels or channels
        patch_size = self.patch_size or self._patch_for(pixels)
        scales = _scales_for(pixels, in_frames * (in_channels - covariates) + out_frames * out_channels)
        return dataclasses.replace(
            self,
            in_frames=in_frames,
            out_frames=out_frames,
            in_channels=in_channels,
            out_channels=out_channels,
            patch_size=patch_size,
            hidden_dim=self.hidden_dim or _width_for(out_frames * out_channels, patch_size),
            depth=self.depth or _DEPTH,
            shortcut_scales=scales if self.shortcut_scales < 0 else self.shortcut_scales,
        )

    def _patch_for(self, pixels: int | None) -> int:
        if pixels is None or _SMALL_FRAME < pixels <= _LARGE_FRAME:
            return 2
        return 1 if pixels <= _SMALL_FRAME else 2 if self.hidden_dim % 16 else 4


def _scales_for(pixels: int | None, values: int) -> int:
    """Returns `shortcut_scales`: as many as frames are large for, and a linear map has inputs for.

    Args:
      pixels: Number of pixels of a frame, of which a square has sides longer than 2**scales; None if it is not known.
      values: Number of input values and predicted values of a pixel.
    """
    most = min(_MOST_SCALES, _MOST_INPUTS // max(values, 1) - 1)
    return max(0, most if pixels is None else min(most, ((pixels - 1).bit_length() - 1) // 2))


def _width_for(values: int, patch_size: int) -> int:
    """Returns `hidden_dim` for a number of predicted values per pixel: as many channels as values per patch, within limits."""
    step = patch_size**2 if _WIDTH_STEP % patch_size**2 else _WIDTH_STEP
    least, most = (-(-width // step) * step for width in _WIDTHS)
    return min(max(-(-values * patch_size**2 // step) * step, least), most)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSection(Section, name="optimizer"):
    """Section `optimizer`: Adam and its schedule."""

    schedule: Annotated[Literal["onecycle", "cosine"], Key(
        "Schedule of the learning rate: PyTorch's OneCycleLR or timm's cosine.", recipe=True, absent="onecycle")] = "onecycle"
    learning_rate: Annotated[float, Key(
        "Peak learning rate; 0 takes 0.002 * sqrt(96 / model.hidden_dim), to two digits.", least=0, recipe=True)] = 3e-3
    batch_scaling: Annotated[Literal["none", "linear", "sqrt"], Key(
        "Growth of the learning rate with batch_size / reference_batch_size.", recipe=True, absent="none")] = "none"
    reference_batch_size: Annotated[int, Key(
        "Batch size that learning_rate is given for, if batch_scaling is not none.", least=1, absent=16)] = 16
    rise: Annotated[float, Key(
        "Fraction of the run in which the rate rises.", above=0, below=1, recipe=True, used_if=_ONECYCLE)] = 0.3
    div_factor: Annotated[float, Key("Peak rate over first rate.", above=0, recipe=True, used_if=_ONECYCLE)] = 25.0
    final_div_factor: Annotated[float, Key("First rate over last rate.", above=0, recipe=True, used_if=_ONECYCLE)] = 1e4
    beta1_low: Annotated[float, Key("Adam's beta1 at the peak rate.", least=0, below=1, recipe=True, used_if=_ONECYCLE)] = 0.85
    beta1_high: Annotated[float, Key(
        "Adam's beta1 at the first and the last rate.", least=0, below=1, recipe=True, used_if=_ONECYCLE)] = 0.95
    least_learning_rate: Annotated[float, Key(
        "Rate that the cosine ends at.", least=0, recipe=True, used_if=_COSINE, absent=1e-6)] = 1e-6
    warmup_epochs: Annotated[int, Key(
        "Epochs of linear warm-up; 0 for none.", least=0, recipe=True, used_if=_COSINE, absent=5)] = 5
    warmup_start: Annotated[float, Key(
        "Rate in the first epoch of the warm-up.", least=0, recipe=True, used_if=_COSINE, absent=1e-5)] = 1e-5
    beta1: Annotated[float, Key("Adam's beta1.", least=0, below=1, recipe=True, used_if=_COSINE, absent=0.9)] = 0.9
    beta2: Annotated[float, Key("Adam's beta2.", least=0, below=1, recipe=True)] = 0.999
    eps: Annotated[float, Key("Adam's epsilon.", above=0, recipe=True)] = 1e-8
    clip_norm: Annotated[float, Key("Largest global norm of the gradient; 0 does not clip.", least=0, recipe=True)] = 0.0
    weight_decay: Annotated[float, Key("Decoupled weight decay of kernels; 0 for none.", least=0, recipe=True)] = 0.0

    def for_width(self, hidden_dim: int) -> OptimizerSection:
        """Replaces a learning rate that is left open by a 0.

        Args:
          hidden_dim: Number of channels of the patch grid.
        """
        rate = self.learning_rate or float(f"{_RATE * (_WIDTHS[0] / hidden_dim) ** 0.5:.2g}")
        return dataclasses.replace(self, learning_rate=rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSection(Section, name="train"):
    """Section `train`: the training loop."""

    batch_size: Annotated[int, Key(
        "Sequences per step, over all devices; 0 for 8 to 32, by the size of the frames.", least=0, recipe=True)] = 16
    accumulate: Annotated[int, Key(
        "Parts of a batch that pass the network one after the other, to save memory.", least=1, recipe=True, absent=1)] = 1
    epochs: Annotated[int, Key("Passes over the training data, if train.steps is 0.", least=1, recipe=True)] = 200
    steps: Annotated[int, Key(
        "Optimizer steps of the run; 0 for train.epochs.", least=0, recipe=True, since="0.2", absent=0)] = 0
    loss: Annotated[Literal["squared", "absolute", "both", "huber"], Key(
        "Error to minimise: squared, absolute, both (root mean square plus mean absolute error) or huber (half the square "
        "below 0.05, linear above).", recipe=True, since="0.2", absent="squared")] = "squared"
    ema_decay: Annotated[float, Key(
        "Decay of a moving average of the weights, which then predicts; 0 for none.",
        least=0, below=1, recipe=True, absent=0.0)] = 0.0
    seed: Annotated[int, Key("Seed of the initial weights and of the order of the data.", least=0, below=2**32)] = 42
    horizon: Annotated[int, Key("Frames to predict in training, as evaluation.horizon.", least=0, recipe=True, absent=0)] = 0
    checkpoint_every: Annotated[int, Key(
        "Steps between checkpoints, each validated and saved with its score; 0 for 5 to 20 of them in a run, by their cost.",
        least=0, resumable=True)] = 625
    least_gain: Annotated[float, Key(
        "Fraction by which the validation MSE must fall below that of the shortcut alone, before a checkpoint with a trained "
        "network is the best; -1 for 0.01 if the test frames continue the training sequences, 0.2 over the number of training "
        "sequences, and at least 0.01, if they are of others; 0.2 if the training data have fewer than 3 windows without "
        "overlap; at least 0.1 or 0.2 if the validation frames are few and small. auto asks maps that are fitted to the data "
        "for the same gain.",
        least=0, below=1, special=-1, since="0.2", absent=0.0)] = 0.0
    shortcut_share: Annotated[float, Key(
        "Share of what the fitted map of the shortcut adds to the last frame or the flow, before the first step; -1 for 1, "
        "or for 0.5 if shortcut=auto finds it better and train.least_gain is above 0.02.",
        least=0, special=-1, since="0.2", absent=1.0)] = 1.0
    shrinkage: Annotated[bool, Key(
        "Whether a checkpoint keeps all, a half or a quarter of what the network adds to the shortcut, whichever has the "
        "lowest validation MSE; without a shortcut always all.", resumable=True, since="0.2", absent=False)] = False
    keep_checkpoints: Annotated[int, Key(
        "Newest checkpoints to keep beside the best; two, in case one is damaged.", least=2, resumable=True)] = 3
    log_every: Annotated[int, Key(
        "Steps between lines in metrics.jsonl; less, for 50 lines, in a short run.", least=1, resumable=True)] = 25
    init_from: Annotated[str, Key(
        "Workdir or checkpoint that a new run takes its initial weights from.", resumable=True, recipe=True)] = ""
    tensorboard: Annotated[bool, Key(
        "Whether to write TensorBoard events too, if the package tensorboard is installed.", resumable=True)] = True

    def for_data(
        self,
        pixels: int,
        sequences: int,
        devices: int = 1,
        separate: float = math.inf,
        events: float = math.inf,
        squares: float = math.inf,
    ) -> TrainSection:
        """Replaces a batch size that is left open by a 0, and a least gain that is left open by a -1.

        Args:
          pixels: Number of pixels of a training frame.
          sequences: Number of training sequences.
          devices: Number of devices that share a batch.
          separate: Number of training sequences without overlap.
          events: Number of events, such as storms or videos, that the training frames show, if the forecasts are of others.
          squares: Number of validation sequences without overlap, times that of squares of 16 x 16 pixels in a frame.
        """
        parts = devices * self.accumulate
        most = min(max(_BATCH_PIXELS // pixels, _BATCH_SIZES[0]), _BATCH_SIZES[1], sequences)
        return dataclasses.replace(
            self,
            batch_size=self.batch_size or max(1, most // parts) * parts,
            least_gain=self.least_gain_for(separate, events, squares),
        )

    def least_gain_for(self, separate: float, events: float, squares: float = math.inf) -> float:
        """Returns the gain on the validation data that promises one on the test data, if the config leaves it open by a -1.

        On radar of one storm, the validation MSE at its end fell by 10 % and the test MSE of another storm rose by 30 %; on
        four rains, the MSE of two others fell by 7 % and 16 %. Near pixels err together, so that few small validation frames
        are few samples: on 24 months of 40 x 60 pixels, three validation MSEs fell by 4 % to 7 %, and the test MSEs rose by 5 %
        to 7 %; on three windows of 24 x 24 pixels, the one fell by 9 %, and the other tripled.

        Args:
          separate: As for `for_data`.
          events: As for `for_data`.
          squares: As for `for_data`.
        """
        if self.least_gain >= 0:
            return self.least_gain
        if separate < _FEW_SEQUENCES:
            return _LEAST_GAIN
        least = next((gain for count, gain in _GAINS_OF_FEW_SQUARES.items() if squares < count), _SMALLEST_GAIN)
        return max(float(f"{_LEAST_GAIN / events:.2g}"), least)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelSection(Section, name="parallel"):
    """Section `parallel`: training on several devices."""

    batch_norm: Annotated[Literal["synchronised", "local"], Key(
        "Batch statistics over all devices, or on each device over its own part.",
        recipe=True, absent="synchronised")] = "synchronised"
    launcher: Annotated[Literal["pmap", "shard_map"], Key(
        "Function of JAX that runs the step on all devices.", resumable=True, absent="pmap")] = "pmap"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSection(Section, name="evaluation"):
    """Section `evaluation`: validation and evaluation."""

    batch_size: Annotated[int, Key("Sequences per evaluation step, over all devices.", least=1, resumable=True)] = 64
    horizon: Annotated[int, Key(
        "Frames to predict; beyond model.out_frames by roll-out, 0 for out_frames.", least=0, absent=0)] = 0
    cycle: Annotated[int, Key(
        "Sampling steps in a daily or weekly cycle, for a baseline; 0 for none.", least=0, resumable=True, absent=0)] = 0
    baselines: Annotated[Literal["all", "inputs"], Key(
        "Baselines to compare with: all, or only baselines without training data.",
        resumable=True, since="0.2", absent="all")] = "all"
    pysteps: Annotated[bool, Key(
        "Whether to compare with the extrapolation by pysteps, which takes seconds per sequence of large frames.",
        resumable=True, since="0.2", absent=False)] = False
    thresholds: Annotated[str, Key(
        "Thresholds of forecasters' scores in the data's units, such as 0.1,1,5; empty for none.",
        resumable=True, since="0.2", absent="")] = ""
    fss_window: Annotated[int, Key(
        "Side of the windows of the fractions skill score, in pixels.",
        least=1, resumable=True, since="0.2", absent=9)] = 9
    pictures: Annotated[int, Key("Number of sequences to draw.", least=1, resumable=True)] = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileSection(Section, name="profile"):
    """Section `profile`: traces by JAX's profiler."""

    steps: Annotated[int, Key("Steps to trace after each start of the run; 0 for none.", least=0, resumable=True, absent=0)] = 0
    first: Annotated[int, Key(
        "Steps before the first traced one, not counting the one that compiles.", least=0, resumable=True, absent=5)] = 5
# fmt: on
SECTIONS: tuple[type[Section], ...] = (
    TrainSection,
    ParallelSection,
    OptimizerSection,
    ModelSection,
    EvaluationSection,
    ProfileSection,
)
