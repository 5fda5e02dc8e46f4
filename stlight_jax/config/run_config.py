"""The config of a run: its defaults, its typed, checked form, and its differences from another or a published one."""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any

import ml_collections

from stlight_jax.config import sections
from stlight_jax.config.schema import MISSING, Key, Section
from stlight_jax.errors import InputError


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
    model: sections.ModelSection
    optimizer: sections.OptimizerSection
    train: sections.TrainSection
    parallel: sections.ParallelSection
    evaluation: sections.EvaluationSection
    profile: sections.ProfileSection
    data: Any

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, as in `config.json` and in checkpoints."""
        return dataclasses.asdict(self)

    def to_config_dict(self) -> ml_collections.ConfigDict:
        """Returns the config as a file in `configs/` does, so that single keys can be replaced."""
        config = base_config(self.dataset, self.size, type(self.data))
        config.update(self.to_dict())
        return config


def base_config(
    dataset: str, size: str, data: type[Section] | None = None, sizes: Iterable[str] | None = None
) -> ml_collections.ConfigDict:
    """Makes the config that every file in `configs/` starts from.

    Args:
      dataset: Name of the data set.
      size: Name of the size, for titles.
      data: The data set's section; None to leave out the section `data`.
      sizes: Names of the sizes that the file has; None permits any.

    Returns:
      A config with all keys at their defaults.

    Raises:
      InputError: `size` is none of `sizes`.
    """
    if sizes is not None and size not in sizes:
        raise InputError(f"configs/{dataset}.py has no size {size!r}; choose one of {', '.join(sizes)}")
    config = ml_collections.ConfigDict({"dataset": dataset, "size": size})
    for section in (*sections.SECTIONS, *([] if data is None else [data])):
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
    declared: tuple[type[Section], ...] = (*sections.SECTIONS, data)
    checked: dict[str, Any] = {each.section_name: each.from_config(config.get(each.section_name)) for each in declared}
    return RunConfig(dataset=config["dataset"], size=config.get("size", ""), **checked)


def key_values(config: RunConfig) -> Iterator[tuple[Key, Any]]:
    """Yields every key of a config with its value, section by section."""
    values = _flat(config.to_dict())
    return ((key, values[key.path]) for key in _keys(type(config.data)))


def course_differences(old: Mapping[str, Any], new: RunConfig, ignored: Collection[str] = ()) -> list[str]:
    """Lists the keys whose change would alter the course of training.

    Args:
      old: Config of the run's checkpoint as plain data; keys that it lacks take the values that it stands for.
      new: Config to resume with.
      ignored: Keys that may change although they would alter it.

    Returns:
      Lines `KEY: OLD -> NEW`, sorted by key.
    """
    keys = {key.path: key for key in _keys(type(new.data))}
    changed = new.to_dict()
    before = {path: key.absent for path, key in keys.items() if key.absent is not MISSING}
    before |= _flat({name: section for name, section in old.items() if name in changed})
    after = _flat(changed)
    free = {path for path, key in keys.items() if key.resumable}.union(ignored)
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted((before.keys() | after.keys()) - free)
        if not _equal(before.get(path), after.get(path))
    ]


def recipe_differences(config: RunConfig, published: Mapping[str, Any]) -> list[str]:
    """Lists the keys of the training recipe that differ from the published ones and have an effect.

    Args:
      config: Config of the run.
      published: The published value of each key, such as `train.epochs`; other keys have their defaults.

    Returns:
      Lines `KEY: VALUE, published VALUE`.
    """
    used = _flat(config.to_dict())
    return [
        f"{key.path}: {used[key.path]!r}, published {wanted!r}"
        for key in _keys(type(config.data))
        if key.recipe
        and used[key.path] != (wanted := published.get(key.path, key.default))
        and (key.used_if is None or used[f"{key.section}.{key.used_if[0]}"] == key.used_if[1])
    ]


def _equal(a: Any, b: Any) -> bool:
    return a == b or (a != a and b != b)  # NaN equals NaN


def _keys(data: type[Section]) -> Iterator[Key]:
    declared: tuple[type[Section], ...] = (RunConfig, *sections.SECTIONS, data)
    return itertools.chain.from_iterable(section.keys().values() for section in declared)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
