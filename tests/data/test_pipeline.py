"""Which sequences make which batch."""

import threading

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data import pipeline
from stlight_jax.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from stlight_jax.data.scaling import Scaling


class Numbered:
    """Sequences that hold their epoch and index."""

    scaling = Scaling()

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def frames(self, indices, epoch=0):
        return np.stack([np.full((2, 1, 1, 1), 100 * epoch + index, np.uint8) for index in indices])


def numbers(batch):
    assert batch.dtype == np.uint8
    return batch[:, 0, 0, 0, 0].tolist()


def test_batches_follow_the_step_and_drop_the_remainder():
    batches = [numbers(batch) for batch in training_batches(Numbered(10), 4, 0, 5)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [100, 101, 102, 103], [104, 105, 106, 107], [200, 201, 202, 203]]


def test_a_stream_begun_later_is_the_tail_of_the_whole():
    whole = [numbers(batch) for batch in training_batches(Numbered(10), 4, 0, 5)]
    for first in range(6):
        assert [numbers(batch) for batch in training_batches(Numbered(10), 4, first, 5)] == whole[first:]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_each_batch(processes):
    whole = [numbers(batch) for batch in training_batches(Numbered(10), 4, 0, 4)]
    parts = [
        [numbers(batch) for batch in training_batches(Numbered(10), 4, 0, 4, index, processes)] for index in range(processes)
    ]
    assert [[number for part in parts for number in part[step]] for step in range(4)] == whole


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (8, 4), (3, 4), (1, 1)])
def test_evaluation_sees_each_sequence_once(count, batch):
    seen = []
    for frames, mask in evaluation_batches(Numbered(count), batch):
        assert len(frames) == len(mask) == batch
        seen += numbers(frames[mask])
    assert seen == list(range(count))


def test_a_batch_larger_than_an_epoch_is_refused():
    assert steps_per_epoch(10_000, 16) == 625
    with pytest.raises(InputError, match="train.batch_size is 11, but an epoch has 10 sequences"):
        steps_per_epoch(10, 11)


@pytest.mark.parametrize(("cores", "at_once"), [(1, 2), (6, 6), (200, 8)])
def test_every_core_makes_a_batch_and_their_order_is_as_ever(monkeypatch, cores, at_once):
    monkeypatch.setattr(pipeline.os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    all_of_them = threading.Barrier(at_once)

    class Together(Numbered):
        def frames(self, indices, epoch=0):
            all_of_them.wait(60)
            return super().frames(indices, epoch)

    batches = [numbers(batch) for batch in training_batches(Together(96), 4, 0, 24)]
    assert batches == [list(range(4 * step, 4 * step + 4)) for step in range(24)]
