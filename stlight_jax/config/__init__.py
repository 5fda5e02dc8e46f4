"""The schema of a run's config: every key once, with its default, its range and its documentation."""

from typing import TYPE_CHECKING

from stlight_jax.deprecated import moved_function

if TYPE_CHECKING:
    from stlight_jax.config.run_config import RunConfig, base_config, check

__all__ = ["RunConfig", "base_config", "check"]


def __getattr__(name: str) -> object:
    """Imports `run_config` on first use of one of its names."""
    if name not in __all__:
        return moved_function(__name__, name)
    from stlight_jax.config import run_config

    return getattr(run_config, name)
