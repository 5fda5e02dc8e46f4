"""The networks of the study: the variant without changes is STLight, and the others have their papers' parts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.study import cost, others, variants
from benchmarks.study.designs import LINEAR, NETWORKS
from stlight_jax.model.count import count
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables

pytestmark = pytest.mark.compiled_fast


def shape(in_frames, out_frames, hidden_dim, depth=6, patch_size=2, **keys):
    keys = {"depthwise": "native", **keys}
    channels = {"in_channels": 1, "out_channels": 1}
    sizes = {"in_frames": in_frames, "out_frames": out_frames, "hidden_dim": hidden_dim, "depth": depth}
    return STLightConfig(patch_size=patch_size, **sizes, **channels, **keys)


SMALL = shape(in_frames=3, out_frames=4, hidden_dim=16, depth=3, near_kernel=3, far_kernel=5)
FRAMES = jnp.asarray(np.random.default_rng(0).random((2, 3, 12, 12, 1)), jnp.float32)


def forecast(network, frames=FRAMES, seed=1):
    variables = init_variables(network, seed, frames.shape[2:])
    return jax.jit(network.apply)(variables, frames), variables


def test_a_variant_without_changes_is_the_papers_network():
    expected, variables = forecast(STLight(SMALL))
    ours, of_variant = forecast(variants.Variant(SMALL))
    assert jax.tree.structure(variables) == jax.tree.structure(of_variant)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize(
    ("network", "keys"),
    [
        *((name, {}) for name in NETWORKS if name not in ("stlight", "ConvLSTM", "SimVP", "TAU", LINEAR)),
        ("layer scale", {"shortcut": "linear"}),
    ],
)
def test_every_variant_has_gradients_for_every_parameter(network, keys):
    """All but the encoder's bias, whose gradient is zero in STLight as well."""
    network = NETWORKS[network](dataclasses.replace(SMALL, **keys))
    variables = init_variables(network, 1, (8, 8, 1))
    frames = FRAMES[:, :, :8, :8]

    def loss(params):
        prediction, _ = network.apply({**variables, "params": params}, frames, train=True, mutable=["batch_stats"])
        assert prediction.shape == (2, 4, 8, 8, 1)
        return jnp.mean(jnp.square(prediction - 0.5))

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    gradients["patch_encoder"].pop("bias")
    if keys:  # behind the last convolution, which starts at zero beside a shortcut
        gradients = {name: gradients[name] for name in ("shortcut", "patch_reassembly")}
    assert all(np.isfinite(leaf).all() and np.any(leaf != 0) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("depth", "parts", "blocks"), [(16, (1 / 3, 2 / 3), (5, 10)), (6, (1 / 3, 2 / 3), (2, 4)), (16, (1 / 5, 4 / 5), (3, 12))]
)
def test_skips_begin_and_end_at_the_blocks_of_the_papers_listing(depth, parts, blocks):
    """Blocks floor(depth / 3) and floor(2 depth / 3), and the fifths likewise."""
    assert variants.skip_blocks(depth, parts) == blocks


def test_initialisations_have_the_standard_deviations_of_their_definitions():
    config = shape(in_frames=10, out_frames=10, hidden_dim=128, depth=3)
    drawn = {
        name: init_variables(variants.Variant(config, initial=name), 0, (16, 16, 1))["params"]
        for name in ("hybrid", "kaiming_normal", "torch_default", "repeated")
    }
    pointwise = {name: np.std(each["mixers_across_skip"]["pointwise"]["kernel"]) for name, each in drawn.items()}
    last = {name: np.std(each["patch_reassembly"]["conv"]["kernel"]) for name, each in drawn.items()}
    assert pointwise["hybrid"] == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert pointwise["kaiming_normal"] == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert pointwise["torch_default"] == pytest.approx((1 / 128 / 3) ** 0.5, rel=0.02)  # uniform within 1 / sqrt(fan_in)
    assert last["hybrid"] == pytest.approx((1 / 32 / 3) ** 0.5, rel=0.1)
    assert last["kaiming_normal"] == pytest.approx((2 / 10) ** 0.5, rel=0.1)
    far = np.asarray(drawn["torch_default"]["mixers_across_skip"]["far"]["kernel"])
    assert np.abs(far).max() == pytest.approx(1 / 7, rel=0.01)
    assert np.std(far) == pytest.approx(1 / 7 / 3**0.5, rel=0.02)
    repeated = np.asarray(drawn["repeated"]["mixers_after_skip"]["pointwise"]["kernel"])[-1]
    np.testing.assert_array_equal(repeated[:, 0], repeated[:, 3])


def test_multiply_accumulates_of_stlight_are_those_of_the_librarys_count():
    config = shape(in_frames=10, out_frames=10, hidden_dim=64, depth=6)
    counted = count(config, 32, 32)
    norms = sum(part.true for part in counted.parts if "norm" in part.name)
    for make in (STLight, variants.Variant):
        assert cost.multiply_accumulates(make, config, 32, 32) == counted.total.true - norms
        assert cost.parameters(make(config), 32, 32) == counted.total.parameters


def test_multiply_accumulates_of_convlstm_are_those_of_its_formula():
    config = shape(in_frames=10, out_frames=10, hidden_dim=16, patch_size=4)
    network = lambda config: others.ConvLSTM(config, features=(8, 12), filter_side=3)  # noqa: E731
    cells, steps, taps = 8 * 8, 19, 9
    layers = 4 * 8 * (16 + 8) + 4 * 12 * (8 + 12)
    assert cost.multiply_accumulates(network, config, 32, 32) == cells * (steps * taps * layers + 10 * 12 * 16)


@pytest.mark.torch
def test_a_cell_of_convlstm_is_pytorchs_lstm_cell_at_one_pixel():
    """With kernels of 1 x 1, each pixel is an LSTM; PyTorch orders the gates alike: input, forget, candidate, output."""
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(3)
    x, hidden, state = (generator.normal(size=(5, 4)).astype(np.float32) for _ in range(3))
    of_input, of_hidden = (generator.normal(size=(16, 4)).astype(np.float32) for _ in range(2))
    reference = torch.nn.LSTMCell(4, 4)
    with torch.no_grad():
        reference.weight_ih.copy_(torch.from_numpy(of_input))
        reference.weight_hh.copy_(torch.from_numpy(of_hidden))
        reference.bias_ih.copy_(torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 8))  # OpenSTL adds 1 to the forget gate
        reference.bias_hh.zero_()
        expected = reference(torch.from_numpy(x), (torch.from_numpy(hidden), torch.from_numpy(state)))
    kernels = {name: {"kernel": value.T[None, None]} for name, value in (("of_input", of_input), ("of_hidden", of_hidden))}
    at_pixels = [value[:, None, None] for value in (x, hidden, state)]
    ours = others.ConvLSTMCell(4, 1).apply({"params": kernels}, at_pixels[0], (at_pixels[1], at_pixels[2]))
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one[:, 0, 0], other.numpy(), atol=1e-6)


def test_a_cell_of_convlstm_forgets_and_takes_in_as_its_equations_state():
    """With zero kernels all gates are known: the cell keeps sigmoid(1) of its state."""
    cell = others.ConvLSTMCell(2, 3)
    x, state = jnp.ones((1, 4, 4, 3)), (jnp.zeros((1, 4, 4, 2)), jnp.full((1, 4, 4, 2), 0.5))
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), x, state))
    hidden, kept = cell.apply(params, x, state)
    forget = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(kept, 0.5 * forget, rtol=1e-6)
    np.testing.assert_allclose(hidden, 0.5 * np.tanh(0.5 * forget), rtol=1e-6)


def test_the_last_frames_of_a_convlstm_depend_on_its_own_forecasts_and_all_inputs():
    config = shape(in_frames=3, out_frames=2, hidden_dim=16, patch_size=2)
    network = others.ConvLSTM(config, features=(6,), filter_side=3)
    prediction, variables = forecast(network)
    assert prediction.shape == (2, 2, 12, 12, 1)
    for time in range(3):
        other = network.apply(variables, FRAMES.at[:, time].add(0.5))
        assert (jnp.abs(other - prediction).max((0, 2, 3, 4)) > 0).all()


def test_patches_are_put_together_again():
    np.testing.assert_array_equal(others.pixel_shuffle(others.pixel_unshuffle(FRAMES, 4)[:, 1], 4), FRAMES[:, 1])


@pytest.mark.parametrize("attention", ["gated", "temporal"])
def test_simvp_and_tau_predict_as_many_frames_as_they_see(attention):
    config = shape(in_frames=3, out_frames=3, hidden_dim=16)
    network = others.SimVP(config, spatial=4, temporal=24, blocks=3, mlp_ratio=2, attention=attention)
    prediction, variables = forecast(network)
    assert prediction.shape == (2, 3, 12, 12, 1)
    block = variables["params"]["block_1"]  # of the translator's own width
    assert block["far"]["kernel"].shape == (7, 7, 1, 24)
    assert block["mlp_in"]["kernel"].shape == (24, 48)
    if attention == "temporal":  # 24 // max(24 // 16, 4) = 6 hidden units
        assert block["squeeze"]["kernel"].shape == (24, 6)
        assert block["large_pointwise"]["kernel"].shape == (24, 24)
    else:
        assert block["large_pointwise"]["kernel"].shape == (24, 48)


def test_the_translator_of_openstls_size_has_its_parameters():
    """TAU of Moving MNIST, 44.7 M parameters, less encoder and decoder: 10 x 64 channels, eight blocks of 512."""

    def attention(d, hidden):
        return 2 * (d * d + d) + (25 + 49 + 2) * d + d * d + d + 2 * d * hidden

    def block(d, hidden):
        mlp = d * 8 * d + 8 * d + (9 + 1) * 8 * d + 8 * d * d + d
        return attention(d, hidden) + mlp + 6 * d  # two batch norms, two layer scales

    config = shape(in_frames=10, out_frames=10, hidden_dim=16)
    network = others.SimVP(config, attention="temporal")
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 10, 64, 64, 1)))["params"]
    ours = sum(
        leaf.size for name, tree in shapes.items() if name.startswith(("block", "reduction")) for leaf in jax.tree.leaves(tree)
    )
    expected = block(640, 16) + 7 * block(512, 16) + 640 * 512 + 512 + 512 * 640 + 640
    assert ours == expected
    assert expected == pytest.approx(44.7e6, rel=0.02)
