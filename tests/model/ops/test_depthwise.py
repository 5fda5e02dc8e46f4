"""The depthwise op against float64 NumPy and finite differences, in all forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from stlight_jax.errors import InputError
from stlight_jax.model.ops import cpu_kernels
from stlight_jax.model.ops.cpu_library import CpuLibrary
from stlight_jax.model.ops.depthwise import IMPLEMENTATIONS, as_conv_general_dilated, depthwise_conv
from tests.model import reference
from tests.model.checks import check_depthwise, depthwise_arguments

SAMPLE = [
    # kernel height, kernel width, dilation, height, width
    (1, 1, 1, 5, 4),
    (3, 3, 1, 6, 7),
    (3, 5, 2, 9, 8),
    (5, 5, 3, 7, 10),
    (7, 7, 3, 8, 8),
    (7, 7, 1, 3, 2),  # wider than the frame
    (11, 11, 4, 5, 6),
]
GRID = [
    (side, side, dilation, height, width)
    for side in (1, 3, 5, 7, 9, 11)
    for dilation in (1, 2, 3, 4)
    for height, width in ((1, 1), (5, 8), (16, 13))
]


@pytest.mark.parametrize("case", SAMPLE)
def test_the_reference_equals_scipys_correlation(case):
    kernel_height, kernel_width, dilation, height, width = case
    x, kernel, _ = (array.astype(np.float64) for array in depthwise_arguments(kernel_height, kernel_width, height, width))
    holes = np.zeros((dilation * (kernel_height - 1) + 1, dilation * (kernel_width - 1) + 1, 3))
    holes[::dilation, ::dilation] = kernel[:, :, 0]
    for frame, ours in zip(x, reference.depthwise(x, kernel, dilation), strict=True):
        for channel in range(3):
            expected = scipy.ndimage.correlate(frame[..., channel], holes[..., channel], mode="constant")
            np.testing.assert_allclose(ours[..., channel], expected, atol=1e-12)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", SAMPLE)
def test_equals_numpy(case, implementation):
    check_depthwise(case, implementation)


@pytest.mark.parametrize("channels", [4, 8, 16, 17, 40, 64, 130])
def test_kernels_equal_numpy_whatever_the_channels(channels):
    # 4, 8 and 16 float32 make a vector, by processor; what does not divide overlaps, and 64 channels or more are a block.
    check_depthwise((5, 7, 2, 17, 29), "cpu", channels)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_are_batched(implementation):
    x, kernel, cotangent = depthwise_arguments(3, 5, 6, 6, channels=16)

    def gradients(x, cotangent):
        return jax.vjp(lambda x, k: depthwise_conv(x[None], k, 2, implementation)[0], x, kernel)[1](cotangent)

    of_x, of_kernel = jax.vmap(gradients)(x, cotangent)
    for index in range(len(x)):
        alone_x, alone_kernel = gradients(x[index], cotangent[index])
        np.testing.assert_allclose(of_x[index], alone_x, atol=1e-5)
        np.testing.assert_allclose(of_kernel[index], alone_kernel, atol=1e-4)


@pytest.mark.parametrize("side", [1, 3, 5, 7, 9, *(pytest.param(side, marks=pytest.mark.long) for side in (11, 13))])
def test_kernels_equal_numpy_whatever_the_side(side):
    check_depthwise((side, side, 1, 9, 40), "cpu", 20)


@pytest.mark.long
@pytest.mark.parametrize(("implementation", "channels"), [*((name, 3) for name in IMPLEMENTATIONS), ("cpu", 20)])
@pytest.mark.parametrize("case", GRID)
def test_equals_numpy_on_the_full_grid(case, implementation, channels):
    check_depthwise(case, implementation, channels)


@pytest.mark.parametrize("implementation", ["taps", "cpu", "auto"])
def test_gradients_equal_those_of_the_native_form_and_repeat_to_the_bit(implementation):
    x, kernel, cotangent = depthwise_arguments(5, 5, 12, 12, channels=24)

    def gradients(name):
        return jax.jit(lambda *a: jax.vjp(lambda x, k: depthwise_conv(x, k, 3, name), *a[:2])[1](a[2]))(x, kernel, cotangent)

    for ours, theirs, again in zip(gradients(implementation), gradients("native"), gradients(implementation), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(ours, again)


def test_without_a_compiler_auto_uses_taps_and_says_so(monkeypatch, caplog):
    x, kernel, _ = depthwise_arguments(3, 3, 6, 6, channels=16)
    expected = depthwise_conv(x, kernel, 2, "taps")
    monkeypatch.setenv("CXX", "no-such-compiler")
    library = CpuLibrary("tests", (), ())  # which has not been used yet
    for name in ("available", "why_unavailable"):
        monkeypatch.setattr(cpu_kernels, name, getattr(library, name))
    with caplog.at_level("WARNING"):
        compiled = jax.jit(lambda x, k: depthwise_conv(x, k, 2, "auto")).lower(x, kernel)
        found = compiled.compile()(x, kernel)
    assert "stlight_convolve" not in compiled.as_text()
    assert caplog.text.count("CXX is no-such-compiler, which does not exist") == 1
    with pytest.raises(InputError, match="model.depthwise is 'cpu', which is not available: CXX is no-such-compiler"):
        depthwise_conv(x, kernel, 2, "cpu")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_sums_in_float32(implementation):
    x, kernel, _ = depthwise_arguments(7, 7, 9, 9)
    x, kernel = jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)
    out = depthwise_conv(x, kernel, 1, implementation)
    expected = reference.depthwise(np.asarray(x, np.float64), np.asarray(kernel, np.float64), 1)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, atol=2**-8 * np.abs(expected).max())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_vmap_and_checkpoint(implementation):
    x, kernel, cotangent = depthwise_arguments(3, 3, 6, 6, channels=16)
    one = jax.vmap(lambda x: depthwise_conv(x[None], kernel, 2, implementation)[0])(x)
    np.testing.assert_allclose(one, depthwise_conv(x, kernel, 2, implementation), atol=1e-5)

    def loss(f, x):
        return jnp.sum(f(x, kernel) * cotangent)

    def op(x, k):
        return depthwise_conv(x, k, 2, implementation)

    np.testing.assert_allclose(
        jax.grad(lambda x: loss(jax.checkpoint(op), x))(x), jax.grad(lambda x: loss(op, x))(x), atol=1e-5
    )


def test_auto_compiles_kernels_for_cpu_and_native_for_tpu():
    x, kernel, _ = depthwise_arguments(3, 3, 6, 6, channels=16)
    traced = jax.jit(lambda x, k: depthwise_conv(x, k, 2)).trace(x, kernel)
    for_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stlight_convolve" in for_cpu
    assert "stablehlo.convolution" not in for_cpu
    assert "feature_group_count = 16" in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_unfit_use_is_refused():
    x, kernel, _ = depthwise_arguments(3, 3, 6, 6)
    with pytest.raises(ValueError, match="odd kernel sides"):
        depthwise_conv(x, kernel[:2], 1)
    with pytest.raises(ValueError, match="dilation of at least 1, got 0"):
        depthwise_conv(x, kernel, 0)
    with pytest.raises(ValueError, match="'fast' is unknown"):
        depthwise_conv(x, kernel, 1, "fast")
    convolution = as_conv_general_dilated("taps")
    with pytest.raises(ValueError, match="stride 1"):
        convolution(x, kernel, (2, 2), "SAME", rhs_dilation=(1, 1), feature_group_count=3)
