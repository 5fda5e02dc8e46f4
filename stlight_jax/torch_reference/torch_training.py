"""Training of the PyTorch reference with PyTorch's own Adam, OneCycleLR and BatchNorm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def train(
    model: nn.Module,
    batches: Iterable[np.ndarray | torch.Tensor],
    total_steps: int,
    in_frames: int,
    learning_rate: float = 3e-3,
    rise: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    beta1_low: float = 0.85,
    beta1_high: float = 0.95,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Iterator[float]:
    """Trains `model` in place, one step per batch, and yields each step's loss (mean squared error, before the step).

    Args:
      model: in float32 or float64, on any device.
      batches: uint8 `[b, T + T', h, w, c]`.
      total_steps: of the schedule; at least as many as there are batches.
      in_frames: T.
      learning_rate .. eps: as in `configs/`, see `stlight_jax.training.schedule.OneCycle`.
    """
    dtype, device = next(model.parameters()).dtype, next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), betas=(beta1_high, beta2), eps=eps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        learning_rate,
        total_steps,
        pct_start=rise,
        base_momentum=beta1_low,
        max_momentum=beta1_high,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )
    model.train()
    for step, batch in enumerate(batches):
        inputs, targets = split_frames(batch, in_frames, dtype, device)
        loss = F.mse_loss(model(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step + 1 < total_steps:
            schedule.step()
        yield loss.item()


def split_frames(
    frames: np.ndarray | torch.Tensor, in_frames: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 `[b, T + T', h, w, c]` -> inputs `[b, T, c, h, w]` and targets `[b, T', c, h, w]` in [0, 1]."""
    scaled = torch.as_tensor(frames, device=device).float().div(255).to(dtype).permute(0, 1, 4, 2, 3)
    return scaled[:, :in_frames], scaled[:, in_frames:]
