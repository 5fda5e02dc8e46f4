"""Initial variables of a network."""

from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.model.stlight import STLight


def init_variables(model: STLight, seed: int, frame_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Makes the initial variables of a network; they are the same on every process.

    Args:
      model: The network.
      seed: Seed of the random weights.
      frame_shape: `[h, w, c]` of an input frame; the variables do not depend on h and w.

    Returns:
      {"params", "batch_stats"}.
    """
    key, frames = jax.random.key(seed), jnp.zeros((1, model.config.in_frames, *frame_shape), jnp.float32)
    # Random numbers compile to long, straight code, which LLVM optimises for seconds although it runs once. (tiny, Zen 4: 4 s
    # of processor time instead of 10.) A jit inside another trace takes no options.
    traced = isinstance(key, jax.core.Tracer)
    on_cpu = not traced and all(device.platform == "cpu" for device in key.devices())
    options = {"xla_backend_optimization_level": 1} if on_cpu else None
    return dict(jax.jit(model.init, compiler_options=options)(key, frames))
