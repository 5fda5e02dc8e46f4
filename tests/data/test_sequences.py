"""What tells data apart that processes must have in common."""

import dataclasses

import numpy as np
import pytest

from stlight_jax.data.datasets.moving_mnist import MovingMnist
from stlight_jax.data.moving_images import PublishedSequences
from stlight_jax.data.sequences import fingerprint


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
