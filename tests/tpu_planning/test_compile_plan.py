"""Messages of the compiler, configs that are refused, and time bounds calculated by hand; no libtpu needed."""

import pytest

from stlight_jax import InputError
from stlight_jax.data.load import check_config
from stlight_jax.tpu_planning.chips import CHIPS, Slice
from stlight_jax.tpu_planning.compile_plan import CompilePlan, hbm_needed, time_bound
from stlight_jax.tpu_planning.hlo_program import Collective, ProgramCost
from tests.conftest import load_config


@pytest.mark.parametrize(
    ("message", "gibibytes"),
    [
        ("RESOURCE_EXHAUSTED: required for HLO temporaries (65.59G) exceeds available HBM (15.75G)", 65.59),
        ("Ran out of memory in memory space hbm. Used 64.00G of 15.75G hbm. Exceeded hbm capacity by 48.25G.", 64),
        ("Ran out of memory in memory space hbm. Used 1.50T of 15.75G hbm.", 1536),
        ("RESOURCE_EXHAUSTED: nothing more is known", None),
        ("Ran out of memory in memory space vmem. Used 17.50M of 16.00M vmem. Exceeded vmem capacity by 1.50M.", None),
    ],
)
def test_the_compilers_message_tells_what_is_needed(message, gibibytes):
    assert hbm_needed(message) == (gibibytes and pytest.approx(gibibytes * 2**30))


def test_frames_that_the_network_does_not_take_are_refused():
    with pytest.raises(InputError, match="frames have shape .*, which is empty"):
        CompilePlan(check_config(load_config("tiny")), (0, 32))


def test_a_batch_that_cannot_be_accumulated_is_refused():
    config = load_config("tiny")
    config.train.accumulate = 3
    with pytest.raises(InputError, match="--batch_per_chip=4 is no multiple of train.accumulate, 3"):
        CompilePlan(check_config(config), (32, 32)).training(Slice("v5e:1x1", CHIPS["v5e"], (None,)), 4)


def test_bounds_are_work_over_published_peaks():
    cost = ProgramCost(
        flops=1e12, product_flops=197e9, product_passes=6 * 197e9, transcendentals=0, bytes=819e6, padding_bytes=0
    )
    found = time_bound(CHIPS["v5e"], cost, (Collective("all-reduce", 50_000_000, 2),), 4)
    assert found["products"] == pytest.approx(6e-3)  # 6 passes of 0.197 TFLOP at 197 TFLOP/s
    assert found["memory"] == pytest.approx(1e-3)
    assert found["network"] == pytest.approx(100e6 * 2 * 3 / 4 / 200e9)  # a ring sends 3/4 of the bytes twice
    assert found["seconds_per_step"] == found["products"]
    assert found["limited_by"] == "products"
    assert time_bound(CHIPS["v5e"], cost, (Collective("all-reduce", 50_000_000, 2),), 1)["network"] == 0
