"""STLight in JAX: predicts the next frames of a sequence with convolutions only."""

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
    """Imports a class on first use. All of them need JAX, whose import takes seconds that `stlight --help` must not take.

    Raises:
      AttributeError: if the package has no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
