"""The schema of a run's config: every key once, with its default, its range and its documentation."""

import importlib
from typing import TYPE_CHECKING

from stlight_jax.deprecated import moved_function

if TYPE_CHECKING:
    from stlight_jax.config.differences import course_differences, recipe_differences
    from stlight_jax.config.run_config import RunConfig, base_config, check
    from stlight_jax.config.schema import Key, Section

__all__ = ["Key", "RunConfig", "Section", "base_config", "check", "course_differences", "recipe_differences"]

_MODULES = {
    "Key": "schema",
    "RunConfig": "run_config",
    "Section": "schema",
    "base_config": "run_config",
    "check": "run_config",
    "course_differences": "differences",
    "recipe_differences": "differences",
}


def __getattr__(name: str) -> object:
    """Imports the module of a public name on first use."""
    if name not in _MODULES:
        return moved_function(__name__, name)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
