"""A contestant of `speed.py`, in its own process: reads orders as JSON lines and answers with timings.

Orders: {"task": TASK, "prepare": true} builds and warms up; {"task": TASK, "seconds": S} times calls for about S seconds.
Tasks: train (forward, backward, Adam), throughput (forward, whole batch), latency (forward, batch 1), memory (of training: on
a CPU the growth of the peak resident size over ten steps, on a GPU the peak of allocated memory); JAX also matmul_inference and
matmul_train, the network's matrix products alone. The runtimes of `speed_runtimes.py` do throughput and latency only. Inputs
are on the device before the clock starts. {"task": "numbers", "of": [TASK, ...], "path": FILE} writes numbers that the programs
of train, throughput and latency compute, see `sampled`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import resource
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_FRAMES = {"in_frames": 10, "out_frames": 10, "in_channels": 1, "out_channels": 1, "patch_size": 2, "near_kernel": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "network": {**_FRAMES, "hidden_dim": 96, "depth": 6, "far_kernel": 5},
        "side": 32,
        "batch": 8,
        "options": {"scan_unroll": 6},
    },
    "d96": {"network": {**_FRAMES, "hidden_dim": 96, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
    "d256": {"network": {**_FRAMES, "hidden_dim": 256, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 4},
    "d544": {"network": {**_FRAMES, "hidden_dim": 544, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
    "XS": {"network": {**_FRAMES, "hidden_dim": 800, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 2},
    "L": {"network": {**_FRAMES, "hidden_dim": 1400, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
    "toy": {"network": {**_FRAMES, "hidden_dim": 16, "depth": 3, "far_kernel": 5}, "side": 32, "batch": 2},  # for tests
}
# Names shared by both frameworks: model.dtype and model.precision in JAX, switches in PyTorch.
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32", "precision": "float32"},
    "tensorfloat32": {"dtype": "float32", "precision": "tensorfloat32"},
    "bfloat16": {"dtype": "bfloat16", "precision": "bfloat16"},
}
# Large pages for large arrays save a tenth of a training step on a CPU; PyTorch gets them, too. All contestants share a GPU.
ENVIRONMENTS = {
    "cpu": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "JAX_PLATFORMS": "cpu"},
    "gpu": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PLATFORMS": "cuda"},
}
_SLOW_SECONDS = 60.0  # a longer first call is not repeated to warm up
ROOT = pathlib.Path(__file__).parent.parent


def main() -> None:
    """Serves orders until standard input ends. Arguments: framework, mode, network and frames as JSON."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    framework, mode, spec = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    contestant = _contestant(framework, mode, spec)
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
        elif task == "numbers":
            numbers = [contestant.numbers(each) for each in order["of"]]
            np.savez(order["path"], **{name: values for found in numbers for name, values in found.items()})
            answer = {}
        else:
            answer = {"seconds": _timed(ready[task], order["seconds"])}
        print(json.dumps(answer), flush=True)


def _contestant(framework: str, mode: str, spec: dict[str, Any]) -> Any:
    if framework == "jax":
        return JaxContestant(mode, spec)
    if framework == "torch":
        return TorchContestant(mode, spec)
    from speed_runtimes import RuntimeContestant

    return RuntimeContestant(framework, spec)


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


class Contestant:
    """A worker process, seen from the program that gives the orders.

    Args:
      name: framework and mode, such as "jax:auto".
      spec: an entry of `NETWORKS`, with "device" and "precision".
      python: Python interpreter.
      environment: variables of the process, in addition to the present ones.
    """

    def __init__(self, name: str, spec: dict[str, Any], python: str, environment: Mapping[str, str]):
        framework, _, mode = name.partition(":")
        command = [python, __file__, framework, mode, json.dumps(spec)]
        pipe = subprocess.PIPE
        self.name = name
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | dict(environment))

    def order(self, seconds_to_answer: float | None = None, **order: Any) -> dict[str, Any]:
        """Sends an order and returns its answer.

        Args:
          seconds_to_answer: time after which the process is ended; None to wait as long as it takes.
          **order: the order.

        Raises:
          ChildProcessError: the process has stopped.
        """
        timer = threading.Timer(seconds_to_answer or 0, self._process.kill)
        if seconds_to_answer is not None:
            timer.start()
        answer = ""
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass  # it has stopped, as below
        finally:
            timer.cancel()
        if not answer:
            raise ChildProcessError(f"{self.name} stopped with status {self._process.wait()}")
        time.sleep(0.3)  # until its threads sleep
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        self._process.wait()


def fixed_variables(config: Any) -> dict[str, Any]:
    """Makes weights that depend on their names only, so that all frameworks, versions and devices have the same.

    GELUs see mostly positive values and pointwise kernels are near the identity. With initial weights, rounding to bfloat16
    changes the gradients of 16 blocks by half: batch norms without a residual path make the network chaotic.

    Args:
      config: the network, an `STLightConfig`.

    Returns:
      {"params", "batch_stats"}, float32 NumPy arrays.
    """
    import jax

    from stlight_jax.torch_reference.weights import variable_shapes

    means = {"scale": 1.0, "var": 1.0}

    def make(path: Any, leaf: Any) -> np.ndarray:
        layer, name = path[-2].key, path[-1].key
        random = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
        if name == "kernel":
            fan_in = np.prod(leaf.shape[-4:-1]) if leaf.ndim >= 4 else leaf.shape[-2]
            kernel = random.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(fan_in))
            return np.eye(leaf.shape[-1], dtype=np.float32) + kernel / 2 if layer == "pointwise" else kernel
        mean = 1.5 if layer.endswith("norm") and name in ("bias", "mean") else means.get(name, 0.0)
        return np.float32(mean) + random.uniform(-0.1, 0.1, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(make, variable_shapes(config))


def fixed_frames(spec: Mapping[str, Any]) -> np.ndarray:
    """Makes a batch of random squares that move, uint8 `[b, T + T', h, w, c]`.

    The gradients of frames without any structure would be sums that cancel.

    Args:
      spec: an entry of `NETWORKS`.
    """
    network, side = spec["network"], spec["side"]
    squares = np.random.default_rng(0).integers(0, 256, (spec["batch"], side // 8, side // 8, network["in_channels"]), np.uint8)
    still = squares.repeat(8, 1).repeat(8, 2)  # [b, h, w, c]
    return np.stack([np.roll(still, time, (1, 2)) for time in range(network["in_frames"] + network["out_frames"])], 1)


def sampled(trees: dict[str, Any], most: int = 512) -> dict[str, np.ndarray]:
    """Chooses values of arrays.

    Args:
      trees: name -> array, or nested dicts of arrays.
      most: values of an array, at most; the same places in every call.

    Returns:
      Path of each array -> its values.
    """
    import jax

    chosen = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        values = np.asarray(leaf).reshape(-1)
        places = np.sort(np.random.default_rng(1).choice(values.size, min(values.size, most), replace=False))
        chosen["/".join(key.key for key in path)] = values[places]
    return chosen


class JaxContestant:
    """This project.

    Args:
      mode: `model.depthwise`.
      spec: an entry of `NETWORKS`, with "device" and "precision".
    """

    def __init__(self, mode: str, spec: dict[str, Any]):
        import jax
        import ml_collections

        from stlight_jax import STLightConfig
        from stlight_jax.parallel.launchers import PmapLauncher

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
        """Makes a call that returns when the device is done. `task` is one of the module's tasks."""
        import jax

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
        """Computes numbers of the program of a task, see `sampled`: train, throughput or latency."""
        import jax
        import optax

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
        from stlight_jax.inference.predictor import Predictor

        return Predictor(self.config, self.variables)

    def _state(self) -> Any:
        """Makes the state before the first step."""
        import jax

        from stlight_jax.training.state import TrainState, make_optimizer

        params, batch_stats = self.variables["params"], self.variables["batch_stats"]
        opt_state = jax.jit(make_optimizer(self.optimizer).init)(params)
        state = TrainState(np.zeros((), np.int32), params, batch_stats, opt_state)
        return self.launcher.replicate(state)

    @functools.cached_property
    def _step(self) -> Callable[[Any], Any]:
        from stlight_jax import STLight
        from stlight_jax.parallel.launchers import AXIS
        from stlight_jax.training.schedule import Hyperparameters
        from stlight_jax.training.state import make_optimizer
        from stlight_jax.training.step import make_train_step

        optimizer = functools.partial(make_optimizer, self.optimizer)
        step = self.launcher.compile_train_step(make_train_step(STLight(self.config, AXIS), optimizer, AXIS))
        batch, rates = self.launcher.split(self.frames), Hyperparameters(np.float32(1e-3), np.float32(0.9))
        return lambda state: step(state, batch, rates)

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
      mode: "eager", "channels_last", "compile" or "max-autotune".
      spec: an entry of `NETWORKS`, with "device" and "precision".
    """

    def __init__(self, mode: str, spec: dict[str, Any]):
        import torch

        self.device = torch.device("cuda" if spec["device"] == "gpu" else "cpu")
        self.autocast = functools.partial(
            torch.autocast, self.device.type, torch.bfloat16, enabled=spec["precision"] == "bfloat16"
        )
        for switch in (torch.backends.cuda.matmul, torch.backends.cudnn):
            switch.allow_tf32 = spec["precision"] != "float32"
        torch.backends.cudnn.benchmark = True  # tries several algorithms, as XLA does

        sys.path.append(str(ROOT / "stlight_jax" / "torch_reference"))  # an interpreter with PyTorch may have no JAX
        import network

        torch.manual_seed(0)
        self.batch, self.network, self.frames = spec["batch"], spec["network"], fixed_frames(spec)
        self.model = network.STLight(network.NetworkConfig(**spec["network"])).to(self.device)
        if mode == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)
        # On a GPU with CUDA graphs, which remove the overhead of calls, as in XLA.
        modes = {"compile": "reduce-overhead" if self.device.type == "cuda" else "default", "max-autotune": "max-autotune"}
        self.called = torch.compile(self.model, mode=modes[mode]) if mode in modes else self.model
        # The fused form of Adam is the fastest of PyTorch's.
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)
        self.versions = {"python": sys.version.split()[0], "torch": torch.__version__, "threads": torch.get_num_threads()}

    def device_memory(self) -> dict[str, float] | None:
        """Returns the peak memory of a GPU; None on a CPU."""
        import torch

        return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20} if self.device.type == "cuda" else None

    def build(self, task: str) -> Callable[[], None]:
        """Makes a call that returns when the device is done. `task` is one of the module's tasks."""
        import torch

        done = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        inputs, targets = self._tensors(1 if task == "latency" else self.batch)
        compute = (
            functools.partial(self._step, inputs, targets) if task == "train" else functools.partial(self._predict, inputs)
        )

        def call() -> None:
            compute()
            done()

        return call

    def numbers(self, task: str) -> dict[str, np.ndarray]:
        """Computes numbers of the program of a task, see `sampled`: train, throughput or latency; needs JAX."""
        from stlight_jax import STLightConfig
        from stlight_jax.torch_reference.weights import stacked_variables, torch_from_variables

        config = STLightConfig(**self.network)
        self.model.load_state_dict(torch_from_variables(config, fixed_variables(config)))
        inputs, targets = self._tensors(1 if task == "latency" else self.batch)
        if task != "train":
            predicted = self._predict(inputs).float().cpu().numpy()  # [b, t, c, h, w]
            return sampled({task: predicted.transpose(0, 1, 3, 4, 2)})
        loss = float(self._step(inputs, targets))
        gradients = {name: parameter.grad for name, parameter in self.model.named_parameters()}
        found = stacked_variables(config, self.model.state_dict() | gradients)
        return sampled({"loss": loss, "gradient": found["params"], "statistics": found["batch_stats"]})

    def _tensors(self, batch: int) -> tuple[Any, Any]:
        """Returns inputs and targets on the device, `[b, t, c, h, w]` each."""
        import torch

        frames = torch.from_numpy(self.frames[:batch].transpose(0, 1, 4, 2, 3) / np.float32(255)).to(self.device)
        return frames[:, : self.network["in_frames"]].contiguous(), frames[:, self.network["in_frames"] :].contiguous()

    def _predict(self, inputs: Any) -> Any:
        import torch

        self.model.eval()
        with torch.inference_mode(), self.autocast():
            return self.called(inputs)

    def _step(self, inputs: Any, targets: Any) -> Any:
        import torch.nn.functional as F

        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = F.mse_loss(self.called(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


if __name__ == "__main__":
    main()
