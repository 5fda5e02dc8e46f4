"""tf.data: which sequences make which batch, read ahead, in the dtype they are stored in.

A training batch is a function of its step, so resuming needs the step and nothing else. An evaluation sees every
sequence once; the last batch is filled up and masked.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

# Each takes memory, and all of them share one interpreter.
MOST_AT_ONCE = 8


@functools.cache
def load_tensorflow() -> Any:
    """The module `tensorflow`. Its import takes seconds, for which nobody should wait who has mistyped a path.

    TensorFlow only reads data and scales frames here, and must not take the accelerators' memory: they are hidden from it,
    unless somebody has used it before.
    """
    import tensorflow as tf

    try:
        for kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], kind)
    except RuntimeError as error:
        logging.warning("TensorFlow keeps the memory of the accelerators: %s", error)
    return tf


def steps_per_epoch(sequences: int, batch_size: int) -> int:
    """Whole batches in an epoch; an incomplete last one is dropped, as OpenSTL does. Raises InputError if there is none."""
    if batch_size > sequences:
        raise InputError(f"train.batch_size is {batch_size}, but an epoch has {sequences} sequences; make the batch smaller")
    return sequences // batch_size


def training_batches(
    source: Sequences,
    batch_size: int,
    first_step: int,
    last_step: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[np.ndarray]:
    """The batches of steps `first_step` (from 0) up to but not including `last_step`, this process's part of each.

    Returns:
      An iterator of `[batch_size / process_count, t, h, w, c]` in the dtype of the data.
    """
    per_epoch = steps_per_epoch(len(source), batch_size)
    if batch_size % process_count:
        raise InputError(f"train.batch_size is {batch_size}; it must be a multiple of the {process_count} processes")
    share = batch_size // process_count

    def make(step: np.ndarray) -> np.ndarray:
        epoch, position = divmod(int(step), per_epoch)
        first = position * batch_size + process_index * share
        return source.frames(np.arange(first, first + share), epoch)

    steps = load_tensorflow().data.Dataset.range(first_step, last_step)
    return _read_ahead(steps.map(_numpy_map(make, (source.scaling.dtype,)), num_parallel_calls=_at_once(), deterministic=True))


def evaluation_batches(
    source: Sequences, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every sequence once, over all processes, each of which makes equally many batches.

    Returns:
      An iterator of `[batch_size / process_count, t, h, w, c]` and bool `[batch_size / process_count]`, False where a sequence
      is filler.
    """
    count, share = len(source), batch_size // process_count

    def make(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        indices = int(first) + process_index * share + np.arange(share)
        mask = indices < count
        return source.frames(np.where(mask, indices, count - 1)), mask

    tf = load_tensorflow()
    firsts = tf.data.Dataset.range(0, count, batch_size)
    return _read_ahead(
        firsts.map(_numpy_map(make, (source.scaling.dtype, tf.bool)), num_parallel_calls=_at_once(), deterministic=True)
    )


def _at_once() -> int:
    """How many batches are made at once: one per core that this process may use, two even of one, for files are waited for."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return min(max(cores, 2), MOST_AT_ONCE)


def _numpy_map(function, dtypes):
    tf = load_tensorflow()
    dtypes = [tf.as_dtype(dtype) for dtype in dtypes]

    def mapped(element):
        return tf.numpy_function(function, [element], dtypes if len(dtypes) > 1 else dtypes[0], stateful=False)

    return mapped


def _read_ahead(dataset: tf.data.Dataset) -> Iterator:
    options = load_tensorflow().data.Options()
    # A private pool: frames are prepared beside the compiled step without taking its threads.
    options.threading.private_threadpool_size = _at_once()
    options.deterministic = True
    return dataset.prefetch(2).with_options(options).as_numpy_iterator()
