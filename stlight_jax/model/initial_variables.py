"""Initial variables of a network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.model.stlight import STLight


def init_variables(model: STLight, seed: int, frame_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Fresh {"params", "batch_stats"}; the same on every process. Args: frame_shape `[h, w, c]`."""
    key, frames = jax.random.key(seed), jnp.zeros((1, model.config.in_frames, *frame_shape), jnp.float32)
    # Random numbers take long, straight code, which LLVM optimises for seconds and which runs once. (tiny, Zen 4: 4 s of
    # processor time instead of 10.) A jit within another one's trace takes no options.
    traced = isinstance(key, jax.core.Tracer)
    quickly = not traced and all(device.platform == "cpu" for device in key.devices())
    options = {"xla_backend_optimization_level": 1} if quickly else None
    return dict(jax.jit(model.init, compiler_options=options)(key, frames))
