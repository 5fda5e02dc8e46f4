"""STLight in PyTorch, weights in both directions, and the comparison of both frameworks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stlight_jax.torch_reference.weights import torch_from_variables, variables_from_torch

__all__ = ["torch_from_variables", "variables_from_torch"]


def __getattr__(name: str) -> object:
    """Imports the conversion, and JAX with it, on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stlight_jax.torch_reference import weights

    return getattr(weights, name)
