"""One program on many devices. Only this file knows that there is more than one."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stlight_jax.errors import InputError

AXIS = "data"


class PmapLauncher:
    """Launches per-device functions with `jax.pmap`: batches split over the devices, everything else on all of them.

    Attributes:
      devices: this process's devices.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        if jax.process_count() > 1:
            raise InputError(
                f"this is one of {jax.process_count()} processes; training runs in a single one, on all its devices"
            )
        self.devices = list(devices or jax.local_devices())
        mesh = Mesh(np.array(self.devices), (AXIS,))
        self._split = NamedSharding(mesh, PartitionSpec(AXIS))
        self._everywhere = NamedSharding(mesh, PartitionSpec())

    def check_batch_size(self, key: str, batch_size: int) -> None:
        """Raises InputError unless the global batch can be split evenly over the devices."""
        devices = len(self.devices)
        if batch_size < 1 or batch_size % devices:
            raise InputError(f"{key} is {batch_size}; it must be a positive multiple of the {devices} devices it is split over")

    def rounded_up(self, batch_size: int) -> int:
        """The least batch that can be split evenly, at least `batch_size`; for evaluation, where fillers are masked."""
        return -(-batch_size // len(self.devices)) * len(self.devices)

    def replicate(self, tree: Any) -> Any:
        """Puts a tree on every device. It may share memory with `tree`: a step that donates it deletes both."""
        return jax.device_put(tree, self._everywhere)

    def abstract(self, tree: Any) -> Any:
        """Shapes and dtypes of a tree that lies, or shall lie, on every device."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._everywhere), tree)

    def split(self, batch: Any) -> Any:
        """Host arrays `[b, ...]` -> devices `[devices, b / devices, ...]`; returns before the transfer is done."""
        return jax.tree.map(lambda x: jax.device_put(x.reshape(len(self.devices), -1, *x.shape[1:]), self._split), batch)

    def join(self, tree: Any) -> Any:
        """Devices `[devices, b / devices, ...]` -> host `[b, ...]`."""
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)

    def train(self, step: Callable) -> Callable:
        """Compiles `(state, batch, hyperparameters) -> (state, metrics)`; the old state's memory is given to the new."""
        return jax.pmap(step, AXIS, in_axes=(None, 0, None), out_axes=None, devices=self.devices, donate_argnums=(0,))

    def evaluate(self, step: Callable) -> Callable:
        """Compiles `(variables, batch) -> results`, one row of results per sequence."""
        return jax.pmap(step, AXIS, in_axes=(None, 0), devices=self.devices)

    def prefetch(self, batches: Iterable[np.ndarray], ahead: int = 2) -> Iterator[jax.Array]:
        """Splits batches over the devices `ahead` of their use."""
        waiting: collections.deque[jax.Array] = collections.deque()
        for batch in batches:
            waiting.append(self.split(batch))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting
