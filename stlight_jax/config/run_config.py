"""The config of a run: its defaults, and its typed, checked form."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import ml_collections

from stlight_jax.config.schema import Key, Section
from stlight_jax.config.sections import (
    EvaluationSection,
    ModelSection,
    OptimizerSection,
    ParallelSection,
    ProfileSection,
    TrainSection,
)

SECTIONS: tuple[type[Section], ...] = (
    TrainSection,
    ParallelSection,
    OptimizerSection,
    ModelSection,
    EvaluationSection,
    ProfileSection,
)


@dataclasses.dataclass(frozen=True)
class RunConfig(Section):
    """A checked config: its two keys outside of sections, and one frozen, typed record for each section.

    Attributes:
      dataset: Name of the data set.
      size: Name of the size, for titles.
      model: The network.
      optimizer: Adam and its schedule.
      train: The training loop.
      parallel: Training on several devices.
      evaluation: Validation and evaluation.
      profile: Traces by JAX's profiler.
      data: The data set's own section, of the type that its file declares.
    """

    dataset: Annotated[str, Key("Name of the data set.")]
    size: Annotated[str, Key("Name of the size, for titles.", resumable=True)]
    model: ModelSection
    optimizer: OptimizerSection
    train: TrainSection
    parallel: ParallelSection
    evaluation: EvaluationSection
    profile: ProfileSection
    data: Any

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, as in `config.json` and in checkpoints."""
        return dataclasses.asdict(self)


def base_config(dataset: str, size: str, data: type[Section] | None = None) -> ml_collections.ConfigDict:
    """Makes the config that every file in `configs/` starts from.

    Args:
      dataset: Name of the data set.
      size: Name of the size, for titles.
      data: The data set's section; None to leave out the section `data`.

    Returns:
      A config with all keys at their defaults.
    """
    config = ml_collections.ConfigDict({"dataset": dataset, "size": size})
    for section in (*SECTIONS, *([] if data is None else [data])):
        config[section.section_name] = section.default_config()
    return config


def check(config: Mapping[str, Any] | ml_collections.ConfigDict, data: type[Section]) -> RunConfig:
    """Checks every value that can be judged without data or devices.

    Args:
      config: As from `configs/` or from a checkpoint, which may be of an older version: keys that it lacks take the values
        that it stands for.
      data: The data set's section.

    Returns:
      The typed config. The argument is not changed.

    Raises:
      InputError: A section or a key is missing or unknown, or a value is not permitted. The message names the key, its value
        and the permitted values.
    """
    if isinstance(config, ml_collections.ConfigDict):
        config = config.copy_and_resolve_references().to_dict()
    declared: tuple[type[Section], ...] = (*SECTIONS, data)
    sections: dict[str, Any] = {
        section.section_name: section.from_config(config.get(section.section_name)) for section in declared
    }
    return RunConfig(dataset=config["dataset"], size=config.get("size", ""), **sections)
