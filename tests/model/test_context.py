"""Context in time: the plan of a roll-out against a loop over times, and frames that equal those one period earlier."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import InputError, STLightConfig
from stlight_jax.model.context import (
    MISSING,
    HistoryFrame,
    SeenFrames,
    first_pass,
    horizon_of,
    plan_context,
    sequence_length,
    shorter_sequence,
)
from stlight_jax.model.count import count
from stlight_jax.model.rollout import rollout

SIZES = {"in_channels": 1, "out_channels": 1, "hidden_dim": 8, "depth": 2, "patch_size": 2, "far_kernel": 3}


def network(in_frames, out_frames, periods, frame_step=1):
    return STLightConfig(in_frames=in_frames, out_frames=out_frames, periods=periods, frame_step=frame_step, **SIZES)


def times_of(plan):
    return [frame.time for frame in plan.history]


CASES = [
    # T, T', periods, frame_step, horizon, kept
    (4, 4, (24,), 1, 4, None),
    (4, 4, (24, 168), 1, 9, None),
    (3, 2, (5,), 1, 12, None),
    (3, 2, (2,), 1, 6, None),
    (3, 2, (1, 3), 1, 4, 1),
    (2, 3, (7, 4), 2, 10, None),
    (2, 3, (7, 4), 2, 10, 1),
    (2, 3, (6, 5), 3, 7, 1),
]


def times_by_loop(in_frames, out_frames, periods, step, horizon, kept):
    """The times that each pass sees, and those of its context that no sequence has."""
    passes, done = [], 0
    while done < horizon:
        now, seen = done * step, []
        for period in periods:
            for lead in range(out_frames + 1):
                back = period
                while back < lead * step:
                    back += period
                seen.append(now + lead * step - back)
        passes.append((seen, [now - back * step for back in reversed(range(in_frames))]))
        done += kept or out_frames
    return passes


@pytest.mark.parametrize(("in_frames", "out_frames", "periods", "step", "horizon", "kept"), CASES)
def test_every_pass_sees_the_frames_one_period_before_its_predictions(in_frames, out_frames, periods, step, horizon, kept):
    plan = plan_context(network(in_frames, out_frames, periods, step), horizon, kept)
    inputs = [-back * step for back in reversed(range(in_frames))]
    expected = times_by_loop(in_frames, out_frames, periods, step, horizon, kept)
    earlier = {time for context, _ in expected for time in context if time <= 0} - set(inputs)
    assert plan.history == tuple(map(HistoryFrame, sorted(earlier)))
    sequence = [*times_of(plan), *inputs, *((number + 1) * step for number in range(horizon + out_frames))]
    assert len(plan.passes) == len(expected)
    for indices, (context, recent) in zip(plan.passes, expected, strict=True):
        found = [None if index == MISSING else sequence[index] for index in indices]
        assert found == [time if time in sequence else None for time in context] + recent


@pytest.mark.parametrize(
    ("in_frames", "out_frames", "period", "step", "horizon", "kept"),
    [(12, 6, 12, 1, 6, None), (3, 2, 5, 2, 12, None), (3, 2, 4, 1, 7, 1)],
)
def test_means_end_with_the_latest_frame_of_their_phase_that_is_observed(in_frames, out_frames, period, step, horizon, kept):
    config = dataclasses.replace(network(in_frames, out_frames, (), step), mean_periods=(period,))
    plan = plan_context(config, horizon, kept)
    for number, indices in enumerate(plan.passes):
        now = number * (kept or out_frames) * step
        for lead, index in enumerate(indices[: out_frames + 1]):
            frame = plan.history[index]
            latest = now + lead * step - period
            while latest > 0:
                latest -= period
            assert frame == HistoryFrame(latest, period)
            assert frame.times == tuple(latest - back * period for back in range(30))
        assert len(indices) == out_frames + 1 + in_frames
    assert config.periods_text == f"mean:{period}"


def test_a_shorter_horizon_has_a_part_of_the_history_and_each_length_one_horizon():
    config = network(3, 2, (5, 11), 2)
    lengths = [sequence_length(config, horizon) for horizon in range(1, 12)]
    assert [horizon_of(config, length) for length in lengths] == list(range(1, 12))
    whole = [*times_of(plan_context(config, 9)), -4, -2, 0, *(2 * lead for lead in range(1, 10))]
    short = [*times_of(plan_context(config, 3)), -4, -2, 0, 2, 4, 6]
    assert [whole[index] for index in shorter_sequence(config, len(whole), 3)] == short
    leads = [2, 4]
    context = [0 - 5, 2 - 5, 4 - 5, 0 - 11, 2 - 11, 4 - 11]
    assert [whole[index] for index in first_pass(config, len(whole), 2)] == [*context, -4, -2, 0, *leads]
    with pytest.raises(InputError, match=r"a sequence has 9 frames; expected 10 to predict 1 .*data.periods=5,11\)"):
        horizon_of(config, 9)


def test_without_periods_a_sequence_is_its_input_and_its_targets():
    config = network(4, 3, ())
    assert plan_context(config, 7) == dataclasses.replace(plan_context(config, 7), history=())
    assert (sequence_length(config, 7), horizon_of(config, 11)) == (11, 7)
    assert shorter_sequence(config, 11, 2) == first_pass(config, 11, 2) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("out_frames", "periods", "horizon"), [(4, (24,), 30), (3, (5,), 11), (4, (2,), 9)])
def test_copying_the_context_continues_a_periodic_sequence(out_frames, periods, horizon):
    config = network(3, out_frames, periods)
    of_one_period = np.random.default_rng(0).random(periods[0]).astype(np.float32)

    def frames(times):
        values = of_one_period[np.asarray(times) % periods[0]]
        return np.broadcast_to(values[None, :, None, None, None], (2, len(values), 2, 2, 1))

    known = frames([*times_of(plan_context(config, horizon)), -2, -1, 0])
    found = rollout(lambda seen: seen[:, 1 : out_frames + 1], known, horizon, config)
    np.testing.assert_array_equal(found, frames(range(1, horizon + 1)))


def test_a_context_frame_between_the_predicted_frames_is_nan():
    config = network(2, 2, (5,), frame_step=2)  # the second pass sees the time -1, and would see 1 and 3
    plan = plan_context(config, 4)
    frames = SeenFrames(plan, np.zeros((1, len(plan.history) + 2, 1, 1, 1), np.float32))
    frames.append(np.ones((1, 2, 1, 1, 1), np.float32))
    np.testing.assert_array_equal(frames.of_pass(1).ravel(), [0, np.nan, np.nan, 1, 1])


def test_context_frames_are_further_inputs_of_encoder_and_shortcut():
    config = dataclasses.replace(network(3, 2, (24, 168)), shortcut="linear")
    assert (config.context_frames, config.seen_frames) == (6, 9)
    plain = dataclasses.replace(config, in_frames=9, periods=())
    assert count(config, 4, 4) == count(plain, 4, 4)


@pytest.mark.parametrize("wrong", [{"periods": (0,)}, {"periods": ("24",)}, {"frame_step": 0}])
def test_a_wrong_period_is_refused(wrong):
    with pytest.raises(InputError, match="expected whole numbers of at least 1"):
        dataclasses.replace(network(3, 2, ()), **wrong)
