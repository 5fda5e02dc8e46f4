"""STLight in plain PyTorch (Alfarano et al., WACV 2025), the reference for the JAX network.

This file needs only torch, so you can copy it into another project.
"""

import dataclasses
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The size of a network.

    Attributes:
      in_frames: T, number of input frames. A network with `data.periods` has its context frames before them, which count.
      out_frames: T', number of predicted frames.
      in_channels: channels of an input frame.
      out_channels: channels of a predicted frame.
      hidden_dim: d, a multiple of `patch_size**2`.
      depth: number of mixer blocks; the long skip leaves before block `depth // 3` and joins before block `2 * depth // 3`.
      patch_size: p; frames are padded until it divides their height and width.
      overlap: O; the encoder's kernel is `p * max(1, O)` pixels wide.
      near_kernel: side of the near depthwise kernel, odd.
      far_kernel: side of the far depthwise kernel, odd.
      dilation: dilation of the far kernel.
      shortcut: path beside the network, from the input frames to the output: "none" (the paper's), "last" for the last frame,
        or "linear" for a 1x1 convolution of the input frames. With one, the last convolution starts at zero.
      shortcut_scales: number of smoothed copies of the input frames that the 1x1 convolution also has.
      context_frames: number of the first input frames, of earlier periods, that have no smoothed copies.
      input: what the network sees: "frames", or "changes" from each frame to the last one.
      covariates: number of the last input channels that "changes" leave as they are.
    """

    in_frames: int
    out_frames: int
    in_channels: int
    out_channels: int
    hidden_dim: int
    depth: int
    patch_size: int
    overlap: int = 0
    near_kernel: int = 3
    far_kernel: int = 7
    dilation: int = 3
    shortcut: str = "none"
    shortcut_scales: int = 0
    context_frames: int = 0
    input: str = "frames"
    covariates: int = 0

    def __post_init__(self) -> None:
        if self.hidden_dim % self.patch_size**2 or self.near_kernel % 2 == 0 or self.far_kernel % 2 == 0 or self.depth < 2:
            raise ValueError("hidden_dim must be a multiple of patch_size**2, kernels odd, depth at least 2")
        if self.overlap >= 2 and (self.overlap - 1) * self.patch_size % 2:
            raise ValueError("an even overlap needs an even patch_size")
        if self.shortcut not in ("none", "last", "linear"):
            raise ValueError(f"shortcut is {self.shortcut!r}; PyTorch has none, last and linear")


class MixerBlock(nn.Module):
    """Near and far depthwise convolutions with a residual, then a pointwise one without (section 3.2, appendix G).

    Args:
      config: the size of the network.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        d = config.hidden_dim
        self.near = nn.Conv2d(d, d, config.near_kernel, padding="same", groups=d)
        self.far = nn.Conv2d(d, d, config.far_kernel, padding="same", groups=d, dilation=config.dilation)
        self.spatial_norm = nn.BatchNorm2d(d)
        self.pointwise = nn.Conv2d(d, d, 1)
        self.pointwise_norm = nn.BatchNorm2d(d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mixes patches `[b, d, h/p, w/p]` and keeps their shape."""
        x = x + self.spatial_norm(F.gelu(self.far(self.near(x))))
        return self.pointwise_norm(F.gelu(self.pointwise(x)))


class LastFrame(nn.Module):
    """Repeats the last frame of `[b, T*c, h, w]` as `[b, T'*c', h, w]`.

    Args:
      config: the size of the network.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Repeats the last frame."""
        first = frames.shape[1] - self.config.in_channels
        return frames[:, first : first + self.config.out_channels].repeat(1, self.config.out_frames, 1, 1)


class SmoothedCopies(nn.Module):
    """Adds smoothed copies of the input frames to `[b, T*c, h, w]`, as further channels.

    Each scale filters the one before by (1, 4, 6, 4, 1) / 16 along rows and columns, with holes that double. Beyond an edge,
    frames continue with their edge values without end.

    Args:
      config: the size of the network.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.scales, channels, data = config.shortcut_scales, config.in_channels, config.in_channels - config.covariates
        frames = range(config.context_frames, config.in_frames)
        self.smoothed = [frame * channels + channel for frame in frames for channel in range(data)]

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Adds the copies."""
        copy = frames[:, self.smoothed]
        taps = copy.new_tensor([1, 4, 6, 4, 1]) / 16
        kernel, parts = torch.outer(taps, taps).expand(copy.shape[1], 1, 5, 5), [frames]
        margin = 2 * (2**self.scales - 1)
        copy = F.pad(copy, [margin] * 4, mode="replicate")
        for scale in range(self.scales):
            copy = F.conv2d(copy, kernel, dilation=2**scale, groups=copy.shape[1])
            margin -= 2 * 2**scale
            parts.append(copy[..., margin : copy.shape[-2] - margin, margin : copy.shape[-1] - margin])
        return torch.cat(parts, 1)


class STLight(nn.Module):
    """Predicts `out_frames` frames from `in_frames` frames in one pass.

    Args:
      config: the size of the network.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        p, d, overlap = config.patch_size, config.hidden_dim, config.overlap
        self.patch_size, self.out_frames, self.input = p, config.out_frames, config.input
        self.in_channels, self.out_channels, self.covariates = config.in_channels, config.out_channels, config.covariates
        self.skip_from, self.skip_to = config.depth // 3, 2 * config.depth // 3
        padding = (overlap - 1) * p // 2 if overlap >= 2 else 0
        conv = nn.Conv2d(config.in_frames * config.in_channels, d, p * max(1, overlap), stride=p, padding=padding)
        self.patch_encoder = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(d)))
        self.mixers = nn.ModuleList(MixerBlock(config) for _ in range(config.depth))
        conv = nn.Conv2d(d // p**2, config.out_frames * config.out_channels, 1)
        self.patch_reassembly = nn.Sequential(OrderedDict(shuffle=nn.PixelShuffle(p), conv=conv))
        self.shortcut: nn.Module | None = None
        if config.shortcut == "last":
            self.shortcut = LastFrame(config)
        elif config.shortcut == "linear":
            copies = SmoothedCopies(config)
            inputs = config.in_frames * config.in_channels + config.shortcut_scales * len(copies.smoothed)
            linear = nn.Conv2d(inputs, config.out_frames * config.out_channels, 1)
            self.shortcut = nn.Sequential(OrderedDict(copies=copies, linear=linear))
        self._initialise(config)

    def _initialise(self, config: NetworkConfig) -> None:
        """Hybrid (appendix D): Kaiming-normal, fan-out, in encoder and mixers; PyTorch's default in the reassembly."""
        for module in (*self.patch_encoder.modules(), *self.mixers.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
        if self.shortcut is not None:
            nn.init.zeros_(self.patch_reassembly.conv.weight)
            nn.init.zeros_(self.patch_reassembly.conv.bias)
        if isinstance(self.shortcut, nn.Sequential):
            self._copy_last_frame(self.shortcut.linear, config.in_frames * config.in_channels)

    def _copy_last_frame(self, linear: nn.Conv2d, of_frames: int) -> None:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        with torch.no_grad():
            for output in range(linear.out_channels):
                linear.weight[output, of_frames - self.in_channels + output % self.out_channels] = 1

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Predicts the next frames.

        Args:
          frames: `[b, in_frames, in_channels, h, w]` in [0, 1].

        Returns:
          `[b, out_frames, out_channels, h, w]`, not clipped.
        """
        seen = frames
        if self.input == "changes":
            last = frames[:, -1:].clone()
            last[:, :, self.in_channels - self.covariates :] = 0
            seen = frames - last
        frames, seen = frames.flatten(1, 2), seen.flatten(1, 2)  # [b, T*c, h, w]
        height, width = frames.shape[-2:]
        padding = (0, -width % self.patch_size, 0, -height % self.patch_size)  # to whole patches
        x = F.gelu(self.patch_encoder(F.pad(seen, padding, mode="replicate")))  # [b, d, h/p, w/p]
        for index, mixer in enumerate(self.mixers):
            if index == self.skip_from:
                skipped = x
            if index == self.skip_to:
                x = x + skipped
            x = mixer(x)
        x = self.patch_reassembly(x)[..., :height, :width]  # [b, T'*c, h, w]
        if self.shortcut is not None:
            x = x + self.shortcut(frames)
        return x.unflatten(1, (self.out_frames, -1))  # [b, T', c, h, w]
