"""Bytes as floats in [0, 1], against NumPy's division."""

import jax
import numpy as np

from stlight_jax.data.unit_range import to_unit_range


def test_every_value_is_the_correctly_rounded_quotient():
    values = np.arange(256, dtype=np.uint8)
    expected = values.astype(np.float32) / np.float32(255)
    for scale in (to_unit_range, jax.jit(to_unit_range)):
        np.testing.assert_array_equal(scale(values), expected)
