"""STLight in JAX: predict the next frames of a sequence with nothing but convolutions."""

from stlight_jax.errors import InputError
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.version import __version__

__all__ = ["InputError", "Predictor", "STLight", "STLightConfig", "__version__"]
