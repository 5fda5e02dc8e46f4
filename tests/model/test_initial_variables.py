"""Initial variables: Flax's own to the bit, in the distributions that the paper names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import STLight, STLightConfig
from stlight_jax.data.load import check_config, network_config
from stlight_jax.model.stlight import init_variables
from tests.conftest import load_config, small_config


@pytest.mark.parametrize(
    ("size", "seed"),
    [("small", 0), *(pytest.param(*case, marks=pytest.mark.long) for case in (("tiny", 0), ("tiny", 2**32 - 1), ("XS", 0)))],
)
def test_initial_weights_are_those_of_flaxs_own_init_to_the_bit(size, seed):
    """The program is compiled with fewer optimisations, and a run begins with the same weights on every version."""
    config = small_config() if size == "small" else load_config(size)
    if size == "small":
        config.model.depth = 3  # blocks before, across and after the skip
    config.model.shortcut = "none"  # with another one, the pixels of a patch start with equal features
    model = STLight(network_config(check_config(config)))
    plainly = {"xla_backend_optimization_level": 3}  # whatever the value in XLA_FLAGS
    frames = jnp.zeros((1, model.config.in_frames, 8, 8, 1))
    expected = jax.jit(model.init, compiler_options=plainly)(jax.random.key(seed), frames)
    jax.tree.map(np.testing.assert_array_equal, init_variables(model, seed, (8, 8, 1)), dict(expected))


def test_initialisation_is_the_papers_hybrid():
    config = STLightConfig(in_frames=10, out_frames=10, in_channels=1, out_channels=1, hidden_dim=512, depth=6, patch_size=2)
    params = init_variables(STLight(config), 0, (8, 8, 1))["params"]
    # Kaiming-normal, fan_out, ReLU gain: sqrt(2 / fan_out), and a depthwise fan-out counts all channels, as in PyTorch.
    expected = {
        ("patch_encoder", "conv"): (2 / (512 * 2**2)) ** 0.5,
        ("mixers_across_skip", "near"): (2 / (512 * 3**2)) ** 0.5,
        ("mixers_across_skip", "far"): (2 / (512 * 7**2)) ** 0.5,
        ("mixers_across_skip", "pointwise"): (2 / 512) ** 0.5,
    }
    for (part, layer), deviation in expected.items():
        kernel = np.asarray(params[part][layer]["kernel"])
        assert kernel.std() == pytest.approx(deviation, rel=0.05)
        assert abs(kernel.mean()) < 5 * deviation / kernel.size**0.5
        assert not np.any(params[part][layer].get("bias", params[part].get("bias")))
    blocks = np.asarray(params["mixers_across_skip"]["pointwise"]["kernel"])
    assert not np.array_equal(blocks[0], blocks[1])
    # PyTorch's default: uniform within 1 / sqrt(fan_in), kernel and bias.
    last, bound = params["patch_reassembly"]["conv"], (512 / 4) ** -0.5
    for name in ("kernel", "bias"):
        values = np.asarray(last[name])
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.7 * bound
    assert np.asarray(last["kernel"]).std() == pytest.approx(bound / 3**0.5, rel=0.05)
