"""The memory of programs, as users compile them."""

import dataclasses

import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.inference import export, trained
from stlight_jax.inference.trained_model import TrainedModel
from tests.networks import trained_variables


def bytes_of_programs(model, memory):
    """What XLA says that the programs take which the frames of a camera need."""
    forecaster = Forecaster(model, memory=memory)
    forecaster.warmup((2, model.config.in_frames, 480, 640, 1))
    return [program.memory_analysis().temp_size_in_bytes for program in forecaster._programs._compiled.values()]


def test_memory_bounds_every_program_where_frames_take_most(grey):
    (taken,) = bytes_of_programs(grey, 3 * 2**20)
    assert taken < 3 * 2**20


@pytest.mark.parametrize("shortcut", ["linear", "flow", "flow_linear"])
def test_memory_bounds_every_program_where_the_inputs_of_a_shortcut_take_most(shortcut, grey_config):
    config = dataclasses.replace(grey_config, in_frames=10, shortcut=shortcut, shortcut_scales=5)
    model = TrainedModel(config, trained_variables(config), {"scaling": {"low": [0.0], "high": [1.0], "dtype": "float32"}}, "")
    taken = bytes_of_programs(model, 64 * 2**20)
    assert max(taken) < 64 * 2**20


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "exported"])
def test_memory_bounds_every_program_where_the_patch_grid_takes_most(kind):
    """As of the network that ships: half of what is expected in bfloat16, two thirds in float32."""
    model = trained.load("tiny")
    if kind == "exported":
        model = export.export_model(model, ("cpu",))
    else:
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype=kind))
    (taken,) = bytes_of_programs(model, 64 * 2**20)
    assert taken < 64 * 2**20


@pytest.mark.parametrize("memory", ["2GB", True, None, 1000, float("nan")])
def test_impossible_memory_is_refused(grey, memory):
    with pytest.raises(InputError, match="memory is"):
        Forecaster(grey, memory=memory)
