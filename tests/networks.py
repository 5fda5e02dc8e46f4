"""Small trained networks."""

import dataclasses

import jax
import numpy as np
import pytest

from stlight_jax import STLight, STLightConfig
from stlight_jax.inference.trained_model import TrainedModel
from stlight_jax.model.stlight import init_variables


def trained_variables(config):
    """Random variables, running statistics included; nothing is compiled for them."""
    shapes = jax.eval_shape(lambda: init_variables(STLight(config), 0, (8, 12, config.in_channels)))
    generator = np.random.default_rng(0)
    return {
        "params": jax.tree.map(lambda x: generator.normal(0, 0.5, x.shape).astype(np.float32), shapes["params"]),
        "batch_stats": jax.tree.map(lambda x: generator.uniform(0.5, 1.5, x.shape).astype(np.float32), shapes["batch_stats"]),
    }


@pytest.fixture
def grey_config(small_model) -> STLightConfig:
    """3 -> 2 frames of one channel: such a network can be fed its own predictions."""
    return dataclasses.replace(small_model, in_channels=1, out_frames=2)


@pytest.fixture
def grey(grey_config) -> TrainedModel:
    """Trained on uint8."""
    description = {"scaling": {"dtype": "uint8", "low": [0.0], "high": [255.0], "filling": [0.25]}, "frame_size": [8, 12]}
    return TrainedModel(grey_config, trained_variables(grey_config), description, "the grey network")


@pytest.fixture
def fields(small_model) -> TrainedModel:
    """Two channels in, one out, each with a range of its own; 65535 is missing."""
    scaling = {"dtype": "uint16", "low": [100.0, 5.0], "high": [1100.0, 9.0], "missing": True, "fill": 65535.0}
    description = {"scaling": {**scaling, "filling": [0.5, 0.25]}}
    return TrainedModel(small_model, trained_variables(small_model), description, "the network of fields")
