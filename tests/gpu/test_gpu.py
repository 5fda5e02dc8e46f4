"""The same numbers on an NVIDIA GPU as on a CPU: `make test-gpu`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from stlight_jax import STLight, STLightConfig
from stlight_jax.data.load import check_config, network_config
from stlight_jax.inference import trained
from stlight_jax.inference.export import export_model
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.ops.depthwise import depthwise_conv
from stlight_jax.model.stlight import init_variables
from stlight_jax.parallel.launchers import AXIS, LAUNCHERS
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import make_train_step
from tests.conftest import load_config
from tests.model.checks import check_depthwise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no NVIDIA GPU, or STLIGHT_TEST_PLATFORMS hides it"),
]

CASES = [
    # (kernel height, kernel width, dilation, height, width), channels
    ((7, 7, 3, 32, 32), 64),
    ((7, 7, 3, 10, 23), 40),
    ((5, 5, 3, 16, 16), 96),
    ((5, 5, 2, 7, 9), 3),
    ((3, 3, 1, 32, 32), 64),
    ((7, 7, 3, 2, 3), 16),  # fewer pixels than the dilation
]
NETWORK = STLightConfig(
    in_frames=4, out_frames=3, in_channels=1, out_channels=1, hidden_dim=64, depth=4, patch_size=2, near_kernel=3, far_kernel=7
)
FRAME = (32, 40, 1)


@pytest.fixture(scope="module")
def cpu():
    return jax.devices("cpu")[0]


@pytest.mark.parametrize("implementation", ["auto", "native", "phases", "portable"])
@pytest.mark.parametrize(("case", "channels"), CASES)
def test_depthwise_convolutions_equal_numpy(case, channels, implementation):
    check_depthwise(case, implementation, channels, lax.Precision.HIGHEST, in_any_order=True)


def test_auto_convolves_phases_there():
    compiled = jax.jit(functools.partial(depthwise_conv, dilation=3)).lower(jnp.ones((2, 9, 9, 16)), jnp.ones((7, 7, 1, 16)))
    assert "rhs_dilate" not in compiled.compile().as_text()


def run(launcher, config, steps=6):
    """Losses of a few steps on random frames, and the parameters after them."""
    optimizer = functools.partial(make_optimizer, load_config("tiny").optimizer)
    step = launcher.compile_train_step(make_train_step(STLight(config, AXIS), optimizer, AXIS))
    state = launcher.replicate(create_state(STLight(config), optimizer(), 0, FRAME))
    random = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        batch = random.integers(0, 256, (4, config.in_frames + config.out_frames, *FRAME), dtype=np.uint8)
        state, metrics = step(state, launcher.split(batch), Hyperparameters(np.float32(1e-3), np.float32(0.9)))
        losses.append(float(metrics["loss"]))
    return np.array(losses), jax.device_get(state.params)


@pytest.mark.parametrize("name", list(LAUNCHERS))
def test_a_training_is_that_of_a_cpu(name, cpu):
    launched = {device.platform: run(LAUNCHERS[name]([device]), NETWORK) for device in (jax.devices()[0], cpu)}
    (losses, parameters), (expected_losses, expected) = launched["gpu"], launched["cpu"]
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    apart, size = (
        np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree)))
        for tree in (jax.tree.map(np.subtract, parameters, expected), expected)
    )
    assert apart / size < 1e-4


def test_bfloat16_trains_there_as_float32_does():
    losses = {
        dtype: run(LAUNCHERS["pmap"](jax.devices()[:1]), dataclasses.replace(NETWORK, dtype=dtype), steps=20)[0]
        for dtype in ("float32", "bfloat16")
    }
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.03)
    assert losses["bfloat16"][-1] < 0.8 * losses["bfloat16"][0]


def test_the_shipped_network_and_its_export_predict_what_they_do_on_a_cpu(cpu):
    model = trained.load("tiny")
    frames = np.random.default_rng(0).integers(0, 256, (3, 10, 34, 47, 1), dtype=np.uint8)
    live = Forecaster(model)(frames, dtype="float32")
    file = Forecaster(export_model(model))(frames, dtype="float32")
    expected = Forecaster(model, device=cpu)(frames, dtype="float32")
    np.testing.assert_allclose(file / 255, live / 255, atol=1e-6)
    np.testing.assert_allclose(live / 255, expected / 255, atol=1e-5)


def test_a_published_network_predicts_there_what_it_does_on_a_cpu(cpu):
    config = network_config(check_config(load_config("XS")))
    frames = np.random.default_rng(0).random((1, 10, 64, 64, 1), np.float32)
    variables = init_variables(STLight(config), 0, (64, 64, 1))
    there, here = (np.asarray(Predictor(config, variables, device)(frames)) for device in (jax.devices()[0], cpu))
    np.testing.assert_allclose(there, here, atol=1e-5 * np.abs(here).max())
