"""The contestant of `speed.py` that is the PyTorch reference. Its interpreter may have no JAX, which `numbers` alone needs."""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from speed_networks import fixed_frames, fixed_variables, sampled

_REFERENCE = pathlib.Path(__file__).parent.parent / "stlight_jax" / "torch_reference"


class TorchContestant:
    """The PyTorch reference.

    Args:
      mode: "eager", "channels_last", "compile" or "max-autotune".
      spec: an entry of `speed_networks.NETWORKS`, with "device" and "precision".
    """

    def __init__(self, mode: str, spec: dict[str, Any]):
        self.device = torch.device("cuda" if spec["device"] == "gpu" else "cpu")
        self.autocast = functools.partial(
            torch.autocast, self.device.type, torch.bfloat16, enabled=spec["precision"] == "bfloat16"
        )
        for switch in (torch.backends.cuda.matmul, torch.backends.cudnn):
            switch.allow_tf32 = spec["precision"] != "float32"
        torch.backends.cudnn.benchmark = True  # tries several algorithms, as XLA does

        sys.path.append(str(_REFERENCE))  # an interpreter with PyTorch may have no JAX
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
        return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20} if self.device.type == "cuda" else None

    def build(self, task: str) -> Callable[[], None]:
        """Makes a call that returns when the device is done. `task` is a task of `speed_worker.py`."""
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
        """Computes numbers of the program of a task, see `speed_networks.sampled`: train, throughput or latency; needs JAX."""
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
        frames = torch.from_numpy(self.frames[:batch].transpose(0, 1, 4, 2, 3) / np.float32(255)).to(self.device)
        return frames[:, : self.network["in_frames"]].contiguous(), frames[:, self.network["in_frames"] :].contiguous()

    def _predict(self, inputs: Any) -> Any:
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            return self.called(inputs)

    def _step(self, inputs: Any, targets: Any) -> Any:
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = F.mse_loss(self.called(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
