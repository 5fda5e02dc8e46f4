"""OneCycle against values recorded from PyTorch's OneCycleLR (as OpenSTL uses it)."""

import math

import pytest

from stlight_jax import InputError
from stlight_jax.training.schedule import OneCycle

# step: (learning rate, beta1), 125,000 steps to 1e-3. The two early rates also stand in a public OpenSTL log.
GOLDEN = {
    0: (4e-5, 0.95),
    2500: (5.0489709e-5, 0.94890732),
    3125: (5.6356471e-5, 0.94829620),
    37499: (1e-3, 0.85),
    62500: (8.1173162e-4, 0.86882691),
    124999: (4e-9, 0.95),
}


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
