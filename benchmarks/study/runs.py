"""The declared runs: every question, the designs that it compares, and the runs that answer it, in order of importance.

A run is a design, a task, a learning rate and a seed. Questions share runs: a design that two questions compare on the same
task is trained once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import ml_collections

from benchmarks.study import others, variants
from benchmarks.study.variants import variant
from stlight_jax.config import base_config
from stlight_jax.data.datasets.frames import Frames
from stlight_jax.data.datasets.moving_mnist import MovingMnist
from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLight
from stlight_jax.training.shortcut_choice import ShortcutAlone

PAPER_RATE = 3e-3  # the paper's learning rate for Moving MNIST, table 2
LINEAR = "linear"  # network without training: a ridge regression


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, and the length of a training on them.

    Attributes:
      title: For tables.
      dataset: "moving_mnist" or "frames".
      folder: Folder or file of the data, below the folder of all data.
      steps: Optimizer steps.
      keys: Config keys.
    """

    title: str
    dataset: Literal["moving_mnist", "frames"]
    folder: str
    steps: int
    keys: Mapping[str, Any]


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


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its evaluation.

    Attributes:
      name: Unique name, also of the record's file.
      design: Name in `DESIGNS`.
      task: Name in `TASKS`.
      rate: Peak learning rate.
      seed: Seed of the weights and of the order of the data.
    """

    name: str
    design: str
    task: str
    rate: float
    seed: int

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return round(TASKS[self.task].steps * DESIGNS[self.design].steps)

    @property
    def network(self) -> Callable[..., STLight]:
        """The network, of a shape and an axis."""
        return NETWORKS[DESIGNS[self.design].network]

    @property
    def is_trained(self) -> bool:
        """Whether the run trains; a linear regression is solved."""
        return DESIGNS[self.design].network != LINEAR

    def config(self, data: str, **further: Any) -> ml_collections.ConfigDict:
        """Makes the run's config.

        Args:
          data: Folder of all data.
          **further: Config keys by their path with underscores for dots, such as `train_steps`.
        """
        task = TASKS[self.task]
        section = MovingMnist.section if task.dataset == "moving_mnist" else Frames.section
        config = base_config(task.dataset, "study", section)
        keys = {**BASE, **task.keys, **DESIGNS[self.design].keys, "data.root": f"{data}/{task.folder}"}
        keys |= {"optimizer.learning_rate": self.rate, "train.seed": self.seed, "train.steps": self.steps}
        keys["train.checkpoint_every"] = max(1, -(-self.steps // _VALIDATIONS))
        keys["train.log_every"] = max(1, self.steps // _LOSSES)
        config.update_from_flattened_dict(keys | {key.replace("_", ".", 1): value for key, value in further.items()})
        return config


_VALIDATIONS, _LOSSES = 10, 40  # in a run

# The paper's design, at the study's size: all other keys have the paper's values.
BASE: dict[str, Any] = {
    "model.hidden_dim": 64, "model.depth": 8, "model.scan_unroll": 1, "train.tensorboard": False, "train.keep_checkpoints": 2,
    "evaluation.batch_size": 50, "evaluation.baselines": "inputs",
}  # fmt: skip

_SMALL = {"data.image_size": 32, "data.digit_size": 14}
_GENERATED = {"data.sequences_per_epoch": 1_600, "data.validation_sequences": 200, "data.test_sequences": 1_000}
_FRAMES = {
    "model.in_channels": 0, "model.out_channels": 0, "model.patch_size": 0, "data.validation_fraction": 0.0,
    "data.test_fraction": 0.0, "data.clip": "auto",
}  # fmt: skip
TASKS: dict[str, Task] = {
    "mnist32": Task("Moving MNIST, 32 x 32, 10 -> 10 frames", "moving_mnist", "mnist", 3_000, {**_SMALL, **_GENERATED}),
    "mnist64": Task("Moving MNIST, 64 x 64, 10 -> 10 frames", "moving_mnist", "mnist", 1_500, {**_GENERATED}),
    "taxi": Task(
        "TaxiNYC, 4 -> 4 hours", "frames", "taxinyc/taxinyc_2012_2014_16x8.npz", 2_000,
        {**_FRAMES, "model.in_frames": 4, "model.out_frames": 4, "data.stride": 1},
    ),
    "radar": Task(
        "KNMI rain radar, 6 -> 6 frames", "frames", "radar_knmi/knmi_5min_20100826.npz", 300,
        {
            **_FRAMES, "model.in_frames": 6, "model.out_frames": 6, "data.fill_value": 65535.0, "data.height": 104,
            "data.width": 104, "data.validation_fraction": 0.2, "data.test_fraction": 0.25, "train.batch_size": 8,
        },
    ),
    "kth": Task(
        "KTH clips, 10 -> 10 frames", "frames", "kth_openstl_clips", 600,
        {**_FRAMES, "data.height": 64, "data.width": 64, "train.batch_size": 8},
    ),
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


def runs_of(question: Question, design: str) -> Iterator[Run]:
    """Yields the runs of one design that a question needs."""
    found = DESIGNS[design]
    for seed in question.seeds if found.network != LINEAR else question.seeds[:1]:
        for rate in found.rates:
            # The design of the paper with another rate, and STLight with several, are one design.
            shared = next((name for name, each in DESIGNS.items() if _trains_alike(each, found, rate)), design)
            yield Run(f"{question.task}-{shared}-{rate:g}-seed{seed}", shared, question.task, rate, seed)


def _trains_alike(one: Design, other: Design, rate: float) -> bool:
    return (one.keys, one.network, one.steps) == (other.keys, other.network, other.steps) and rate in one.rates


@functools.cache
def all_runs() -> Mapping[str, Run]:
    """Returns all runs by name, in order of importance: for each question the first seed of all designs, then the others."""
    ordered: dict[str, Run] = {}
    for question in QUESTIONS.values():
        found = [run for design in question.designs for run in runs_of(question, design)]
        ordered |= {run.name: run for run in sorted(found, key=lambda run: run.seed) if run.name not in ordered}
    return ordered


def chosen_runs(names: Sequence[str]) -> list[Run]:
    """Returns the runs of some questions and some single runs, in order of importance.

    Args:
      names: Names of questions and of runs; empty for all runs.

    Raises:
      InputError: A name is neither.
    """
    runs = all_runs()
    for name in names:
        if name not in runs and name not in QUESTIONS:
            raise InputError(f"--only: no question or run {name!r}; choose among {', '.join(QUESTIONS)}, or a run of the page")
    asked = [QUESTIONS[name] for name in names if name in QUESTIONS]
    wanted = {run.name for question in asked for design in question.designs for run in runs_of(question, design)}
    return [run for run in runs.values() if not names or run.name in wanted or run.name in names]
