"""Reads the ONNX files that `export --format=onnx` writes, and runs them with ONNX Runtime, without JAX."""

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError
from stlight_jax.inference.trained_model import OnnxProgram, TrainedModel, described_network
from stlight_jax.model.context import plan_context
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.optional_packages import import_optional
from stlight_jax.storage import paths

NETWORK_INPUT, NETWORK_OUTPUT = "network_input", "network_output"  # in the network's range, NaN where values are missing


def require_packages(packages: Sequence[str] = ("onnx", "onnxruntime")) -> None:
    """Checks that packages of the extra `onnx` are installed.

    Raises:
      InputError: One of them is not, or cannot be imported.
    """
    for package in packages:
        import_optional(package, f"{package} is not installed; an ONNX file needs pip install 'stlight_jax[onnx]'")


def load(
    path: epath.PathLike, checkpoint: str = "best", compute_dtype: str | None = None, use_program: bool = True
) -> TrainedModel:
    """Loads the network of an ONNX file.

    Args:
      path: The file.
      checkpoint: As for `Forecaster.load`; a file has no choice.
      compute_dtype: As for `checkpoint`.
      use_program: As for `checkpoint`.

    Returns:
      The network without variables, which the file's constants contain, folded.

    Raises:
      InputError: The file does not exist, is damaged, or `export` did not write it; a package is not installed; or the other
        arguments ask for what a file does not have.
    """
    if (checkpoint, compute_dtype or "float32", use_program) != ("best", "float32", True):
        raise InputError(
            f"{path} holds one checkpoint for ONNX Runtime in float32; leave checkpoint, compute_dtype and use_program out, or "
            "name the run"
        )
    require_packages()
    import onnx

    model, config, description = _read(path)
    part = onnx.utils.Extractor(model).extract_model([NETWORK_INPUT], [NETWORK_OUTPUT])
    return TrainedModel(config, {}, description, str(path), OnnxProgram(part.SerializeToString()))


def read_description(path: epath.PathLike) -> dict[str, Any]:
    """Returns the description of the network of an ONNX file, see `TrainedModel`, without ONNX Runtime.

    Args:
      path: The file.

    Raises:
      InputError: As for `load`.
    """
    return _read(path)[2]


def _read(path: epath.PathLike) -> tuple[Any, STLightConfig, dict[str, Any]]:
    """Returns the `onnx.ModelProto` of a file, its network and the network's description."""
    require_packages(["onnx"])
    import onnx
    from google.protobuf.message import DecodeError

    paths.connect(path)
    try:
        stored = paths.read_bytes(os.path.expanduser(path))
        model = onnx.load_model_from_string(stored)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or one_line(error)}); expected an ONNX file") from None
    except DecodeError as error:
        raise InputError(f"{path} is damaged, or no ONNX file: {one_line(error)}; get a complete copy") from None
    if not stored:
        raise InputError(f"{path} is empty; get a complete copy")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if "stlight_jax" not in properties:
        raise InputError(f"{path} has no description of a network; expected a file of `stlight export --format=onnx`")
    try:
        content = json.loads(properties["stlight_jax"])
        config = described_network(path, content)
        description = content["description"]
    except InputError:  # a ValueError
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: its description is incomplete ({one_line(error)}); get a complete copy") from None
    if properties.get("sha256") != checksum(model, properties["stlight_jax"]):
        raise InputError(f"{path} is damaged, or was changed after its export: its checksum differs; get a complete copy")
    return model, config, description


def checksum(model: Any, description: str) -> str:
    """Returns the SHA-256 of the graph of an `onnx.ModelProto` and of the description of its network, which has the scaling."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True) + description.encode()).hexdigest()


class OnnxGraph:
    """Runs a whole file as other programs do: frames and predictions are in the data's units.

    Args:
      path: The file.
      config: The network.

    Attributes:
      dtype: Type of the frames that the file takes.
    """

    def __init__(self, path: epath.Path, config: STLightConfig):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        self._plan, self._context_frames = plan_context(config, config.out_frames), config.context_frames
        is_float = self._session.get_inputs()[0].type == "tensor(float)"
        self.dtype = np.dtype(np.float32 if is_float else np.uint8)

    def __call__(self, frames: np.ndarray, covariates: np.ndarray | None) -> np.ndarray:
        """Predicts T' frames.

        Args:
          frames: `[b, history + T, h, w, c]`.
          covariates: float32 `[b, history + T, h, w, n]`; None if the network has none.

        Returns:
          float32 `[b, T', h, w, c']`.
        """
        count, seen = self._context_frames, list(self._plan.passes[0])
        inputs = {"frames": frames[:, seen[count:]]}
        if count:
            inputs["context"] = frames[:, seen[:count]]
        if covariates is not None:
            inputs["covariates"] = covariates[:, seen]
        return self._session.run(["predictions"], inputs)[0]


class OnnxSession:
    """Runs one pass, `[b, context_frames + T, h, w, c] -> [b, T', h, w, c']` in the network's range, on the CPU.

    NaN marks missing values in the input. Any batch size, height and width are possible.

    Args:
      program: The network.
      source: Where it was loaded from, for messages.

    Attributes:
      dtype: Float type of the frames.

    Raises:
      InputError: ONNX Runtime cannot read the program.
    """

    def __init__(self, program: OnnxProgram, source: str):
        import onnxruntime

        self.dtype = np.dtype(np.float32)
        try:
            self._session = onnxruntime.InferenceSession(program.content, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has one class of errors for each status
            raise InputError(
                f"{source}: ONNX Runtime {onnxruntime.__version__} cannot read it ({one_line(error)}); install a newer one"
            ) from None

    def __len__(self) -> int:
        """Number of compiled programs."""
        return 1

    def compile(self, shape: tuple[int, ...]) -> None:
        """Does nothing: one program serves all shapes."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Runs one pass."""
        return self._session.run([NETWORK_OUTPUT], {NETWORK_INPUT: frames})[0]
