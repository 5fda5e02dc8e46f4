"""STLight in JAX: predict the next frames of a sequence with nothing but convolutions."""

import importlib
from typing import TYPE_CHECKING

from stlight_jax import checkout, deprecated
from stlight_jax.errors import InputError
from stlight_jax.version import __version__

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster
    from stlight_jax.inference.predictor import Predictor
    from stlight_jax.model.stlight import STLight, STLightConfig

__all__ = ["Forecaster", "InputError", "Predictor", "STLight", "STLightConfig", "__version__"]

checkout.find_configs()
deprecated.find_moved_modules()

_MODULES = {
    "Forecaster": "stlight_jax.inference.forecaster",
    "Predictor": "stlight_jax.inference.predictor",
    "STLight": "stlight_jax.model.stlight",
    "STLightConfig": "stlight_jax.model.stlight",
}


def __getattr__(name: str) -> object:
    """Imports a class that needs JAX on first use: commands set up JAX before, and `--help` does not need it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
