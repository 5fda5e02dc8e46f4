"""From a user's own frames to training, validation and test windows: order, past, range, missing values."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.load import open_test, open_training
from stlight_jax.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from stlight_jax.data.windows import permutation
from tests.data.prepared_arrays import shifted
from tests.data.window_arrays import IN, OUT, everything, load, slices, write


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


@pytest.mark.parametrize("memory", [0, 256])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_own_frames_are_cut_into_windows(raw, kept, memory, dtype):
    array = write(raw, dtype=dtype)
    config = load("frames", raw, prepared=str(kept), memory=memory, stride=2, evaluation_stride=3)
    config.evaluation.horizon = 3
    training, validation = open_training(config)
    expected = slices(array[:42], 2)
    assert training.shape == expected.shape[1:]
    for epoch in range(3):
        np.testing.assert_array_equal(everything(training, epoch), expected[permutation(len(expected), 7, epoch)])
    np.testing.assert_array_equal(everything(validation), array[None, 42:48])


def test_validation_and_test_keep_their_order_and_have_the_horizon_of_evaluations(raw, kept):
    array = write(raw, 100, np.float32)
    config = load("frames", raw, prepared=str(kept), evaluation_stride=2)
    config.evaluation.horizon = 5
    _, validation = open_training(config)
    test = open_test(config)
    for source, first, end in ((validation, 70, 80), (test, 80, 100)):
        expected = np.stack([array[start : start + 8] for start in range(first, end - 7, 2)])
        np.testing.assert_array_equal(everything(source), expected)
        np.testing.assert_array_equal(everything(source, epoch=5), expected)
        seen = [frames[mask] for frames, mask in evaluation_batches(source, 3)]
        np.testing.assert_array_equal(np.concatenate(seen), expected)
        assert not source.description["published"]
    config.train.horizon = 20
    assert open_training(config)[0].shape[0] == 23


@pytest.mark.parametrize("memory", [0, 256])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_every_batch_and_a_resumed_run_sees_the_tail(raw, kept, memory, processes):
    write(raw)
    training, _ = open_training(load("frames", raw, prepared=str(kept), memory=memory, evaluation_stride=1))
    last = 2 * steps_per_epoch(len(training), 4) + 3
    whole = list(training_batches(training, 4, 0, last))
    order = [permutation(len(training), 7, epoch) for epoch in range(3)]
    by_hand = training._windows
    for step, batch in enumerate(whole):
        epoch, position = divmod(step, len(training) // 4)
        places = by_hand.frames(order[epoch][4 * position : 4 * position + 4])
        np.testing.assert_array_equal(batch, np.stack([training._clips.frames[row] for row in places]))
    parts = [list(training_batches(training, 4, 0, last, index, processes)) for index in range(processes)]
    for step, batch in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), batch)
    for first in (1, last // 2, last - 1, last):
        tail = list(training_batches(training, 4, first, last))
        assert len(tail) == last - first
        for ours, theirs in zip(tail, whole[first:], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_past_reaches_over_the_borders_of_splits(raw, kept):
    array = write(raw, 100, np.float32)
    config = load("frames", raw, prepared=str(kept), gap=2)
    config.evaluation.cycle = 24
    _, validation = open_training(config)
    test = open_test(config)
    for source, begin in ((validation, 72), (test, 82)):
        before, there = shifted(source, np.arange(len(source)), 24, OUT)
        for number in range(len(source)):
            wanted = begin + number + IN - 24 + np.arange(OUT)
            assert there[number] == (not {70, 71, 80, 81} & set(wanted.tolist()))
            if there[number]:
                np.testing.assert_array_equal(before[number], array[wanted])
        assert there.any()
    assert not shifted(validation, np.arange(2), 90, OUT)[1].any()
    other = open_test(config)
    everything(other)
    assert set(other._past.__self__._opened) == {"train", "test"}  # the past is opened on demand


@pytest.mark.parametrize(
    ("dtype", "data", "low", "high"),
    [
        (np.uint8, {}, (0.0,), (255.0,)),
        (np.uint16, {}, "min", "max"),
        (np.float32, {}, "min", "max"),
        (np.float32, {"per_channel": True}, "each", "each"),
        (np.uint16, {"value_low": 0.0, "value_high": 65535.0}, (0.0,), (65535.0,)),
        (np.uint8, {"value_low": 0.0, "value_high": 250.0, "per_channel": True}, (0.0,), (250.0,)),
    ],
)
def test_the_range_is_that_of_the_training_frames(raw, kept, dtype, data, low, high):
    array = write(raw, dtype=dtype)
    train = array[:42].astype(np.float64)
    scaling = open_test(load("frames", raw, prepared=str(kept), **data)).scaling
    expected = {
        "min": (train.min(),),
        "max": (train.max(),),
        "each": (tuple(train.min((0, 1, 2))), tuple(train.max((0, 1, 2)))),
    }
    assert scaling.low == (expected[low][0] if low == "each" else expected.get(low, low))
    assert scaling.high == (expected[high][1] if high == "each" else expected.get(high, high))
    assert scaling.dtype == np.dtype(dtype).name
    assert not scaling.missing


def test_bytes_that_are_0_and_1_are_a_mask(raw, kept):
    raw.mkdir()
    np.save(raw / "a.npy", (np.arange(60 * 30).reshape(60, 6, 5) % 2).astype(np.uint8))
    scaling = open_test(load("frames", raw, prepared=str(kept))).scaling
    assert (scaling.low, scaling.high) == ((0.0,), (1.0,))


@pytest.mark.parametrize("fill", [None, float("nan"), 249.0])
def test_missing_values_are_marked_and_filled_with_the_mean(raw, kept, fill):
    array = write(raw, dtype=np.uint16 if fill == 249 else np.float32)
    gone = np.random.default_rng(3).random(array.shape) < 0.2
    array[gone] = 249 if fill == 249 else np.nan
    gone |= array == 249
    np.save(raw / "a.npy", array)
    for _ in range(2):  # read, and found again
        test = open_test(load("frames", raw, prepared=str(kept), fill_value=fill))
    frames = everything(test)
    scaled, here = test.scaling.to_network(frames)
    np.testing.assert_array_equal(here, ~slices(gone[48:]))
    train = np.where(gone, np.nan, array.astype(np.float64))[:42]
    low, high = np.nanmin(train), np.nanmax(train)
    filling = (np.nanmean(train, (0, 1, 2)) - low) / (high - low)
    expected = np.where(slices(gone[48:]), filling, (slices(array[48:]).astype(np.float64) - low) / (high - low))
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fill", [None, 250.0])
def test_what_is_missing_has_no_part_in_resized_frames(raw, kept, fill):
    """Each frame is of one value, which every mean of known pixels must be."""
    array = np.broadcast_to(np.arange(60)[:, None, None, None], (60, 8, 12, 1)).astype(np.float32 if fill is None else np.uint8)
    gone = np.random.default_rng(0).random(array.shape) < 0.2
    gone[:, :, 8:] = True
    gone[40:] = False  # and frames of which nothing is missing
    array[gone] = np.nan if fill is None else fill
    raw.mkdir()
    np.save(raw / "a.npy", array)
    training, _ = open_training(load("frames", raw, prepared=str(kept), height=4, width=6, fill_value=fill))
    stored = training._clips.frames[np.arange(42)]
    assert stored.shape == (42, 4, 6, 1)
    known = ~np.isnan(stored) if fill is None else stored != fill
    values = np.broadcast_to(np.arange(42)[:, None, None, None], stored.shape)
    np.testing.assert_allclose(stored[known], values[known], rtol=1e-6)
    assert known[40:].all()
    assert not known[:40, :, 5:].any()  # no pixel below these is known
    assert known[:40, :, :3].mean() > 0.9  # and most below those are
    assert training.scaling.missing


def test_frames_fewer_than_a_window_are_refused_and_tell_where(raw, kept):
    write(raw, 20)
    with pytest.raises(InputError, match="your frames, validation, in raw: a window spans 5 frames .* jump has 2") as caught:
        open_training(load("frames", raw, prepared=str(kept)))
    assert "\n" not in str(caught.value)
    config = load("frames", raw, prepared=str(kept), validation_fraction=0.3, test_fraction=0.3)
    assert len(open_training(config)[1]) == 2
    config.model.in_frames = 50
    with pytest.raises(InputError, match="your frames, train, in .*: a window spans 52 frames"):
        open_training(config)
