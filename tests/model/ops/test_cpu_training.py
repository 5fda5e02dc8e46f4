"""The kernels for mixer blocks in training against definitions in float64 that JAX differentiates."""

import concurrent.futures
import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from stlight_jax.model.ops import cpu_training
from stlight_jax.model.stlight import STLight, init_variables
from stlight_jax.model.stlight_config import STLightConfig
from tests.conftest import ROOT
from tests.model import compiled_kernels


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    compiled_kernels.require(cpu_training)


def random_params(channels, near, far, blocks, seed=0):
    """Parameters of mixer blocks, float32; activations keep their size through the blocks."""
    rng = np.random.default_rng(seed)

    def layer(kernel, *shape):
        return {"kernel": rng.normal(size=(blocks, *shape)) * kernel, "bias": rng.normal(size=(blocks, channels)) * 0.2}

    def norm():
        return {"scale": rng.uniform(0.5, 1.5, (blocks, channels)), "bias": rng.normal(size=(blocks, channels)) * 0.2}

    params = {
        "near": layer(1 / near, near, near, 1, channels),
        "far": layer(1 / far, far, far, 1, channels),
        "spatial_norm": norm(),
        "pointwise": layer(channels**-0.5, channels, channels),
        "pointwise_norm": norm(),
    }
    return jax.tree.map(lambda array: array.astype(np.float32), params)


def by_definition(x, params, dilation):
    """Returns the output and the statistics of each block, in the type of the arguments."""

    def depthwise(x, kernel, dilation):
        options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": x.shape[-1]}
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", rhs_dilation=(dilation, dilation), **options)

    def norm(x, scale, bias):
        mean = x.mean((0, 1, 2))
        # In float32 as `BatchNorm` does, in one pass, which rounds more where the variance is small beside the mean.
        variance = x.var((0, 1, 2)) if x.dtype == jnp.float64 else (x * x).mean((0, 1, 2)) - mean**2
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias, [mean, variance]

    statistics = []
    for block in range(len(params["near"]["bias"])):
        of = jax.tree.map(lambda array, block=block: array[block], params)
        y = depthwise(x, of["near"]["kernel"], 1) + of["near"]["bias"]
        y = depthwise(y, of["far"]["kernel"], dilation) + of["far"]["bias"]
        y, spatial = norm(jax.nn.gelu(y, approximate=False), **of["spatial_norm"])
        y = (x + y) @ of["pointwise"]["kernel"] + of["pointwise"]["bias"]
        x, pointwise = norm(jax.nn.gelu(y, approximate=False), **of["pointwise_norm"])
        statistics.append(jnp.stack(spatial + pointwise))
    return x, jnp.stack(statistics)


def results(mixers, x, params, dilation, cotangent):
    """Output, statistics, and gradients with respect to the input and the parameters."""

    def apply(x, params):
        return mixers(x, params, dilation)

    y, transpose, statistics = jax.vjp(jax.jit(apply), x, params, has_aux=True)
    return jax.tree.map(lambda array: np.asarray(array, np.float64), (y, statistics, *transpose(cotangent)))


def expected(x, params, dilation, cotangent):
    with jax.enable_x64(True):
        x, params, cotangent = jax.tree.map(lambda array: jnp.asarray(np.asarray(array, np.float64)), (x, params, cotangent))
        return results(by_definition, x, params, dilation, cotangent)


def relative_error(a, b):
    return np.sqrt(np.mean((a - b) ** 2)) / np.sqrt(np.mean(b**2))


SHAPES = [
    ((1, 4, 5, 32), 3, 7, 3, 1),
    ((2, 5, 7, 33), 3, 5, 1, 2),
    ((3, 12, 9, 48), 3, 7, 3, 3),
    ((1, 3, 40, 100), 5, 3, 2, 2),
    ((3, 7, 9, 46), 3, 5, 2, 2),  # an odd number of pixels
    ((3, 4, 12, 34), 3, 7, 5, 1),  # taps beyond the image
    ((1, 8, 13, 130), 9, 1, 4, 1),
    ((1, 9, 11, 50), 3, 7, 3, 1),
    ((2, 36, 33, 32), 1, 11, 2, 1),  # more pixels than a part's chunk has, more rows than a sum in float32 takes
]


@pytest.mark.parametrize(("shape", "near", "far", "dilation", "blocks"), SHAPES)
def test_blocks_and_gradients_in_float32_are_those_of_float64_up_to_rounding(shape, near, far, dilation, blocks):
    params = random_params(shape[-1], near, far, blocks)
    x, cotangent = (np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in (1, 2))
    ours = results(cpu_training.mixers, x, params, dilation, cotangent)
    theirs = expected(x, params, dilation, cotangent)
    errors = jax.tree.map(relative_error, ours, theirs)
    # The variance of some channels is small beside the mean, and gradients of biases are sums of terms that nearly cancel.
    by_layers = jax.tree.map(relative_error, results(by_definition, x, params, dilation, cotangent), theirs)
    bounds = jax.tree.map(lambda error: max(3e-6, 3 * error), by_layers)
    assert all(jax.tree.leaves(jax.tree.map(np.less_equal, errors, bounds)))


@pytest.mark.parametrize(("shape", "near", "far", "dilation", "blocks"), [case for case in SHAPES[2:] if case[0][-1] % 2 == 0])
def test_blocks_and_gradients_in_bfloat16_are_off_by_the_rounding_of_what_they_store(shape, near, far, dilation, blocks):
    params = random_params(shape[-1], near, far, blocks)
    x, cotangent = (jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.bfloat16) for seed in (1, 2))
    ours = results(cpu_training.mixers, x, params, dilation, cotangent)
    theirs = expected(np.asarray(x, np.float32), params, dilation, np.asarray(cotangent, np.float32))
    errors = jax.tree.map(relative_error, ours, theirs)
    # A block rounds five times on the way to its output, and as often on the way back, by up to 2**-9 of the value.
    assert errors[0] <= 5 * blocks * 2**-9
    assert errors[2] <= 10 * blocks * 2**-9
    assert max(errors[3][layer]["kernel"] for layer in ("near", "far", "pointwise")) <= 10 * blocks * 2**-9
    assert max(errors[3][layer]["scale"] for layer in ("spatial_norm", "pointwise_norm")) <= 15 * blocks * 2**-9


def test_bfloat16_is_normalised_as_it_is_stored():
    """Values that differ by a few roundings only: their mean after the norm is its bias all the same."""
    params = random_params(32, 3, 3, 1)
    params["pointwise"] = {"kernel": params["pointwise"]["kernel"] * 0.02, "bias": np.full((1, 32), 4, np.float32)}
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 16, 16, 32)), jnp.bfloat16)
    y, statistics = cpu_training.mixers(x, params, 1)
    assert statistics[0, 3].max() < 0.05**2  # variance of a value near 4, where bfloat16 has steps of 1 / 32
    y = np.asarray(y, np.float64)
    np.testing.assert_allclose(y.mean((0, 1, 2)), params["pointwise_norm"]["bias"][0], atol=2e-3)
    np.testing.assert_allclose(y.std((0, 1, 2)), params["pointwise_norm"]["scale"][0], rtol=0.02)


@pytest.mark.parametrize("side", [1, 7, 11])
def test_both_halves_of_a_block_compute_the_same_gelu(side):
    """A batch of one pixel: the means of the norms are the GELU of the pixel, in both halves by these parameters."""
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 1024)).astype(np.float32) * 2
    params = jax.tree.map(np.zeros_like, random_params(1024, 1, side, 1))
    for layer, middle in (("near", 0), ("far", side // 2)):
        params[layer]["kernel"][:, middle, middle] = 1
    params["pointwise"]["kernel"][:] = np.eye(1024)
    _, statistics = cpu_training.mixers(x, params, 1)
    np.testing.assert_array_equal(statistics[0, 0], statistics[0, 2])
    np.testing.assert_allclose(statistics[0, 0], jax.nn.gelu(x[0, 0, 0], approximate=False), rtol=1e-5, atol=1e-7)


def test_the_same_call_has_the_same_bits():
    params = random_params(48, 3, 7, 2)
    x, cotangent = (np.random.default_rng(seed).normal(size=(5, 33, 32, 48)).astype(np.float32) for seed in (1, 2))
    first, second = (results(cpu_training.mixers, x, params, 3, cotangent) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_calls_at_the_same_time_compute_what_each_computes_alone():
    params = random_params(48, 3, 7, 2)

    @jax.jit
    def step(x):
        (y, _), transpose = jax.vjp(lambda x, params: cpu_training.mixers(x, params, 3), x, params)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(transpose((y, jnp.zeros((2, 4, 48)))))])

    images = [np.random.default_rng(seed).normal(size=(2, 12, 9, 48)).astype(np.float32) for seed in range(8)]
    alone = [np.asarray(step(x)) for x in images]
    with concurrent.futures.ThreadPoolExecutor(len(images)) as pool:
        together = list(pool.map(lambda x: np.asarray(step(x)), images * 4))
    np.testing.assert_array_equal(together, alone * 4)


def test_an_empty_batch_has_an_empty_output_and_no_gradients_of_kernels():
    x = np.zeros((0, 4, 5, 32), np.float32)
    y, _, x_gradient, gradients = results(cpu_training.mixers, x, random_params(32, 3, 7, 2), 3, x)
    assert y.shape == x_gradient.shape == x.shape
    assert all(not gradients[layer]["kernel"].any() for layer in ("near", "far", "pointwise"))


@pytest.mark.parametrize(
    ("blocks", "channels", "message"), [(0, 32, "there are no blocks"), (1, 6, "fewer channels than a tile holds")]
)
def test_a_stack_that_the_kernel_cannot_compute_is_refused(blocks, channels, message):
    x = np.zeros((1, 4, 5, channels), np.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        results(cpu_training.mixers, x, random_params(channels, 3, 7, blocks), 3, x)


IN_THREADS = """
import hashlib, jax, numpy as np
from stlight_jax import Forecaster
from stlight_jax.model.ops import cpu_kernels, cpu_training
from tests.model.ops.test_cpu_training import random_params, results
assert cpu_kernels.available() and cpu_training.available()
params = random_params(48, 3, 7, 2)
x, cotangent = (np.random.default_rng(seed).normal(size=(5, 33, 32, 48)).astype(np.float32) for seed in (1, 2))
of_training = results(cpu_training.mixers, x, params, 3, cotangent)
forecasts = Forecaster.load("tiny")(np.random.default_rng(3).integers(0, 256, (2, 10, 32, 32, 1), np.uint8), dtype="float32")
for arrays in (of_training, forecasts):
    print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(arrays))).hexdigest())
"""


@pytest.mark.long
def test_one_thread_and_several_give_the_same_bits_of_training_and_forecasts():
    if not cpu_training.available():
        pytest.skip("the default platform is not the CPU")
    shown = []
    for threads in ("1", "2", "5"):
        # XLA reads the size of its pool from NPROC.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NPROC": threads}
        shown.append(subprocess.check_output([sys.executable, "-c", IN_THREADS], env=environment, text=True, cwd=ROOT))
    assert shown[0] == shown[1] == shown[2]
    assert len(shown[0].split()) == 2


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_a_value_that_is_not_a_number_reaches_the_output_and_all_gradients(dtype):
    x = jnp.zeros((1, 4, 5, 32), dtype).at[0, 1, 2, 3].set(jnp.nan)
    y, _, x_gradient, gradients = results(cpu_training.mixers, x, random_params(32, 3, 3, 1), 1, jnp.ones_like(x))
    assert np.isnan(y).all()
    assert np.isnan(x_gradient).all()
    del gradients["pointwise_norm"]["bias"]  # a sum of cotangents
    assert all(np.isnan(leaf).any() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("changes", "uses_kernel"),
    [({}, True), ({"dtype": "bfloat16"}, True), ({"depthwise": "taps"}, False), ({"rematerialise": "blocks"}, False)],
)
def test_a_network_trains_with_the_kernels_as_layer_by_layer(changes, uses_kernel):
    if not cpu_training.available():
        pytest.skip("the default platform is not the CPU")
    frames = {"in_frames": 2, "out_frames": 1, "in_channels": 1, "out_channels": 1, "patch_size": 2}
    model = STLight(STLightConfig(hidden_dim=32, depth=4, near_kernel=3, far_kernel=7, dilation=3, **frames, **changes))
    variables = init_variables(model, 0, (8, 10, 1))
    inputs, targets = np.random.default_rng(0).uniform(size=(2, 3, 2, 8, 10, 1)).astype(np.float32)

    def step(model):
        def loss(params):
            given = {**variables, "params": params}
            y, updates = model.apply(given, inputs, train=True, mutable=["batch_stats"])
            return jnp.mean((y - targets[:, :1]) ** 2), updates["batch_stats"]

        program = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(variables["params"]).compile()
        return program.as_text(), program(variables["params"])

    text, ((loss, statistics), gradients) = step(model)
    assert ("stlight_training_forward" in text) == ("stlight_training_backward" in text) == uses_kernel
    text, ((by_layers, statistics_by_layers), gradients_by_layers) = step(
        STLight(dataclasses.replace(model.config, depthwise="taps"))
    )
    assert "stlight_training" not in text
    tolerance = 0.02 if model.config.dtype == "bfloat16" else 1e-5
    assert loss == pytest.approx(float(by_layers), rel=tolerance)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance), statistics, statistics_by_layers
    )
    trees = gradients, gradients_by_layers
    ours, theirs = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in trees)
    assert np.linalg.norm(ours - theirs) <= (0.2 if model.config.dtype == "bfloat16" else 1e-4) * np.linalg.norm(theirs)
