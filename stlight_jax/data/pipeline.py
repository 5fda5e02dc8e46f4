"""The tf.data pipeline: batches of sequences, read ahead, in the stored dtype.

A training batch is a function of its step, so a resumed run needs the step and nothing else. An evaluation reads every sequence
once; the last batch is padded and masked.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

# Each takes memory, and all of them share one interpreter.
MAX_PARALLEL_BATCHES = 8


@functools.cache
def load_tensorflow() -> Any:
    """Imports TensorFlow on first use, because the import takes seconds and wrong paths should be reported at once.

    TensorFlow only reads data and resizes frames here, and must not take the accelerators' memory: they are hidden from it,
    unless it was used before.

    Returns:
      The module `tensorflow`.
    """
    import tensorflow as tf

    try:
        for kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], kind)
    except RuntimeError as error:
        logging.warning("TensorFlow keeps the memory of the accelerators: %s", error)
    return tf


def steps_per_epoch(sequences: int, batch_size: int) -> int:
    """Counts the whole batches in an epoch; an incomplete last batch is dropped, as in OpenSTL.

    Args:
      sequences: number of sequences in an epoch.
      batch_size: sequences in a batch, over all processes.

    Returns:
      Number of steps, at least 1.

    Raises:
      InputError: an epoch has fewer sequences than a batch.
    """
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
    """Makes this process's share of the batches of some steps.

    Args:
      source: the training sequences.
      batch_size: sequences in a batch, over all processes.
      first_step: the first step, from 0.
      last_step: the step after the last one.
      process_index: number of this process.
      process_count: number of processes.

    Returns:
      An iterator of `[batch_size / process_count, t, h, w, c]` in the stored dtype.

    Raises:
      InputError: the batch size does not fit the number of sequences or of processes.
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
    return _read_ahead(steps, make, [source.scaling.dtype])


def evaluation_batches(
    source: Sequences, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Makes this process's share of batches with every sequence once; each process makes equally many batches.

    Args:
      source: the sequences.
      batch_size: sequences in a batch, over all processes; a multiple of their number.
      process_index: number of this process.
      process_count: number of processes.

    Returns:
      An iterator of `[batch_size / process_count, t, h, w, c]` in the stored dtype, and of bool
      `[batch_size / process_count]`, False where a sequence is padding.
    """
    count, share = len(source), batch_size // process_count

    def make(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        indices = int(first) + process_index * share + np.arange(share)
        mask = indices < count
        return source.frames(np.where(mask, indices, count - 1)), mask

    firsts = load_tensorflow().data.Dataset.range(0, count, batch_size)
    return _read_ahead(firsts, make, [source.scaling.dtype, "bool"])


def _parallel_batches() -> int:
    """Returns how many batches to make at once: one per core of this process, and two on one core, which waits for files."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return min(max(cores, 2), MAX_PARALLEL_BATCHES)


def _read_ahead(elements: tf.data.Dataset, make: Callable[[np.ndarray], Any], dtypes: list[str]) -> Iterator[Any]:
    """Applies `make`, which returns arrays of `dtypes`, to every element in parallel, in order, two batches ahead."""
    tf = load_tensorflow()
    outputs = [tf.as_dtype(dtype) for dtype in dtypes]

    def mapped(element: Any) -> Any:
        return tf.numpy_function(make, [element], outputs if len(outputs) > 1 else outputs[0], stateful=False)

    options = tf.data.Options()
    # A private pool: frames are prepared beside the compiled step without taking its threads.
    options.threading.private_threadpool_size = _parallel_batches()
    options.deterministic = True
    batches = elements.map(mapped, num_parallel_calls=_parallel_batches(), deterministic=True)
    return batches.prefetch(2).with_options(options).as_numpy_iterator()
