"""Frames that repeat every 24 sampling steps, and a network whose linear shortcut copies them from one period earlier."""

import dataclasses

import jax
import numpy as np

from stlight_jax import STLight, STLightConfig
from stlight_jax.inference.trained_model import TrainedModel
from stlight_jax.model.stlight import init_variables

PERIOD = 24
_TABLE = np.random.default_rng(0).integers(0, 256, (PERIOD, 8, 6, 1), dtype=np.uint8)
CONFIG = STLightConfig(
    in_frames=3, out_frames=2, in_channels=1, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3,
    shortcut="linear", periods=(PERIOD,),
)  # fmt: skip
BYTES = {"dtype": "uint8", "low": [0.0], "high": [255.0]}


def frames_at(times):
    """uint8 `[t, 8, 6, 1]`."""
    return _TABLE[np.asarray(times) % PERIOD]


def copying(config=CONFIG, **description):
    """A network that adds nothing to its shortcut, which copies the context frames of the first period."""
    shapes = jax.eval_shape(lambda: init_variables(STLight(config), 0, (2, 2, config.in_channels)))
    generator = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: generator.uniform(0.1, 0.5, x.shape).astype(np.float32), shapes)
    for leaf in variables["params"]["patch_reassembly"]["conv"].values():
        leaf[...] = 0
    linear = variables["params"]["shortcut"]["linear"]
    linear["kernel"][...] = np.eye(*linear["kernel"].shape, k=-1)  # the first context frame is that of the last input frame
    linear["bias"][...] = 0
    return TrainedModel(config, variables, {"scaling": BYTES, "frame_size": [8, 6], **description}, "the copying network")


def with_step(frame_step, period=PERIOD):
    return dataclasses.replace(CONFIG, frame_step=frame_step, periods=(period,))
