"""Checks of the depthwise operation that hold on every platform: values and gradients of float64 NumPy."""

import functools

import jax
import numpy as np

from stlight_jax.model.ops.depthwise import depthwise_conv
from tests.model import reference


def depthwise_arguments(kernel_height, kernel_width, height, width, channels=3, batch=2):
    """Frames, kernel and cotangent, standard normal float32."""
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, height, width, channels)).astype(np.float32)
    kernel = random.standard_normal((kernel_height, kernel_width, 1, channels)).astype(np.float32)
    return x, kernel, random.standard_normal(x.shape).astype(np.float32)


def check_depthwise(case, implementation, channels=3, precision=None, in_any_order=False):
    """Compares with `reference.depthwise`; a case: kernel height and width, dilation, height, width.

    `in_any_order`: for devices that add a filter gradient's products in an order of their own.
    """
    kernel_height, kernel_width, dilation, height, width = case
    x, kernel, cotangent = depthwise_arguments(kernel_height, kernel_width, height, width, channels)
    op = functools.partial(depthwise_conv, dilation=dilation, implementation=implementation, precision=precision)
    out, transpose = jax.vjp(jax.jit(op), x, kernel)
    wide_x, wide_kernel, wide_cotangent = (array.astype(np.float64) for array in (x, kernel, cotangent))
    expected = reference.depthwise(wide_x, wide_kernel, dilation)
    np.testing.assert_allclose(out, expected, atol=1e-6 * max(1, np.abs(expected).max()))

    # The op is linear in each argument, so the inner products with a cotangent give its gradients exactly.
    x_gradient, kernel_gradient = transpose(cotangent)
    expected = reference.depthwise(wide_cotangent, wide_kernel[::-1, ::-1], dilation)
    np.testing.assert_allclose(x_gradient, expected, atol=1e-6 * max(1, np.abs(expected).max()))
    for row in range(kernel_height):
        for column in range(kernel_width):
            unit = np.zeros(kernel.shape)
            unit[row, column] = 1
            products = reference.depthwise(wide_x, unit, dilation) * wide_cotangent
            slope = products.sum((0, 1, 2))
            atol = 1e-5 * np.abs(slope).max() if in_any_order else 2e-5
            np.testing.assert_allclose(kernel_gradient[row, column, 0], slope, rtol=1e-5, atol=atol)
