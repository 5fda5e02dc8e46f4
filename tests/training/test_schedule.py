"""Schedules against values recorded from PyTorch's OneCycleLR and timm's CosineLRScheduler (as OpenSTL uses them)."""

import itertools
import math

import pytest

from stlight_jax import InputError
from stlight_jax.config.sections import OptimizerSection
from stlight_jax.training.schedule import Cosine, OneCycle, make_schedule

# step: (learning rate, beta1), 125,000 steps to 1e-3. The two early rates also stand in a public OpenSTL log.
GOLDEN = {
    0: (4e-5, 0.95),
    2500: (5.0489709e-5, 0.94890732),
    3125: (5.6356471e-5, 0.94829620),
    37499: (1e-3, 0.85),
    62500: (8.1173162e-4, 0.86882691),
    124999: (4e-9, 0.95),
}

# epoch: learning rate of 50 epochs from 5e-4 with 5 epochs of warm-up.
GOLDEN_COSINE = {0: 1e-5, 1: 1.08e-4, 4: 4.02e-4, 5: 4.8778860e-4, 25: 2.505e-4, 49: 1.4923313e-6}


@pytest.mark.parametrize("step", GOLDEN)
def test_golden_values(step):
    learning_rate, beta1 = OneCycle(125_000, 1e-3)(step)
    assert learning_rate == pytest.approx(GOLDEN[step][0], rel=1e-7)
    assert beta1 == pytest.approx(GOLDEN[step][1], rel=1e-7)


def test_the_published_recipe_ends_where_it_should():
    schedule = OneCycle(125_000, 3e-3)
    assert schedule(37_499).learning_rate == 3e-3
    assert schedule(124_999).learning_rate == pytest.approx(3e-3 / 25 / 1e4, rel=1e-12)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 10, 11])
def test_short_schedules_stay_in_range(total):
    for step in range(total):
        learning_rate, beta1 = OneCycle(total, 1.0)(step)
        assert 4e-6 - 1e-15 <= learning_rate <= 1.0
        assert 0.85 <= beta1 <= 0.95
        assert math.isfinite(learning_rate)


def test_knots_lie_between_steps_where_the_rise_is_no_whole_number():
    # 11 steps: the peak is at 0.3 * 11 - 1 = 2.3, so step 2 is 2 / 2.3 of the way up and step 3 is 0.7 / 7.7 down.
    schedule = OneCycle(11, 1.0)
    up = 1.0 + (0.04 - 1.0) / 2 * (1 + math.cos(math.pi * 2 / 2.3))
    down = 4e-6 + (1.0 - 4e-6) / 2 * (1 + math.cos(math.pi * 0.7 / 7.7))
    assert schedule(2).learning_rate == pytest.approx(up, rel=1e-12)
    assert schedule(3).learning_rate == pytest.approx(down, rel=1e-12)


@pytest.mark.parametrize(("arguments", "message"), [((10, 1.0, 0.0), "optimizer.rise"), ((0, 1.0), "has 0 steps")])
def test_impossible_schedules_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        OneCycle(*arguments)


@pytest.mark.parametrize("epoch", GOLDEN_COSINE)
def test_golden_values_of_the_cosine(epoch):
    schedule = Cosine(1278, 50, 5e-4)
    for step in (epoch * 1278, epoch * 1278 + 1277):
        learning_rate, beta1 = schedule(step)
        assert learning_rate == pytest.approx(GOLDEN_COSINE[epoch], rel=1e-7)
        assert beta1 == 0.9


def test_the_warm_up_hides_the_beginning_of_the_cosine_and_nothing_else():
    with_warm_up, without = Cosine(3, 20, 1e-3, warmup_epochs=4), Cosine(3, 20, 1e-3, warmup_epochs=0)
    assert without(0).learning_rate == 1e-3
    rates = [with_warm_up(3 * epoch).learning_rate for epoch in range(20)]
    for before, after in itertools.pairwise(rates[:4]):
        assert after - before == pytest.approx((1e-3 - 1e-5) / 4, rel=1e-12)
    assert rates[0] == 1e-5
    assert rates[4:] == [without(3 * epoch).learning_rate for epoch in range(4, 20)]
    # Around its middle, a cosine is odd.
    for epoch in range(1, 20):
        pair = without(3 * epoch).learning_rate + without(3 * (20 - epoch)).learning_rate
        assert pair == pytest.approx(1e-3 + 1e-6, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_epochs": 50}, "optimizer.warmup_epochs is 50.*train.epochs, 50"),
        ({"warmup_epochs": -1}, "optimizer.warmup_epochs is -1"),
        ({"warmup_start": 6e-4}, "optimizer.warmup_start is 0.0006"),
        ({"warmup_start": float("nan")}, "optimizer.warmup_start is nan"),
        ({"least": -1e-6}, "optimizer.least_learning_rate is -1e-06"),
        ({"least": 1e-3}, "optimizer.least_learning_rate is 0.001.*optimizer.learning_rate, 0.0005"),
        ({"epochs": 0}, "has 0 steps"),
        ({"steps_per_epoch": 0}, "has 0 steps"),
    ],
)
def test_impossible_cosines_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Cosine(**{"steps_per_epoch": 10, "epochs": 50, "peak": 5e-4, **arguments})


def section(**keys):
    return OptimizerSection(learning_rate=3e-3, **keys)


def test_the_config_chooses_the_schedule():
    cycle = {"rise": 0.2, "div_factor": 10.0, "final_div_factor": 3e3, "beta1_low": 0.8, "beta1_high": 0.9}
    wanted = OneCycle(120, 3e-3, rise=0.2, div_factor=10.0, final_div_factor=3e3, beta1_low=0.8, beta1_high=0.9)
    assert make_schedule(section(**cycle), 120, 12) == wanted
    assert make_schedule(section(schedule="onecycle", **cycle), 120, 12) == wanted
    cosine = {"least_learning_rate": 1e-7, "warmup_epochs": 2, "warmup_start": 1e-4, "beta1": 0.8}
    wanted = Cosine(12, 10, 3e-3, least=1e-7, warmup_epochs=2, warmup_start=1e-4, beta1=0.8)
    assert make_schedule(section(schedule="cosine", **cosine), 120, 12) == wanted


def test_an_unknown_schedule_names_the_choices():
    with pytest.raises(InputError, match="optimizer.schedule is 'linear'; choose one of onecycle, cosine"):
        make_schedule(section(schedule="linear"), 120, 12)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_the_peak_grows_with_the_batch_by_the_rule(rule, factor):
    keys = {"rise": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "beta1_low": 0.85, "beta1_high": 0.95}
    optimizer = section(**keys, batch_scaling=rule, reference_batch_size=16)
    assert make_schedule(optimizer, 50, 10, 64).peak == pytest.approx(3e-3 * factor)
    assert make_schedule(optimizer, 50, 10, 16).peak == pytest.approx(3e-3)
