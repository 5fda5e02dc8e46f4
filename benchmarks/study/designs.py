"""The designs: networks and recipes at the study's size, each with what differs from the paper's design."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.study import others, variants
from benchmarks.study.variants import variant
from stlight_jax.model.stlight import STLight
from stlight_jax.training.shortcut_choice import ShortcutAlone

PAPER_RATE = 3e-3  # the paper's learning rate for Moving MNIST, table 2
LINEAR = "linear"  # network without training: a ridge regression


@dataclasses.dataclass(frozen=True)
class Design:
    """A network and a recipe.

    Attributes:
      label: For tables.
      keys: Config keys that differ from the paper's design at the study's size.
      network: Name in `NETWORKS`.
      rates: Learning rates to try; the page shows the one with the lowest validation MSE.
      steps: Factor on the task's steps, for another batch size.
    """

    label: str
    keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = "stlight"
    rates: tuple[float, ...] = (PAPER_RATE,)
    steps: float = 1


# The paper's design, at the study's size: all other keys have the paper's values.
BASE: dict[str, Any] = {
    "model.hidden_dim": 64, "model.depth": 8, "model.scan_unroll": 1, "train.tensorboard": False, "train.keep_checkpoints": 2,
    "evaluation.batch_size": 50, "evaluation.baselines": "inputs",
}  # fmt: skip

NETWORKS: dict[str, Callable[..., STLight]] = {
    "stlight": STLight,
    "no long skip": variant(skip=None),
    "long skip over three fifths": variant(skip=(1 / 5, 4 / 5)),
    "one kernel": variant(block=variants.OneKernelBlock),
    "ConvMixer": variant(block=variants.OneKernelBlock, skip=None),
    "pointwise before shuffle": variant(reassembly=variants.PointwiseFirst),
    "Kaiming-normal": variant(initial="kaiming_normal"),
    "PyTorch's default": variant(initial="torch_default"),
    "repeated": variant(initial="repeated"),
    "residual": variant(block=variants.ResidualBlock),
    "layer scale": variant(block=variants.ScaledBlock),
    "group norm": variant(block=variants.GroupNormBlock),
    "residual, group norm": variant(block=variants.ResidualGroupNormBlock),
    "ConvLSTM": functools.partial(others.ConvLSTM, features=(9, 9), filter_side=3),
    "SimVP": functools.partial(others.SimVP, spatial=4, temporal=40, blocks=2, mlp_ratio=4),
    "TAU": functools.partial(others.SimVP, spatial=4, temporal=44, blocks=2, mlp_ratio=4, attention="temporal"),
    LINEAR: ShortcutAlone,
}

_THREE_RATES = (1e-3, 3e-3, 1e-2)
_PLUS = {"model.shortcut": "linear", "train.ema_decay": 0.99}


def _sized(width: int, depth: int = 8, **keys: Any) -> dict[str, Any]:
    return {"model.hidden_dim": width, "model.depth": depth, **{f"model.{key}": value for key, value in keys.items()}}


DESIGNS: dict[str, Design] = {
    "paper": Design("the paper's design"),
    # a: Does the paper hold?
    "no_skip": Design("no long skip", network="no long skip"),
    "wide_skip": Design("long skip from 1/5 to 4/5", network="long skip over three fifths"),
    "convmixer": Design("ConvMixer block, 11 x 11, no long skip", _sized(48, far_kernel=11), "ConvMixer"),
    "one_kernel": Design("one kernel, 11 x 11, with the long skip", _sized(48, far_kernel=11), "one kernel"),
    **{
        f"kernels_{near}_{far}": Design(f"kernels {near} and {far}", {"model.near_kernel": near, "model.far_kernel": far})
        for near, far in ((3, 3), (3, 5), (3, 9), (5, 5), (5, 7), (7, 7))
    },
    "depth_4": Design("4 blocks", _sized(64, 4)),
    "depth_12": Design("12 blocks", _sized(64, 12)),
    "wide": Design("4 blocks, 96 wide", _sized(96, 4)),
    "deep": Design("16 blocks, 40 wide", _sized(40, 16)),
    "overlap_2": Design("overlap 2", {"model.overlap": 2}),
    **{f"rate_{rate:g}": Design(f"learning rate {rate:g}", rates=(rate,)) for rate in (3e-4, 1e-3, 1e-2)},
    "kaiming": Design("Kaiming-normal for all layers", network="Kaiming-normal"),
    "torch_default": Design("PyTorch's default for all layers", network="PyTorch's default"),
    "pointwise_first": Design("1x1 convolution, then shuffle", network="pointwise before shuffle"),
    "patch_1": Design("patches of 1, 24 wide", _sized(24, patch_size=1)),
    "patch_4": Design("patches of 4, 144 wide", _sized(144, patch_size=4)),
    # b: Others.
    "stlight": Design("STLight", rates=_THREE_RATES),
    "convlstm": Design("ConvLSTM", {"model.patch_size": 4}, "ConvLSTM", _THREE_RATES),
    "simvp": Design("like SimVP, gated attention", network="SimVP", rates=_THREE_RATES),
    "tau": Design("like TAU", network="TAU", rates=_THREE_RATES),
    "linear": Design("linear regression", {"model.shortcut": "linear"}, LINEAR),
    # c: Better at equal cost?
    "shortcut": Design("linear shortcut", {"model.shortcut": "linear"}),
    "repeated": Design("repeated weights before the shuffle", network="repeated"),
    "loss_both": Design("loss both", {"train.loss": "both"}),
    "loss_huber": Design("loss huber", {"train.loss": "huber"}),
    "ema": Design("averaged weights, 0.99", {"train.ema_decay": 0.99}),
    "decay": Design("weight decay 0.05", {"optimizer.weight_decay": 0.05}),
    "clip": Design("gradients clipped at norm 0.1", {"optimizer.clip_norm": 0.1}),
    "cosine": Design("cosine, one epoch of warm-up", {"optimizer.schedule": "cosine", "optimizer.warmup_epochs": 1}),
    "batch_8": Design("batch of 8, twice the steps", {"train.batch_size": 8}, steps=2),
    "residual": Design("residual pointwise half", network="residual"),
    "layer_scale": Design("residual pointwise half, layer scale", network="layer scale"),
    "group_norm": Design("group norm in the blocks", network="group norm"),
    "residual_group_norm": Design("residual pointwise half, group norm", network="residual, group norm"),
    "dilation_1": Design("dilation 1", {"model.dilation": 1}),
    "dilation_2": Design("dilation 2", {"model.dilation": 2}),
    "periods": Design("linear shortcut, last week's frames", {"model.shortcut": "linear", "data.periods": "168"}),
    "flips": Design("random flips", {"data.flips": True}),
    # Candidates of a size `plus`: several changes together.
    "plus_tiny": Design("plus: the recipe of tiny", {**_PLUS, "train.loss": "both"}, rates=(1e-2,)),
    "plus_squared": Design("plus: shortcut, averaged weights, squared loss", _PLUS, rates=(1e-2,)),
    "plus_residual": Design("plus: these, residual pointwise half", _PLUS, "residual", (1e-2,)),
    "plus_scale": Design("plus: these, layer scale", _PLUS, "layer scale", (1e-2,)),
}  # fmt: skip
