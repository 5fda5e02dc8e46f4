"""Widths and the 128 lanes of TPUs."""

import pytest

from stlight_jax.tpu_planning.tpu_table import lane_fit


@pytest.mark.parametrize(
    ("hidden_dim", "patch_size", "lanes", "padded", "narrower", "wider"),
    [
        (1400, 2, 128, 1408, 1280, 1408),
        (400, 2, 128, 512, 384, 512),
        (256, 1, 128, 256, 256, 256),
        (96, 2, 128, 128, 0, 128),
        (1000, 2, 256, 1024, 768, 1024),
        (90, 3, 128, 128, 0, 1152),  # multiples of 128 and of the 9 cells of a patch
    ],
)
def test_widths(hidden_dim, patch_size, lanes, padded, narrower, wider):
    found = lane_fit(hidden_dim, patch_size, lanes)
    assert (found.padded, found.narrower, found.wider) == (padded, narrower, wider)
    assert found.padding == pytest.approx((padded - hidden_dim) / padded)
