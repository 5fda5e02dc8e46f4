"""STLight in JAX: predict the next frames of a sequence with nothing but convolutions."""

import importlib
from typing import TYPE_CHECKING

from stlight_jax.errors import InputError
from stlight_jax.version import __version__

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster
    from stlight_jax.inference.predictor import Predictor
    from stlight_jax.model.stlight import STLight, STLightConfig

__all__ = ["Forecaster", "InputError", "Predictor", "STLight", "STLightConfig", "__version__"]

_PLACES = {
    "Forecaster": "stlight_jax.inference.forecaster",
    "Predictor": "stlight_jax.inference.predictor",
    "STLight": "stlight_jax.model.stlight",
    "STLightConfig": "stlight_jax.model.stlight",
}


def __getattr__(name: str) -> object:
    """Imports what needs JAX when it is asked for: a command sets JAX up before, and `--help` does not wait for it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
