"""The runs that answer the questions, in order of importance.

A run is a design, a task, a learning rate and a seed. Questions share runs: a design that two questions compare on the same
task is trained once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections

from benchmarks.study.designs import BASE, DESIGNS, LINEAR, NETWORKS, Design
from benchmarks.study.questions import QUESTIONS, Question
from benchmarks.study.tasks import TASKS
from stlight_jax.config import base_config
from stlight_jax.data.datasets.frames import Frames
from stlight_jax.data.datasets.moving_mnist import MovingMnist
from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLight

_VALIDATIONS, _LOSSES = 10, 40  # in a run


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
