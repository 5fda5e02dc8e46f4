"""Small trained networks, frames with missing values, and ONNX Runtime by itself, for the tests of ONNX files."""

import numpy as np

from stlight_jax import STLightConfig
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference.trained_model import TrainedModel
from tests.networks import trained_variables

RAIN = Scaling("float32", (0.0,), (80.0,), missing=True, transform="log", offset=(0.1,), clip_low=(0.0,), clip_high=(60.0,))


def network(scaling=None, **changes):
    base = {"in_frames": 3, "out_frames": 2, "in_channels": 1, "out_channels": 1, "hidden_dim": 8, "depth": 3, "far_kernel": 3}
    config = STLightConfig(**{**base, "patch_size": 2, **changes})
    scaling = scaling or Scaling("float32", (200.0,), (300.0,), missing=True, filling=(0.25,))
    return TrainedModel(config, trained_variables(config), {"scaling": scaling.as_json()}, "the small network")


def with_gaps(frames):
    """Misses single values, and one pixel in all frames; frames are `[b, t, h, w, c]`."""
    frames = frames.astype(np.float32)
    frames[np.random.default_rng(1).random(frames.shape) < 0.2] = np.nan
    frames[0, :, 3, 2] = np.nan
    frames[1, 0, 1, 1, 0] = np.inf
    return frames


def by_runtime(content, **inputs):
    """The predictions by ONNX Runtime alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["predictions"], inputs)[0]
