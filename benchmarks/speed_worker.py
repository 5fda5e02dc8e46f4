"""A contestant of `speed.py`, in its own process: reads orders as JSON lines and answers with timings.

Orders: {"task": TASK, "prepare": true} builds and warms up; {"task": TASK, "seconds": S} times calls for about S seconds.
Tasks: train (forward, backward, Adam), throughput (forward, whole batch), latency (forward, batch 1), memory (of training: on
a CPU the growth of the peak resident size over ten steps, on a GPU the peak of allocated memory); JAX also matmul_inference and
matmul_train, the network's matrix products alone. Inputs are on the device before the clock starts.
"""

from __future__ import annotations

import functools
import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_FRAMES = {"in_frames": 10, "out_frames": 10, "in_channels": 1, "out_channels": 1, "patch_size": 2, "near_kernel": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {"network": {**_FRAMES, "hidden_dim": 96, "depth": 6, "far_kernel": 5}, "side": 32, "batch": 8, "scan_unroll": 6},
    "d256": {"network": {**_FRAMES, "hidden_dim": 256, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 4},
    "XS": {"network": {**_FRAMES, "hidden_dim": 800, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 2},
    "L": {"network": {**_FRAMES, "hidden_dim": 1400, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
}
# Names shared by both frameworks: model.dtype and model.precision in JAX, switches in PyTorch.
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32", "precision": "float32"},
    "tensorfloat32": {"dtype": "float32", "precision": "tensorfloat32"},
    "bfloat16": {"dtype": "bfloat16", "precision": "bfloat16"},
}
_SLOW_SECONDS = 60.0  # a longer first call is not repeated to warm up
ROOT = pathlib.Path(__file__).parent.parent


def main() -> None:
    """Serves orders until standard input ends. Arguments: framework, mode, network and frames as JSON."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    framework, mode, spec = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    contestant = JaxContestant(mode, spec) if framework == "jax" else TorchContestant(mode, spec)
    ready: dict[str, Callable[[], None]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        task = order["task"]
        if order.get("prepare"):
            begun = time.perf_counter()
            ready[task] = contestant.build(task)
            ready[task]()
            first = time.perf_counter() - begun
            if first < _SLOW_SECONDS:
                ready[task]()
                ready[task]()
            answer: dict[str, Any] = {"first_call_seconds": first, "versions": contestant.versions}
        elif task == "memory":
            answer = contestant.device_memory() or {"growth_mib": _memory_growth(ready["train"]), "peak_mib": _peak_mib()}
        else:
            answer = {"seconds": _timed(ready[task], order["seconds"])}
        print(json.dumps(answer), flush=True)


def _timed(call: Callable[[], None], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _memory_growth(step: Callable[[], None]) -> float:
    before = _peak_mib()
    for _ in range(10):
        step()
    return _peak_mib() - before


class JaxContestant:
    """This project.

    Args:
      mode: `model.depthwise`.
      spec: an entry of `NETWORKS`, with "device" and "precision".
    """

    def __init__(self, mode: str, spec: dict[str, Any]):
        import jax
        import ml_collections

        from stlight_jax import STLight, STLightConfig
        from stlight_jax.parallel.launchers import PmapLauncher

        arithmetic = PRECISIONS[spec.get("precision", "float32")]
        self.config = STLightConfig(**spec["network"], **arithmetic, depthwise=mode, scan_unroll=spec.get("scan_unroll", 1))
        self.model, self.side, self.batch = STLight(self.config), spec["side"], spec["batch"]
        self.optimizer = ml_collections.ConfigDict({"beta2": 0.999, "eps": 1e-8, "clip_norm": 0.0, "weight_decay": 0.0})
        self.launcher = PmapLauncher(jax.local_devices()[:1])
        self.versions = {"python": sys.version.split()[0], "jax": jax.__version__, "device": jax.devices()[0].device_kind}

    def device_memory(self) -> dict[str, float] | None:
        """Returns the peak memory of the device; None if the device does not count it."""
        statistics = self.launcher.devices[0].memory_stats()
        return {"peak_mib": statistics["peak_bytes_in_use"] / 2**20} if statistics else None

    def build(self, task: str) -> Callable[[], None]:
        """Makes a call that returns when the device is done. `task` is one of the module's tasks."""
        if task == "train":
            return self._train()
        if task in ("throughput", "latency"):
            return self._forward(self.batch if task == "throughput" else 1)
        return self._matmuls(training=task == "matmul_train")

    def _forward(self, batch: int) -> Callable[[], None]:
        import jax

        from stlight_jax.inference.predictor import Predictor
        from stlight_jax.model.stlight import init_variables

        shape = (self.side, self.side, self.config.in_channels)
        predict = Predictor(self.config, init_variables(self.model, 0, shape))
        frames = np.random.default_rng(0).random((batch, self.config.in_frames, *shape), np.float32)
        frames = jax.device_put(frames)
        return lambda: predict(frames).block_until_ready()

    def _train(self) -> Callable[[], None]:
        import jax

        from stlight_jax import STLight
        from stlight_jax.parallel.launchers import AXIS
        from stlight_jax.training.schedule import Hyperparameters
        from stlight_jax.training.state import create_state, make_optimizer
        from stlight_jax.training.step import make_train_step

        optimizer = functools.partial(make_optimizer, self.optimizer)
        step = self.launcher.compile_train_step(make_train_step(STLight(self.config, AXIS), optimizer, AXIS))
        frame = (self.side, self.side, self.config.in_channels)
        state = self.launcher.replicate(create_state(self.model, optimizer(), 0, frame))
        length = self.config.in_frames + self.config.out_frames
        batch = self.launcher.split(np.random.default_rng(0).integers(0, 256, (self.batch, length, *frame), dtype=np.uint8))
        rates = Hyperparameters(np.float32(1e-3), np.float32(0.9))

        latest = [state]

        def call() -> None:
            latest[0], metrics = step(latest[0], batch, rates)
            jax.block_until_ready((latest[0], metrics))

        return call

    def _matmuls(self, training: bool) -> Callable[[], None]:
        """Makes the products of encoder, pointwise layers and reassembly, with both gradients for training."""
        import jax
        import jax.numpy as jnp

        from stlight_jax.model.ops.layers import matmul

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


class TorchContestant:
    """The PyTorch reference.

    Args:
      mode: "eager", "channels_last" or "compile".
      spec: an entry of `NETWORKS`, with "device" and "precision".
    """

    def __init__(self, mode: str, spec: dict[str, Any]):
        import torch

        self.device = torch.device("cuda" if spec["device"] == "gpu" else "cpu")
        self.autocast = functools.partial(torch.autocast, "cuda", torch.bfloat16, enabled=spec["precision"] == "bfloat16")
        for switch in (torch.backends.cuda.matmul, torch.backends.cudnn):
            switch.allow_tf32 = spec["precision"] != "float32"
        torch.backends.cudnn.benchmark = True  # tries several algorithms, as XLA does

        sys.path.append(str(ROOT / "stlight_jax" / "torch_reference"))  # an interpreter with PyTorch may have no JAX
        import network

        torch.manual_seed(0)
        self.mode, self.side, self.batch = mode, spec["side"], spec["batch"]
        self.model = network.STLight(network.NetworkConfig(**spec["network"])).to(self.device)
        self.network = spec["network"]
        if mode == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)
        # On a GPU with CUDA graphs, which remove the overhead of calls, as in XLA.
        options = {"mode": "reduce-overhead"} if self.device.type == "cuda" else {}
        self.called = torch.compile(self.model, **options) if mode == "compile" else self.model
        self.versions = {"python": sys.version.split()[0], "torch": torch.__version__, "threads": torch.get_num_threads()}

    def device_memory(self) -> dict[str, float] | None:
        """Returns the peak memory of a GPU; None on a CPU."""
        import torch

        return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20} if self.device.type == "cuda" else None

    def build(self, task: str) -> Callable[[], None]:
        """Makes a call that returns when the device is done. `task` is one of the module's tasks."""
        import torch
        import torch.nn.functional as F

        done = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        batch = 1 if task == "latency" else self.batch

        def random_frames(time: str, channels: str) -> torch.Tensor:
            return torch.rand(batch, self.network[time], self.network[channels], self.side, self.side, device=self.device)

        inputs = random_frames("in_frames", "in_channels")
        if task != "train":
            model, called = self.model, self.called

            def forward() -> None:
                model.eval()
                with torch.inference_mode(), self.autocast():
                    called(inputs)
                done()

            return forward
        targets = random_frames("out_frames", "out_channels")
        # The fused form of Adam is the fastest of PyTorch's.
        optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)

        def step() -> None:
            self.model.train()
            optimizer.zero_grad(set_to_none=True)
            with self.autocast():
                loss = F.mse_loss(self.called(inputs), targets)
            loss.backward()
            optimizer.step()
            done()

        return step


if __name__ == "__main__":
    main()
