"""Training of the PyTorch reference with PyTorch's own Adam, OneCycleLR and BatchNorm."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from stlight_jax.training.schedule import OneCycle
from stlight_jax.training.state import SHORTCUT_RATE


def train(
    model: nn.Module,
    batches: Iterable[np.ndarray | torch.Tensor],
    schedule: OneCycle,
    in_frames: int,
    *,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Iterator[float]:
    """Trains a network in place, one step per batch.

    Args:
      model: a network in float32 or float64, on any device.
      batches: uint8 `[b, T + T', h, w, c]`, at most `schedule.total_steps` of them.
      schedule: learning rate and beta1; PyTorch's scheduler computes them from its fields.
      in_frames: T, number of input frames.
      beta2: decay of Adam's second moment.
      eps: added to the root of Adam's second moment.

    Yields:
      The mean squared error of each step, before the step changes the weights.
    """
    dtype, device = next(model.parameters()).dtype, next(model.parameters()).device
    groups: dict[float, list[nn.Parameter]] = {}  # by their part of the learning rate
    for name, parameter in model.named_parameters():
        groups.setdefault(SHORTCUT_RATE if name.startswith("shortcut") else 1.0, []).append(parameter)
    parameters = [{"params": group} for group in groups.values()]
    optimizer = torch.optim.Adam(parameters, betas=(schedule.beta1_high, beta2), eps=eps)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [schedule.peak * rate for rate in groups],
        schedule.total_steps,
        pct_start=schedule.rise,
        base_momentum=schedule.beta1_low,
        max_momentum=schedule.beta1_high,
        div_factor=schedule.div_factor,
        final_div_factor=schedule.final_div_factor,
    )
    model.train()
    for step, batch in enumerate(batches, 1):
        inputs, targets = split_frames(batch, in_frames, dtype, device)
        loss = F.mse_loss(model(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step < schedule.total_steps:
            scheduler.step()
        yield loss.item()


def split_frames(
    frames: np.ndarray | torch.Tensor, in_frames: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales frames to [0, 1] and splits them into inputs and targets.

    Args:
      frames: uint8 `[b, T + T', h, w, c]`.
      in_frames: T, number of input frames.
      dtype: dtype of the result.
      device: device of the result.

    Returns:
      Inputs `[b, T, c, h, w]` and targets `[b, T', c, h, w]`.
    """
    scaled = torch.as_tensor(frames, device=device).float().div(255).to(dtype).permute(0, 1, 4, 2, 3)  # [b, t, c, h, w]
    return scaled[:, :in_frames], scaled[:, in_frames:]
