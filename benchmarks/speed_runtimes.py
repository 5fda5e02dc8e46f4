"""Contestants of `speed.py` that run the network as `export --format=onnx` writes it: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from speed_networks import fixed_frames, fixed_variables


class RuntimeContestant:
    """A runtime on all cores, for one shape of frames. It predicts only.

    Args:
      framework: "onnxruntime" or "openvino".
      spec: an entry of `speed_networks.NETWORKS`, with "precision".
    """

    def __init__(self, framework: str, spec: dict[str, Any]):
        from stlight_jax import STLightConfig
        from stlight_jax.inference.onnx_graph import make_onnx
        from stlight_jax.inference.trained_model import TrainedModel

        config = STLightConfig(**spec["network"])
        scaling = {"scaling": {"dtype": "float32", "low": [0.0], "high": [1.0]}}
        self._content = make_onnx(TrainedModel(config, fixed_variables(config), scaling))
        self._load = self._onnx_runtime if framework == "onnxruntime" else self._openvino
        self._precision = spec["precision"]
        self.frames = (fixed_frames(spec)[:, : config.in_frames] / 255).astype(np.float32)
        self.versions = {"python": sys.version.split()[0], framework: importlib.metadata.version(framework)}

    def device_memory(self) -> None:
        """Returns None, as for a CPU."""

    def build(self, task: str) -> Callable[[], np.ndarray]:
        """Makes a call that returns predictions. `task` is throughput or latency."""
        return self._load(self.frames[:1] if task == "latency" else self.frames)

    def _onnx_runtime(self, frames: np.ndarray) -> Callable[[], np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count()  # by default only one of the two threads of a core
        for name, side in zip(("batch", "height", "width"), (frames.shape[0], *frames.shape[2:4]), strict=True):
            options.add_free_dimension_override_by_name(name, side)
        session = onnxruntime.InferenceSession(self._content, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(["predictions"], {"frames": frames})[0]

    def _openvino(self, frames: np.ndarray) -> Callable[[], np.ndarray]:
        import openvino

        core = openvino.Core()
        model = core.read_model(self._content)
        model.reshape({"frames": list(frames.shape)})
        precision = {"float32": "f32", "bfloat16": "bf16"}[self._precision]
        # One request at a time on all cores, as of the other contestants.
        threads = {"INFERENCE_NUM_THREADS": os.cpu_count()}
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", **threads}
        compiled = core.compile_model(model, "CPU", settings)
        return lambda: compiled(frames)[0]
