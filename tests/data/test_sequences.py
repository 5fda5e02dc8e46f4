"""What tells data apart that processes must have in common."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.datasets.moving_mnist import MovingMnist
from stlight_jax.data.load import open_training
from stlight_jax.data.moving_images import PublishedSequences
from stlight_jax.data.sequences import check_targets, fingerprint
from tests.data.window_arrays import IN, load, write


@pytest.fixture
def sequences(small_run):
    return MovingMnist().open_training(small_run.data, 5, 5, 0)[1]


def test_the_same_data_have_one_fingerprint(small_run, sequences):
    assert fingerprint(sequences) == fingerprint(MovingMnist().open_training(small_run.data, 5, 5, 0)[1])


@pytest.mark.parametrize("change", [{"count": 6}, {"seed": 3}, {"length": 4}, {"side": 18}, {"split": "test"}])
def test_others_have_another(sequences, change):
    assert fingerprint(dataclasses.replace(sequences, **change)) != fingerprint(sequences)


def test_a_file_of_the_same_form_with_another_last_sequence_has_another():
    ours = np.random.default_rng(0).integers(0, 256, (20, 11, 4, 4), np.uint8)
    theirs = ours.copy()
    theirs[-1, -1, -1, -1] ^= 1
    assert fingerprint(PublishedSequences(ours, "a.npy")) != fingerprint(PublishedSequences(theirs, "a.npy"))


@pytest.mark.parametrize(("dtype", "mark", "options"), [("float32", np.nan, {}), ("uint16", 7, {"fill_value": 7.0})])
def test_targets_without_any_value_are_an_error_that_names_the_remedy(tmp_path, dtype, mark, options):
    frames = write(tmp_path / "raw", 60, dtype)
    frames[frames == 7] = 8
    frames[45:48, ..., 0] = mark  # in validation frames, 42 to 47, targets of the first channel have no values
    np.save(tmp_path / "raw" / "a.npy", frames)
    training, validation = open_training(load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), **options))
    check_targets(training, IN, 2, "training")
    check_targets(validation, IN, 2, "validation")
    with pytest.raises(InputError, match=r"the validation targets are missing, .*data\.split, .*data\.mask") as caught:
        check_targets(validation, IN, 1, "validation")
    assert "\n" not in str(caught.value)
