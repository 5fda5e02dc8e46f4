"""Time bounds, calculated by hand."""

import pytest

from stlight_jax.tpu_planning.chips import CHIPS
from stlight_jax.tpu_planning.compiled_program import time_bound
from stlight_jax.tpu_planning.hlo_costs import ProgramCost
from stlight_jax.tpu_planning.hlo_program import Collective


def test_bounds_are_work_over_published_peaks():
    cost = ProgramCost(
        flops=1e12, product_flops=197e9, product_passes=6 * 197e9, transcendentals=0, bytes=819e6, padding_bytes=0
    )
    found = time_bound(CHIPS["v5e"], cost, (Collective("all-reduce", 50_000_000, 2),), 4)
    assert found.products == pytest.approx(6e-3)  # 6 passes of 0.197 TFLOP at 197 TFLOP/s
    assert found.memory == pytest.approx(1e-3)
    assert found.network == pytest.approx(100e6 * 2 * 3 / 4 / 200e9)  # a ring sends 3/4 of the bytes twice
    assert found.seconds == found.products
    assert found.limited_by == "products"
    assert time_bound(CHIPS["v5e"], cost, (Collective("all-reduce", 50_000_000, 2),), 1).network == 0
