"""STLight in plain PyTorch (Alfarano et al., WACV 2025), the reference that the JAX network is compared with.

This file needs nothing but torch: copy it.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class MixerBlock(nn.Module):
    """Near and far depthwise convolutions with a residual, then a pointwise one without (section 3.2, appendix G)."""

    def __init__(self, hidden_dim: int, near_kernel: int, far_kernel: int, dilation: int):
        super().__init__()
        self.near = nn.Conv2d(hidden_dim, hidden_dim, near_kernel, padding="same", groups=hidden_dim)
        self.far = nn.Conv2d(hidden_dim, hidden_dim, far_kernel, padding="same", groups=hidden_dim, dilation=dilation)
        self.spatial_norm = nn.BatchNorm2d(hidden_dim)
        self.pointwise = nn.Conv2d(hidden_dim, hidden_dim, 1)
        self.pointwise_norm = nn.BatchNorm2d(hidden_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.spatial_norm(F.gelu(self.far(self.near(x))))
        return self.pointwise_norm(F.gelu(self.pointwise(x)))


class STLight(nn.Module):
    """Predicts `out_frames` frames from `in_frames` frames in one pass.

    Args:
      in_frames, out_frames: T and T'.
      in_channels, out_channels: of a frame seen and of a frame predicted.
      hidden_dim: d, a multiple of `patch_size**2`.
      depth: mixer blocks; the long skip leaves before block `depth // 3` and joins before block `2 * depth // 3`.
      patch_size: p, divides the frames' sides.
      overlap: O; the encoder's kernel is `p * max(1, O)` wide.
      near_kernel, far_kernel: odd sides of the depthwise kernels; `dilation` is the far one's.
    """

    def __init__(
        self,
        in_frames: int,
        out_frames: int,
        in_channels: int,
        out_channels: int,
        hidden_dim: int,
        depth: int,
        patch_size: int,
        overlap: int = 0,
        near_kernel: int = 3,
        far_kernel: int = 7,
        dilation: int = 3,
    ):
        super().__init__()
        if hidden_dim % patch_size**2 or near_kernel % 2 == 0 or far_kernel % 2 == 0 or depth < 2:
            raise ValueError("hidden_dim must be a multiple of patch_size**2, kernels odd, depth at least 2")
        if overlap >= 2 and (overlap - 1) * patch_size % 2:
            raise ValueError("an even overlap needs an even patch_size")
        self.patch_size, self.out_frames = patch_size, out_frames
        self.skip_from, self.skip_to = depth // 3, 2 * depth // 3
        padding = (overlap - 1) * patch_size // 2 if overlap >= 2 else 0
        kernel = patch_size * max(1, overlap)
        conv = nn.Conv2d(in_frames * in_channels, hidden_dim, kernel, stride=patch_size, padding=padding)
        self.patch_encoder = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(hidden_dim)))
        self.mixers = nn.ModuleList(MixerBlock(hidden_dim, near_kernel, far_kernel, dilation) for _ in range(depth))
        conv = nn.Conv2d(hidden_dim // patch_size**2, out_frames * out_channels, 1)
        self.patch_reassembly = nn.Sequential(OrderedDict(shuffle=nn.PixelShuffle(patch_size), conv=conv))
        self._initialise()

    def _initialise(self) -> None:
        """Hybrid (appendix D): Kaiming-normal, fan-out, in encoder and mixers; PyTorch's default in the reassembly."""
        for module in (*self.patch_encoder.modules(), *self.mixers.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[b, in_frames, in_channels, h, w]` in [0, 1] -> `[b, out_frames, out_channels, h, w]`, not clipped."""
        if frames.shape[-2] % self.patch_size or frames.shape[-1] % self.patch_size:
            raise ValueError(
                f"frames of {tuple(frames.shape[-2:])} pixels: patch_size {self.patch_size} must divide both sides"
            )
        x = F.gelu(self.patch_encoder(frames.flatten(1, 2)))  # [b, d, h/p, w/p]
        for index, mixer in enumerate(self.mixers):
            if index == self.skip_from:
                skipped = x
            if index == self.skip_to:
                x = x + skipped
            x = mixer(x)
        return self.patch_reassembly(x).unflatten(1, (self.out_frames, -1))
