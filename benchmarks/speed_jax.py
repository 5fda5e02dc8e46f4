"""The contestant of `speed.py` that is this project."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from speed_networks import PRECISIONS, fixed_frames, fixed_variables, sampled

from stlight_jax import STLight, STLightConfig
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.ops.layers import matmul
from stlight_jax.parallel.launchers import AXIS, PmapLauncher
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import TrainState, make_optimizer
from stlight_jax.training.step import make_train_step


class JaxContestant:
    """This project.

    Args:
      mode: `model.depthwise`.
      spec: an entry of `speed_networks.NETWORKS`, with "device" and "precision".
    """

    def __init__(self, mode: str, spec: dict[str, Any]):
        arithmetic = PRECISIONS[spec.get("precision", "float32")]
        self.config = STLightConfig(**spec["network"], **arithmetic, depthwise=mode, **spec.get("options", {}))
        self.batch, self.side, self.frames = spec["batch"], spec["side"], fixed_frames(spec)
        self.variables = fixed_variables(self.config)
        self.optimizer = ml_collections.ConfigDict({"beta2": 0.999, "eps": 1e-8, "clip_norm": 0.0, "weight_decay": 0.0})
        self.launcher = PmapLauncher(jax.local_devices()[:1])
        self.versions = {"python": sys.version.split()[0], "jax": jax.__version__, "device": jax.devices()[0].device_kind}

    def device_memory(self) -> dict[str, float] | None:
        """Returns the peak memory of the device; None if the device does not count it."""
        statistics = self.launcher.devices[0].memory_stats()
        return {"peak_mib": statistics["peak_bytes_in_use"] / 2**20} if statistics else None

    def build(self, task: str) -> Callable[[], None]:
        """Makes a call that returns when the device is done. `task` is a task of `speed_worker.py`."""
        if task == "train":
            latest = [self._state()]

            def call() -> None:
                latest[0], metrics = self._step(latest[0])
                jax.block_until_ready((latest[0], metrics))

            return call
        if task in ("throughput", "latency"):
            frames = jax.device_put(self._inputs[: self.batch if task == "throughput" else 1])
            return lambda: self._predict(frames).block_until_ready()
        return self._matmuls(training=task == "matmul_train")

    def numbers(self, task: str) -> dict[str, np.ndarray]:
        """Computes numbers of the program of a task, see `speed_networks.sampled`: train, throughput or latency."""
        if task != "train":
            return sampled({task: np.asarray(self._predict(self._inputs[: self.batch if task == "throughput" else 1]))})
        state, metrics = self._step(self._state())
        # After the first step, the first moment is the gradient times one minus beta1.
        gradients = jax.tree.map(lambda moment: np.asarray(moment) / np.float32(0.1), optax.tree.get(state.opt_state, "mu"))
        return sampled({"loss": metrics["loss"], "gradient": gradients, "statistics": state.batch_stats})

    @functools.cached_property
    def _inputs(self) -> np.ndarray:
        return (self.frames[:, : self.config.in_frames] / 255).astype(np.float32)

    @functools.cached_property
    def _predict(self) -> Callable[[Any], Any]:
        return Predictor(self.config, self.variables)

    def _state(self) -> Any:
        """Makes the state before the first step."""
        params, batch_stats = self.variables["params"], self.variables["batch_stats"]
        opt_state = jax.jit(make_optimizer(self.optimizer).init)(params)
        state = TrainState(np.zeros((), np.int32), params, batch_stats, opt_state)
        return self.launcher.replicate(state)

    @functools.cached_property
    def _step(self) -> Callable[[Any], Any]:
        optimizer = functools.partial(make_optimizer, self.optimizer)
        step = self.launcher.compile_train_step(make_train_step(STLight(self.config, AXIS), optimizer, AXIS))
        batch, rates = self.launcher.split(self.frames), Hyperparameters(np.float32(1e-3), np.float32(0.9))
        return lambda state: step(state, batch, rates)

    def _matmuls(self, training: bool) -> Callable[[], None]:
        """Makes the products of encoder, pointwise layers and reassembly, with both gradients for training."""
        c = self.config
        cells = self.batch * (self.side // c.patch_size) ** 2
        random = np.random.default_rng(0)
        shapes = {
            "patches": (cells, c.in_frames * c.in_channels * c.encoder_kernel**2),
            "encoder": (c.in_frames * c.in_channels * c.encoder_kernel**2, c.hidden_dim),
            "pointwise": (c.depth, c.hidden_dim, c.hidden_dim),
            "reassembly": (c.hidden_dim // c.patch_size**2, c.out_frames * c.out_channels),
        }
        arrays = {
            name: jnp.asarray(random.standard_normal(shape) / np.sqrt(shape[-2]), c.dtype) for name, shape in shapes.items()
        }
        precision = {"float32": "highest", "tensorfloat32": "high", "bfloat16": "default"}[c.precision]

        def product(x: Any, kernel: Any) -> Any:
            return matmul(x, kernel, precision)

        def forward(weights: dict[str, Any], patches: Any) -> Any:
            x = product(patches, weights["encoder"])
            x, _ = jax.lax.scan(lambda x, weight: (product(x, weight), None), x, weights["pointwise"])
            return product(x.reshape(cells * c.patch_size**2, -1), weights["reassembly"])

        patches = arrays.pop("patches")
        if not training:
            products = jax.jit(forward)
            return lambda: products(arrays, patches).block_until_ready()
        gradients = jax.jit(jax.grad(lambda weights, patches: jnp.sum(jnp.square(forward(weights, patches)))))
        return lambda: jax.block_until_ready(gradients(arrays, patches))
