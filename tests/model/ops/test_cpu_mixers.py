"""The kernel for whole mixer blocks against NumPy in float64: shapes, kernels, types, and the error of its GELU."""

import concurrent.futures
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax.model.ops import batch_norm, cpu_kernels
from stlight_jax.model.stlight import STLight, init_variables
from stlight_jax.model.stlight_config import STLightConfig
from tests.model import compiled_kernels, reference


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    compiled_kernels.require(cpu_kernels)


def random_blocks(channels, near, far, blocks, seed=0):
    """Parameters of mixer blocks with folded norms; activations keep their size through the blocks."""
    rng = np.random.default_rng(seed)

    def convolution(side):
        return {
            "kernel": rng.normal(size=(blocks, side, side, 1, channels)) / side,
            "bias": rng.normal(size=(blocks, channels)) * 0.2,
        }

    def norm():
        return {"factor": rng.uniform(0.5, 1.5, (blocks, channels)), "summand": rng.normal(size=(blocks, channels)) * 0.2}

    pointwise = {
        "kernel": rng.normal(size=(blocks, channels, channels)) / channels**0.5,
        "bias": rng.normal(size=(blocks, channels)) * 0.2,
    }
    params = {"near": convolution(near), "far": convolution(far), "spatial_norm": norm(), "pointwise": pointwise}
    return jax.tree.map(lambda array: array.astype(np.float32), {**params, "pointwise_norm": norm()})


def expected(x, params, dilation):
    x = np.asarray(x, np.float64)
    for block in range(len(params["near"]["bias"])):
        of = jax.tree.map(lambda array, block=block: array[block].astype(np.float64), params)
        y = reference.depthwise(x, of["near"]["kernel"], 1) + of["near"]["bias"]
        y = reference.gelu(reference.depthwise(y, of["far"]["kernel"], dilation) + of["far"]["bias"])
        y = x + y * of["spatial_norm"]["factor"] + of["spatial_norm"]["summand"]
        y = reference.gelu(y @ of["pointwise"]["kernel"] + of["pointwise"]["bias"])
        x = y * of["pointwise_norm"]["factor"] + of["pointwise_norm"]["summand"]
    return x


def mixers(x, params, dilation):
    return np.asarray(jax.jit(cpu_kernels.mixers, static_argnums=2)(x, params, dilation), np.float32)


SHAPES = [
    ((1, 1, 1, 32), 3, 7, 3, 1),
    ((2, 5, 7, 33), 3, 5, 1, 2),
    ((3, 12, 9, 48), 3, 7, 3, 3),
    ((1, 3, 40, 100), 5, 3, 2, 2),
    ((2, 40, 3, 64), 1, 11, 1, 2),
    ((1, 8, 13, 130), 9, 1, 4, 1),
    ((1, 9, 11, 50), 3, 7, 3, 1),
]


@pytest.mark.parametrize(("shape", "near", "far", "dilation", "blocks"), SHAPES)
def test_blocks_in_float32_are_those_of_float64_up_to_rounding(shape, near, far, dilation, blocks):
    params = random_blocks(shape[-1], near, far, blocks)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    wanted = expected(x, params, dilation)
    assert np.abs(mixers(x, params, dilation) - wanted).max() <= 1e-6 * np.ptp(wanted)


@pytest.mark.parametrize(("shape", "near", "far", "dilation", "blocks"), [case for case in SHAPES if case[0][-1] % 2 == 0])
def test_blocks_in_bfloat16_are_off_by_the_rounding_of_their_activations_and_weights(shape, near, far, dilation, blocks):
    params = random_blocks(shape[-1], near, far, blocks)
    x = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.bfloat16)
    wanted = expected(np.asarray(x, np.float32), params, dilation)
    error = mixers(x, params, dilation) - wanted
    # Each block rounds its activations twice and its pointwise weights once, by up to 2**-9 of the value.
    assert np.sqrt(np.mean(error**2)) <= 3 * blocks * 2**-9 * np.sqrt(np.mean(wanted**2))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_an_image_has_the_same_bits_alone_and_in_any_batch(dtype):
    params = random_blocks(80, 3, 7, 2)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(5, 11, 13, 80)), dtype)
    together = mixers(x, params, 3)
    for image in range(5):
        np.testing.assert_array_equal(mixers(x[image : image + 1], params, 3)[0], together[image])


def test_gelu_is_exact_to_one_epsilon_of_float32_from_the_tails_to_the_middle():
    values = np.concatenate([np.linspace(-14, 14, 80_000), np.logspace(-30, 4, 4_000), -np.logspace(-30, 4, 4_000)])
    x = values.astype(np.float32).reshape(1, 11, 250, 32)
    identity = np.eye(32, dtype=np.float32)[None]
    ones, zeros = np.ones((1, 32), np.float32), np.zeros((1, 32), np.float32)
    one_tap = {"kernel": np.ones((1, 1, 1, 1, 32), np.float32), "bias": zeros}
    params = {
        "near": one_tap,
        "far": one_tap,
        "spatial_norm": {"factor": zeros, "summand": zeros},  # leaves the residual
        "pointwise": {"kernel": identity, "bias": zeros},
        "pointwise_norm": {"factor": ones, "summand": zeros},
    }
    wide = x.astype(np.float64)
    wanted = wide * 0.5 * np.vectorize(math.erfc)(-wide / math.sqrt(2))
    error = np.abs(mixers(x, params, 1) - wanted)
    assert (error / np.maximum(1, np.abs(wide))).max() <= np.finfo(np.float32).eps


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_a_value_that_is_not_a_number_stays_one(dtype):
    x = jnp.zeros((1, 4, 5, 32), dtype).at[0, 1, 2, 3].set(jnp.nan)
    assert np.isnan(mixers(x, random_blocks(32, 1, 1, 1), 1)[0, 1, 2]).all()


@pytest.mark.parametrize("shape", [(0, 4, 5, 32), (1, 0, 5, 32), (1, 4, 0, 32)])
def test_images_without_pixels_have_an_empty_output(shape):
    # Not compiled with other operations, where XLA would leave out the kernel.
    assert cpu_kernels.mixers(jnp.zeros(shape), random_blocks(32, 3, 7, 2), 3).shape == shape


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_calls_at_the_same_time_compute_what_each_computes_alone(dtype):
    params = random_blocks(48, 3, 7, 3)
    program = jax.jit(cpu_kernels.mixers, static_argnums=2)
    images = [jnp.asarray(np.random.default_rng(seed).normal(size=(2, 12, 9, 48)), dtype) for seed in range(8)]
    alone = [np.asarray(program(x, params, 3)) for x in images]
    with concurrent.futures.ThreadPoolExecutor(len(images)) as pool:
        together = list(pool.map(lambda x: np.asarray(program(x, params, 3)), images * 8))
    np.testing.assert_array_equal(together, alone * 8)


@pytest.mark.parametrize(("dtype", "channels"), [(np.float32, 24), (jnp.bfloat16, 33), (np.float64, 64)])
def test_other_types_and_numbers_of_channels_are_left_to_the_layers(dtype, channels):
    assert not cpu_kernels.supports_mixers(dtype, channels, (3, 7))
    assert not cpu_kernels.supports_mixers(np.float32, 64, (3, 13))


@pytest.mark.parametrize(
    ("changes", "target"), [({}, "float32"), ({"dtype": "bfloat16"}, "bfloat16"), ({"depthwise": "taps"}, "")]
)
def test_a_network_with_folded_norms_predicts_with_the_kernel(changes, target):
    if not cpu_kernels.available():
        pytest.skip("the default platform is not the CPU")
    frames = {"in_frames": 2, "out_frames": 1, "in_channels": 1, "out_channels": 1, "patch_size": 2}
    config = STLightConfig(hidden_dim=32, depth=4, near_kernel=3, far_kernel=7, dilation=3, **frames, **changes)
    variables = batch_norm.fold(init_variables(STLight(config), 0, (8, 10, 1)))
    apply = jax.jit(STLight(config, folded=True).apply)
    program = apply.lower(variables, jnp.zeros((3, 2, 8, 10, 1))).compile().as_text()
    assert ("stlight_mixers" in program) == bool(target)
    assert f"stlight_mixers_{target}" in program or not target
