"""The PyTorch reference, weights both ways, and the comparison. Only this package imports torch, and only where it must."""

from stlight_jax.torch_reference.weights import torch_from_variables, variables_from_torch

__all__ = ["torch_from_variables", "variables_from_torch"]
