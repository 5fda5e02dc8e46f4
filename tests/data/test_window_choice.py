"""Windows and splits that a config leaves open suit the length of the data."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from stlight_jax import InputError
from stlight_jax.data.datasets.frames import Frames
from stlight_jax.data.load import check_config, open_test, open_training, with_windows
from tests.conftest import load_config


@pytest.fixture
def config(tmp_path):
    """Returns configs of `configs/frames.py` for new files; a key is replaced by its path, such as "model.in_frames"."""

    def make(*frames, names=None, times=None, **keys):
        (tmp_path / "raw").mkdir(exist_ok=True)
        for number, count in enumerate(frames):
            array = np.random.default_rng(number).normal(size=(count, 8, 9)).astype(np.float32)
            path = tmp_path / "raw" / (names[number] if names else f"clip {chr(97 + number) * 3}.npz")
            path.parent.mkdir(exist_ok=True)
            np.savez(path, v=array, **({} if times is None else {"time": times[:count]}))
        loaded = load_config("tiny", "frames")
        loaded.data.update(root=str(tmp_path / "raw"), prepared=str(tmp_path / "kept"))
        for key, value in keys.items():
            section, name = key.split("__")
            loaded[section][name] = value
        return check_config(loaded)

    return make


def chosen(config):
    """(in_frames, out_frames, validation_fraction, test_fraction), with a check that each split has windows of them."""
    found = with_windows(config)
    for sequences in (*open_training(found), open_test(found)):
        assert len(sequences)
    return found.model.in_frames, found.model.out_frames, found.data.validation_fraction, found.data.test_fraction


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        # Validation has the least frames. It has enough windows of n frames if it has 5, or a quarter of n.
        (2000, (10, 10, 0.1, 0.2)),
        (240, (10, 10, 0.1, 0.2)),  # 24 frames: 5 windows
        (230, (10, 10, 0.2, 0.2)),  # 23 frames would have 4
        (144, (10, 10, 0.2, 0.2)),
        (100, (8, 8, 0.2, 0.2)),  # 20 frames: 5 windows
        (54, (4, 4, 0.2, 0.2)),  # 11 frames: 4 windows
        (20, (2, 2, 0.2, 0.2)),  # 4 frames: 1 window
        (10, (1, 1, 0.2, 0.2)),
        (6, (1, 1, 0.3, 0.3)),  # 2 frames in each split
    ],
)
def test_short_files_have_shorter_windows_or_other_splits(config, frames, expected):
    assert chosen(config(frames)) == expected


def test_keys_that_are_set_stay(config):
    assert chosen(config(54, model__in_frames=3)) == (3, 6, 0.2, 0.2)  # 11 frames: 3 windows
    assert chosen(config(54, model__out_frames=1)) == (8, 1, 0.2, 0.2)  # likewise
    assert chosen(config(54, model__in_frames=6, model__out_frames=6)) == (6, 6, 0.3, 0.3)
    assert chosen(config(54, data__validation_fraction=0.15, data__test_fraction=0.15)) == (3, 3, 0.15, 0.15)
    assert chosen(config(144, data__validation_fraction=0.1)) == (6, 6, 0.1, 0.2)  # 14 frames: 3 windows
    full = config(54, model__in_frames=2, model__out_frames=2, data__validation_fraction=0.2, data__test_fraction=0.3)
    assert with_windows(full) == full


def test_horizons_strides_and_steps_count(config):
    assert chosen(config(144, data__frame_step=2)) == (6, 6, 0.2, 0.2)  # 14 would span 27 of 29 frames
    assert chosen(config(144, data__evaluation_stride=4)) == (8, 8, 0.2, 0.2)  # 16 of 29 frames: 4 windows, 4 frames apart
    assert chosen(config(144, evaluation__horizon=15)) == (10, 10, 0.2, 0.2)  # 25 of 29 frames: 5 windows
    assert chosen(config(144, evaluation__horizon=18)) == (7, 7, 0.2, 0.2)


def test_whole_sequences_stay_together_as_long_as_windows_fit(config):
    assert chosen(config(*[20] * 6)) == (10, 10, 0.1, 0.2)
    assert chosen(config(*[7] * 6)) == (3, 3, 0.1, 0.2)
    found = with_windows(config(*[100, 100, 100, 1, 1, 1, 1, 1, 1, 1]))  # the tests' draw is short
    assert (found.data.split, found.model.in_frames) == ("time", 9)  # 3 times 3 windows


def test_names_of_splits_are_obeyed(config):
    found = config(300, 13, 12, names=["train/a.npz", "val/b.npz", "test/c.npz"])
    assert chosen(found) == (6, 6, 0.1, 0.2)
    assert with_windows(found).data.split == "auto"


def test_validation_frames_that_are_cut_from_training_sequences_have_several_windows(config):
    # A fifth of 40 frames: 3 windows of 6 frames, where 8 frames would be one window.
    assert chosen(config(40, 15, names=["train/a.npz", "test/b.npz"])) == (3, 3, 0.2, 0.2)


def test_frames_without_any_choice_are_refused(config):
    by_sequence = config(5, 5, names=["a.npz", "b.npz"], data__split="sequence")
    with pytest.raises(InputError, match="there are 2 sequences .or groups of them., too few to divide by sequence"):
        with_windows(by_sequence)
    moments = {"data__validation_from": "2020-01-05", "data__validation_before": "2020-01-02"}
    dated = config(20, 20, names=["a.npz", "b.npz"], times=np.datetime64("2020-01-01") + np.arange(20), **moments)
    with pytest.raises(InputError, match="the validation set has no frames"):
        with_windows(dated)


def test_prepared_frames_keep_their_division(config, tmp_path):
    asked = config(54)
    Frames().prepare(epath.Path(tmp_path / "raw"), epath.Path(tmp_path / "out"), asked.data)
    prepared = dataclasses.replace(asked, data=dataclasses.replace(asked.data, root=str(tmp_path / "out")))
    assert chosen(prepared) == chosen(asked) == (4, 4, 0.2, 0.2)
    other = dataclasses.replace(prepared, data=dataclasses.replace(prepared.data, test_fraction=0.25))
    with pytest.raises(InputError, match="data.test_fraction is 0.25, prepared with 0.2"):
        open_training(with_windows(other))


def test_dates_choose_the_test_set(config):
    times = np.datetime64("2019-03-01T00", "h") + np.arange(480)
    found = with_windows(config(480, times=times, data__test_from="2019-03-20", data__validation_from="2019-03-18T12"))
    training, validation = open_training(found)
    test = open_test(found)
    windows = {"train": 17 * 24 + 12, "validation": 36, "test": 24}
    for name, sequences in zip(windows, (training, validation, test), strict=True):
        assert len(sequences) == windows[name] - 19
    array = np.random.default_rng(0).normal(size=(480, 8, 9)).astype(np.float32)
    np.testing.assert_array_equal(test.frames(np.array([0]))[0, :, ..., 0], array[456:476])


@pytest.mark.parametrize(
    ("moment", "times", "message"),
    [
        ("2019-03-20", None, "data.test_from is '2019-03-20', and clip aaa.npz#v has no times; expected frames with times"),
        ("2020", "h", "data.test_from is '2020', and the frames reach from 2019-03-01T00 to 2019-03-04T03; expected a moment"),
        ("March", "h", "data.test_from is 'March'; the times of clip aaa.npz#v are 'time'"),
    ],
)
def test_moments_that_the_frames_do_not_have_are_refused(config, moment, times, message):
    dates = None if times is None else np.datetime64("2019-03-01T00", times) + np.arange(76)
    with pytest.raises(InputError, match=message) as caught:
        with_windows(config(76, times=dates, data__test_from=moment))
    assert "\n" not in str(caught.value)


def refusal(config, *frames, **keys):
    with pytest.raises(InputError) as caught:
        with_windows(config(*frames, **keys))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_too_few_frames_are_refused_with_the_least_number(config, frames):
    # Two frames in each of three splits; `test_short_files_have_shorter_windows_or_other_splits` has 6.
    assert "; expected at least 6, so that each of training, validation and test has a window of 2" in refusal(config, frames)


@pytest.mark.parametrize(
    ("keys", "longest", "fewest"),
    [
        # Of 40 frames, fractions of 0.3 and 0.3 leave 16, 12 and 12. Of 336, validation and test begin at 0.4 * 336 = 134
        # and 0.7 * 336 = 235, and each has 101.
        ({"model__in_frames": 100}, 12, 336),
        ({"model__in_frames": 10, "model__out_frames": 10}, 12, 66),  # from 26 and 46 on: 20 and 20
        ({"model__in_frames": 4, "evaluation__horizon": 9}, 12, 43),  # from 17 and 30 on: 13 and 13
        # From 71 and 82 on: 11 and 20.
        ({"model__in_frames": 10, "data__validation_fraction": 0.1, "data__test_fraction": 0.2, "data__split": "time"}, 4, 102),
        ({"model__in_frames": 6, "model__out_frames": 1, "data__frame_step": 3}, 4, 63),  # 25, 44: 19 for a span of 19
        ({"model__in_frames": 12, "data__gap": 5}, 7, 60),  # 24 and 42, 5 later: 13 and 13
    ],
)
def test_windows_that_are_too_long_are_refused_with_the_longest_ones(config, keys, longest, fewest):
    message = refusal(config, 40, **keys)
    assert "the longest stretch without a gap in time has 40 frames; " in message
    assert f"expected at most {longest} frames, such as" in message
    assert f"or give at least {fewest} frames" in message
    assert "are too long for one in each of" in refusal(config, fewest - 1, **keys)
    with_windows(config(fewest, **keys))
    if "evaluation__horizon" not in keys:
        halves = {"model__in_frames": longest - longest // 2, "model__out_frames": longest // 2}
        with_windows(config(40, **{**keys, **halves}))
