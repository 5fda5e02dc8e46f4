"""The PyTorch reference: the paper's counts by an independent counter, and its initialisation."""

import math

import numpy as np
import pytest

from stlight_jax import STLight as JaxSTLight
from stlight_jax import STLightConfig
from stlight_jax.model.count import count
from stlight_jax.model.stlight import init_variables
from stlight_jax.torch_reference.weights import network_arguments, torch_network
from tests.conftest import load_config
from tests.model.test_count import ROWS, name_of, network_of
from tests.networks import trained_variables

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
from stlight_jax.torch_reference.network import NetworkConfig, STLight  # noqa: E402


def counted_by_fvcore(model, config, height, width):
    from fvcore.nn import FlopCountAnalysis

    frames = torch.ones(1, config.in_frames, config.in_channels, height, width)
    return FlopCountAnalysis(model, frames).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_parameters_and_both_countings_equal_ours(row):
    config, height, width = network_of(row)
    ours = count(config, height, width).total
    model = STLight(NetworkConfig(**network_arguments(config))).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == ours.parameters
    # fvcore passes over convolutions whose padding is given as "same", and so do the paper's numbers.
    assert counted_by_fvcore(model, config, height, width) == ours.paper
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.padding == "same":
            sides = zip(module.dilation, module.kernel_size, strict=True)
            module.padding = tuple(dilation * (side - 1) // 2 for dilation, side in sides)
    assert counted_by_fvcore(model, config, height, width) == ours.true


def test_initialisation_is_the_hybrid_one():
    torch.manual_seed(0)
    config = STLightConfig(**load_config("XS").model)
    state = STLight(NetworkConfig(**{**network_arguments(config), "depth": 2})).state_dict()
    d, p = config.hidden_dim, config.patch_size
    for name, fan_out in (
        ("patch_encoder.conv", d * p**2),
        ("mixers.1.near", d * 9),  # PyTorch counts all output channels of a depthwise kernel
        ("mixers.1.far", d * 49),
        ("mixers.1.pointwise", d),
    ):
        assert state[f"{name}.weight"].std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        assert state[f"{name}.bias"].abs().max() == 0
    bound = math.sqrt(1 / (d // p**2))
    assert 0.98 * bound < state["patch_reassembly.conv.weight"].abs().max().item() <= bound


def test_frames_are_padded_to_whole_patches_as_ours():
    config = STLightConfig(in_frames=2, out_frames=2, in_channels=1, out_channels=1, hidden_dim=16, depth=2, patch_size=4)
    variables = init_variables(JaxSTLight(config), 0, (4, 4, 1))
    frames = np.random.default_rng(0).random((2, 2, 1, 9, 15), np.float32)
    with torch.no_grad():
        expected = torch_network(config, variables).eval()(torch.from_numpy(frames)).numpy()
    found = JaxSTLight(config).apply(variables, frames.transpose(0, 1, 3, 4, 2)).transpose(0, 1, 4, 2, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_context_frames_are_further_first_frames():
    config = STLightConfig(
        in_frames=3, out_frames=2, in_channels=1, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3,
        shortcut="linear", shortcut_scales=2, periods=(24, 168),
    )  # fmt: skip
    variables = trained_variables(config)
    frames = np.random.default_rng(0).random((2, config.seen_frames, 8, 6, 1)).astype(np.float32)
    ours = JaxSTLight(config).apply(variables, frames)
    with torch.no_grad():
        theirs = torch_network(config, variables).eval()(torch.from_numpy(frames.transpose(0, 1, 4, 2, 3)))
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 1, 3, 4, 2), rtol=1e-4, atol=1e-5)
