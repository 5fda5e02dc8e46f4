"""The questions, each with the designs whose comparison answers it, in order of importance."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Question:
    """A question, and the designs whose comparison answers it.

    Attributes:
      part: "a", does the paper hold; "b", against other networks; "c", the better design at equal cost.
      title: The question.
      source: Where the paper has it, with its numbers; "" for questions of ours.
      task: Name in `TASKS`.
      best: Name of the design that the paper finds best, or that the others shall improve on in part c.
      designs: Names in `DESIGNS`, `best` included.
      seeds: Seeds of every design; one, but for the headlines: the spread of a task is pooled over its designs.
      equal_cost: Whether the designs have equal multiply-accumulates, within 3 %.
      measure: "mse", the test MSE, or "unsteadiness", the standard deviation of the changes of the validation MSE.
    """

    part: Literal["a", "b", "c"]
    title: str
    source: str
    task: str
    best: str
    designs: tuple[str, ...]
    seeds: tuple[int, ...] = (1,)
    equal_cost: bool = True
    measure: Literal["mse", "unsteadiness"] = "mse"


_HEADLINE = (1, 2)  # seeds
_IMPROVEMENTS = (
    "residual", "layer_scale", "shortcut", "loss_both", "ema", "rate_0.01", "group_norm", "residual_group_norm", "dilation_2",
    "dilation_1", "decay", "clip", "cosine", "repeated", "loss_huber", "batch_8",
)  # fmt: skip
_ON_REAL_SETS = ("shortcut", "loss_both", "ema", "residual", "layer_scale", "decay", "clip", "group_norm")
_PLUS_DESIGNS = ("plus_tiny", "plus_squared", "plus_residual", "plus_scale")

# In order of importance.
QUESTIONS: dict[str, Question] = {
    "plus": Question(
        "c", "Do several improvements together beat the paper's design at equal cost?", "", "mnist32", "paper",
        ("paper", "rate_0.01", *_PLUS_DESIGNS), seeds=_HEADLINE,
    ),
    "others": Question(
        "b", "Is STLight better than other networks at equal cost?",
        "Table 3, MSE on 64 x 64 frames: STLight-M 22.21, TAU 24.60, ConvLSTM 29.80, SimVP 32.15", "mnist32", "stlight",
        ("stlight", "tau", "simvp", "convlstm", "linear"), equal_cost=False, seeds=_HEADLINE,
    ),
    "skip": Question(
        "a", "Is the long skip from 1/3 to 2/3 of the depth better than none, or another?",
        "Table 4, 24M: 22.21, none 22.59, from 1/5 to 4/5 22.62", "mnist32", "paper", ("paper", "no_skip", "wide_skip"),
        seeds=_HEADLINE,
    ),
    "block": Question(
        "a", "Is the mixer of two small kernels better than one large kernel?",
        "Table 4, 24M: STLight 22.21, without its long skip 22.59, ConvMixer translator 26.53", "mnist32", "paper",
        ("paper", "convmixer", "one_kernel"), seeds=_HEADLINE,
    ),
    "improvements": Question(
        "c", "Which single changes improve the paper's design at equal cost?", "", "mnist32", "paper",
        ("paper", *_IMPROVEMENTS),
    ),
    "depth": Question(
        "a", "Are more blocks of the same width better?", "Figure 6, 1000 wide: 10 blocks 25.70, 16 23.33, 20 22.94",
        "mnist32", "depth_12", ("depth_12", "paper", "depth_4"), equal_cost=False,
    ),
    "width": Question(
        "a", "Is a medium depth the best at equal cost?",
        "Figure 6, about 33M: 12 blocks, 1600 wide 22.85; 16, 1400 wide 21.83; 28, 1000 wide 22.65", "mnist32", "paper",
        ("paper", "wide", "deep"),
    ),
    "rate": Question(
        "a", "Is a learning rate of 0.003 the best?", "Table 8: 0.0003 27.42, 0.001 22.28, 0.003 21.80, 0.01 38.47",
        "mnist32", "paper", ("paper", "rate_0.0003", "rate_0.001", "rate_0.01"),
    ),
    "initialisation": Question(
        "a", "Is the hybrid initialisation the best?",
        "Figure 8: hybrid 23.8 to 24.5, Kaiming-normal 25.0 to 28.4, default 35 to 79",
        "mnist32", "paper", ("paper", "kaiming", "torch_default"),
    ),
    "kernels": Question(
        "a", "Are kernels of 3 and 7 the best pair?",
        "Table 7: 3 and 3 24.16, 3 and 5 22.48, 3 and 7 22.33, 3 and 9 22.33, 5 and 5 22.67, 5 and 7 22.45, 7 and 7 22.88",
        "mnist32", "paper", ("paper", *(f"kernels_{pair}" for pair in ("3_3", "3_5", "3_9", "5_5", "5_7", "7_7"))),
        equal_cost=False,
    ),
    "overlap": Question(
        "a", "Are patches without overlap better for a small network?", "Figure 7, 800 wide, 18 blocks: 25.67, overlap 2 26.85",
        "mnist32", "paper", ("paper", "overlap_2"), equal_cost=False,
    ),
    "patch": Question(
        "a", "Are patches of 2 better at equal cost?", "Appendix B: patches of at most 2", "mnist32", "paper",
        ("paper", "patch_1", "patch_4"),
    ),
    "shuffle": Question(
        "a", "Does the shuffle before the 1x1 convolution make training steadier?",
        "Figure 9, standard deviation of the changes between epochs: 1.44 to 1.63, in the other order 1.5 to 4.6", "mnist32",
        "paper", ("paper", "pointwise_first"), measure="unsteadiness",
    ),
    "plus64": Question(
        "c", "Do several improvements together beat the paper's design on 64 x 64 frames?", "", "mnist64", "paper",
        ("paper", "plus_tiny", "plus_residual", "plus_scale"), seeds=_HEADLINE,
    ),
    **{
        task: Question(
            "c", f"Which changes improve the paper's design on {title}?", "", task, "paper",
            ("paper", *_ON_REAL_SETS, *further), seeds=_HEADLINE,
        )
        for task, title, further in (
            ("taxi", "taxi counts", ("periods", "loss_huber")), ("radar", "rain radar", ("flips",)),
            ("kth", "videos", ("flips",)),
        )
    },
}  # fmt: skip
