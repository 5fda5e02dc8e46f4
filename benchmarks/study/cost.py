"""Multiply-accumulates of any network, from the convolutions and matrix products of its program."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.model.stlight import STLight, STLightConfig


def parameters(network: STLight, height: int, width: int) -> int:
    """Counts the parameters of a network.

    Args:
      network: The network.
      height: Height of the frames in pixels.
      width: Width of the frames in pixels.
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_variables(network, height, width)["params"]))


def multiply_accumulates(make: Callable[..., STLight], config: STLightConfig, height: int, width: int) -> int:
    """Counts the multiply-accumulates of a forecast, as `stlight inspect` does but without normalisation.

    Args:
      make: Makes the network from its shape.
      config: The network's shape.
      height: Height of the frames in pixels.
      width: Width of the frames in pixels.

    Returns:
      The count for one sequence.
    """
    network = make(dataclasses.replace(config, depthwise="native"))
    frames = jax.ShapeDtypeStruct((1, config.seen_frames, height, width, config.in_channels), jnp.float32)
    program = jax.make_jaxpr(network.apply)(_variables(network, height, width), frames)
    return sum(times * _products(equation) for equation, times in _equations(program.jaxpr, 1))


def _variables(network: STLight, height: int, width: int) -> Any:
    config = network.config
    frames = jax.ShapeDtypeStruct((1, config.seen_frames, height, width, config.in_channels), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), frames)


def _equations(program: Any, times: int) -> Iterator[tuple[Any, int]]:
    """Yields all equations of a program and of the programs within it, each with the number of times that it runs."""
    for equation in program.eqns:
        yield equation, times
        within = times * equation.params["length"] if equation.primitive.name == "scan" else times
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _equations(inner, within)


def _products(equation: Any) -> int:
    if equation.primitive.name not in ("dot_general", "conv_general_dilated"):
        return 0
    shapes = [value.aval.shape for value in equation.invars]
    outputs = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "dot_general":
        contracted = equation.params["dimension_numbers"][0][0]
        return outputs * math.prod(shapes[0][axis] for axis in contracted)
    rhs = equation.params["dimension_numbers"].rhs_spec  # (output features, input features, sides ...)
    return outputs * math.prod(shapes[1][axis] for axis in rhs[1:])
