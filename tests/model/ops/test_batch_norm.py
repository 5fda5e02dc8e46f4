"""Batch norm, channel sums, bias and GELU against Flax, NumPy and closed forms."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax.model.ops import cpu_kernels
from stlight_jax.model.ops.batch_norm import BatchNorm, FoldedBatchNorm, fold
from stlight_jax.model.ops.layers import add_bias, channel_sums, gelu


def activations(shape=(2, 5, 7, 19), seed=0):
    return (3 + 2 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.fixture
def variables():
    channel = np.arange(19, dtype=np.float32)
    return {
        "params": {"scale": 1 + channel / 10, "bias": channel / 7 - 1},
        "batch_stats": {"mean": channel / 5, "var": 0.5 + channel / 3},
    }


def test_trains_as_flax_does(variables):
    x, cotangent = activations(), activations(seed=1)

    def results(norm, *arguments):
        def apply(params, x):
            given = {**variables, "params": params}
            return norm.apply(given, x, *arguments, mutable=["batch_stats"])

        y, transpose, updates = jax.vjp(jax.jit(apply), variables["params"], x, has_aux=True)
        return y, updates, transpose(cotangent)

    ours = results(BatchNorm(), True)
    theirs = results(nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)


def test_predicts_as_flax_does_folded_or_not(variables):
    x = activations()
    expected = nn.BatchNorm(use_running_average=True, epsilon=1e-5).apply(variables, x)
    np.testing.assert_allclose(BatchNorm().apply(variables, x, False), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(FoldedBatchNorm().apply(fold(variables), x, False), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="cannot train"):
        FoldedBatchNorm().apply(fold(variables), x, True)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 7, 19), (3, 17, 19, 5), (3, 32, 32, 64)])
def test_channel_sums_equal_numpy(shape, kernels, monkeypatch):
    if not kernels:
        monkeypatch.setattr(cpu_kernels, "available", lambda: False)
    a, b = activations(shape), activations(shape, 1)
    center = b[0, 0, 0] / 2
    sums, products = jax.jit(lambda *arrays: channel_sums(*arrays))(a, b, center)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64) - center
    pixels = a.size / a.shape[-1]
    # The kernels add up few numbers in float32 and the rest in float64; XLA stays in float32.
    exactly = 1e-6 if kernels else 1e-5
    np.testing.assert_allclose(sums, wide_a.sum((0, 1, 2)), rtol=exactly)
    np.testing.assert_allclose(products, (wide_a * wide_b).sum((0, 1, 2)), rtol=exactly, atol=3 * exactly * np.sqrt(pixels))


def test_activations_far_from_zero_are_normalised_as_far_as_float32_goes(variables):
    x = activations() + 300
    y, _ = BatchNorm().apply(variables, x, True, mutable=["batch_stats"])
    wide = x.astype(np.float64)
    normalised = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)
    expected = normalised * variables["params"]["scale"] + variables["params"]["bias"]
    # Beside a mean square of 92,000 a variance of 4 is known to a few units of 0.005, its root to half of that.
    np.testing.assert_allclose(y, expected, rtol=5e-3, atol=5e-3)


def test_the_gradient_of_a_bias_is_the_sum_of_the_cotangent():
    x, cotangent = activations(), activations(seed=1)
    y, transpose = jax.vjp(add_bias, x, jnp.arange(19.0))
    np.testing.assert_array_equal(y, x + np.arange(19, dtype=np.float32))
    of_x, of_bias = transpose(cotangent)
    np.testing.assert_array_equal(of_x, cotangent)
    np.testing.assert_allclose(of_bias, cotangent.astype(np.float64).sum((0, 1, 2)), rtol=1e-6)


def test_gelu_and_its_gradient_equal_their_closed_forms():
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    cdf = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x.astype(np.float64)])
    density = np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(jax.jit(gelu)(x), x * cdf, atol=5e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(gelu)))(x), cdf + x * density, atol=5e-7)
    rounded = jnp.asarray(x, jnp.bfloat16)
    exact = np.array([value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in np.asarray(rounded, np.float64)])
    np.testing.assert_allclose(np.asarray(gelu(rounded), np.float64), exact, rtol=2**-8, atol=1e-6)
