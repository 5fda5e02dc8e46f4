"""Windows against an enumeration by hand, and the order of an epoch against NumPy's documented generator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlight_jax.data.windows import Segment, Windows, permutation, split_at_jumps
from stlight_jax.errors import InputError


@st.composite
def arrangements(draw):
    """Runs one after the other, perhaps with frames between them that belong to none."""
    segments, place = [], draw(st.integers(0, 3))
    for frames in draw(st.lists(st.integers(1, 14), max_size=5)):
        segments.append(Segment(place, frames, draw(st.integers(-5, 50))))
        place += frames + draw(st.integers(0, 2))
    strides = draw(st.integers(1, 6) | st.lists(st.integers(1, 6), min_size=len(segments), max_size=len(segments)))
    return segments, draw(st.integers(1, 6)), strides, draw(st.integers(1, 3)), draw(st.sampled_from(["start", "end"]))


def enumerated(segments, length, strides, frame_step, anchor):
    """(segment, place of each frame, tick of each frame) of all windows, by walking along, or backwards from the end."""
    found = []
    span = 1 + frame_step * (length - 1)
    for number, segment in enumerate(segments):
        stride = strides if isinstance(strides, int) else strides[number]
        starts = []
        if anchor == "start":
            start = 0
            while start + span <= segment.frames:
                starts.append(start)
                start += stride
        else:
            start = segment.frames - span
            while start >= 0:
                starts.insert(0, start)
                start -= stride
        for start in starts:
            offsets = [start + frame_step * i for i in range(length)]
            found.append((number, [segment.first + o for o in offsets], [segment.tick + o for o in offsets]))
    return found


@settings(max_examples=300, deadline=None, derandomize=True)
@given(arrangements())
def test_windows_are_those_found_by_walking_along_each_run(arrangement):
    expected = enumerated(*arrangement)
    windows = Windows(*arrangement)
    assert len(windows) == len(expected)
    everyone = np.arange(len(windows))
    frames = windows.frames(everyone)
    assert frames.shape == (len(expected), arrangement[1])
    assert frames.tolist() == [places for _, places, _ in expected]
    numbers, ticks = windows.ticks(everyone)
    assert numbers.tolist() == [number for number, _, _ in expected]
    assert ticks.tolist() == [moments for _, _, moments in expected]
    for row, number in zip(frames, numbers, strict=True):  # no window leaves its segment
        segment = arrangement[0][number]
        assert segment.first <= row[0]
        assert row[-1] < segment.first + segment.frames
    some = np.random.default_rng(0).permutation(everyone)[:7]
    np.testing.assert_array_equal(windows.frames(some), frames[some])


@pytest.mark.parametrize("count", [0, 1, 4])
def test_windows_beyond_the_last_are_an_error(count):
    windows = Windows([Segment(0, count)] if count else [], 1)
    assert len(windows) == count
    assert windows.frames(np.arange(count)).shape == (count, 1)
    for wrong in (-1, count):
        with pytest.raises(IndexError, match=f"there are {count} windows"):
            windows.frames(np.array([wrong]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 0}, "the length of windows is 0; it must be at least 1"),
        ({"frame_step": 0}, "the frame_step of windows is 0"),
        ({"strides": 0}, "the stride of windows is 0"),
        ({"strides": [2, -1]}, "the stride of windows is -1"),
    ],
)
def test_impossible_windows_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Windows(**{"segments": [Segment(0, 5), Segment(5, 5)], "length": 2, **change})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1, 1, 1, 0, -2, 3]), max_size=30), st.integers(0, 9), st.integers(-100, 100))
def test_runs_end_where_time_jumps(jumps, first, begin):
    ticks = begin + np.cumsum([0, *jumps])
    expected = []
    for place, tick in enumerate(ticks.tolist()):
        if expected and tick == ticks[place - 1] + 1:
            expected[-1][1] += 1
        else:
            expected.append([first + place, 1, tick])
    assert [list(segment) for segment in split_at_jumps(ticks, first)] == expected
    assert split_at_jumps(ticks[:0], first) == []


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 500), st.integers(0, 2**32 - 1), st.integers(0, 10_000))
def test_an_epochs_order_is_a_permutation_and_the_same_every_time(count, seed, epoch):
    order = permutation(count, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))
    np.random.default_rng(1).random(100)  # what other generators do makes no difference
    np.testing.assert_array_equal(permutation(count, seed, epoch), order)


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = {tuple(permutation(100, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_an_epochs_order_is_numpys_philox():
    """The key is (seed, epoch), as two words of 64 bits or as one of 128: key = seed + epoch * 2**64, counter 0."""
    for count, seed, epoch in ((20, 42, 0), (1000, 42, 3), (7, 2**32 - 1, 12)):
        generator = np.random.Generator(np.random.Philox(counter=0, key=seed + (epoch << 64)))
        np.testing.assert_array_equal(permutation(count, seed, epoch), generator.permutation(count))


def test_an_epochs_order_stays_what_it_was():
    """Runs that are resumed rely on it: recorded with NumPy 2.4 and 2.5 on Linux."""
    assert permutation(20, 42, 0)[:8].tolist() == [17, 13, 1, 5, 2, 8, 6, 0]
    assert permutation(1_000_000, 42, 7)[:8].tolist() == [89659, 931376, 509037, 742155, 674415, 739318, 587794, 781129]
    assert permutation(10, 0, 0).tolist() == [0, 7, 8, 6, 9, 5, 1, 3, 2, 4]
