"""Differences between two configs of a run, and between a run and a published recipe."""

from collections.abc import Iterator, Mapping
from typing import Any

from stlight_jax.config.run_config import SECTIONS, RunConfig
from stlight_jax.config.schema import MISSING, Key, Section


def course_differences(old: Mapping[str, Any], new: RunConfig) -> list[str]:
    """Lists the keys whose change would alter the course of training.

    Args:
      old: Config of the run's checkpoint as plain data; keys that it lacks take the values that it stands for.
      new: Config to resume with.

    Returns:
      Lines `KEY: OLD -> NEW`, sorted by key.
    """
    keys = {key.path: key for key in _keys(type(new.data))}
    sections = new.to_dict()
    before = {path: key.absent for path, key in keys.items() if key.absent is not MISSING}
    before |= _flat({name: section for name, section in old.items() if name in sections})
    after = _flat(sections)
    free = {path for path, key in keys.items() if key.resumable}
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
    sections: tuple[type[Section], ...] = (RunConfig, *SECTIONS, data)
    for section in sections:
        yield from section.keys().values()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
