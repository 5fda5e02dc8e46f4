"""One program on many devices, of one process or of many. Only this file and `pods/` know that there is more than one.

Two launchers with one interface: `jax.pmap`, which keeps arrays of this process's devices, and `jax.jit` with
`jax.shard_map` over a mesh of all of them, which pmap is made of by now. The per-device functions are the same.
"""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stlight_jax.errors import InputError

AXIS = "data"


def make_launcher(name: str, devices: Sequence[jax.Device] | None = None) -> Launcher:
    """The launcher that a config's `parallel.launcher` names. Raises InputError for another name."""
    if name not in LAUNCHERS:
        raise InputError(f"parallel.launcher is {name!r}; choose one of {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name](devices)


class Launcher(abc.ABC):
    """Launches per-device functions: batches split over the devices, everything else on all of them.

    Args:
      devices: of all processes; all there are if None.

    Attributes:
      devices: as given.
      local_devices: those of this process.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        self.devices = list(devices or jax.devices())
        self.local_devices = [device for device in self.devices if device.process_index == jax.process_index()]
        self._mesh = Mesh(np.array(self.devices), (AXIS,))
        self._everywhere = NamedSharding(self._mesh, PartitionSpec())

    @property
    def process_index(self) -> int:
        """Of this process, among those whose devices take part."""
        return jax.process_index() if self.process_count > 1 else 0

    @property
    def process_count(self) -> int:
        """Processes whose devices take part."""
        return len({device.process_index for device in self.devices})

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.process_index == 0

    def check_batch_size(self, key: str, batch_size: int, accumulate: int = 1) -> None:
        """Raises InputError unless the global batch can be split evenly over the devices, and there into so many parts."""
        devices = len(self.devices)
        if batch_size < 1 or batch_size % (devices * accumulate):
            parts = f", times train.accumulate {accumulate}" if accumulate > 1 else ""
            raise InputError(
                f"{key} is {batch_size}; it must be a positive multiple of the {devices} devices it is split over{parts}"
            )

    def rounded_up(self, batch_size: int) -> int:
        """The least batch that can be split evenly, at least `batch_size`; for evaluation, where fillers are masked."""
        return -(-batch_size // len(self.devices)) * len(self.devices)

    def abstract(self, tree: Any) -> Any:
        """Shapes and dtypes of a tree that lies, or shall lie, on all devices of all processes, as checkpoints have it."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._everywhere), tree)

    def abstract_batch(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """A batch of all processes, for a step of `ShardMapLauncher` that is compiled ahead of time."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self._mesh, PartitionSpec(AXIS)))

    @abc.abstractmethod
    def replicate(self, tree: Any) -> Any:
        """Puts a tree on every device. It may share memory with `tree`: a step that donates it deletes both."""

    @abc.abstractmethod
    def to_checkpoint(self, tree: Any) -> Any:
        """A replicated tree as `abstract` describes it; shares memory with it."""

    @abc.abstractmethod
    def from_checkpoint(self, tree: Any) -> Any:
        """The inverse of `to_checkpoint`."""

    @abc.abstractmethod
    def split(self, batch: Any) -> Any:
        """This process's part of a batch, host arrays `[b, ...]`, to its devices; returns before the transfer is done."""

    @abc.abstractmethod
    def join(self, tree: Any) -> Any:
        """This process's part of results, one row per sequence, back on the host: `[b, ...]`."""

    @abc.abstractmethod
    def train(self, step: Callable) -> Callable:
        """Compiles `(state, batch, hyperparameters) -> (state, metrics)`; the old state's memory is given to the new."""

    @abc.abstractmethod
    def evaluate(self, step: Callable) -> Callable:
        """Compiles `(variables, batch) -> results`, one row of results per sequence."""

    def prefetch(self, batches: Iterable[np.ndarray], ahead: int = 2) -> Iterator[Any]:
        """Splits batches over the devices `ahead` of their use."""
        waiting: collections.deque[Any] = collections.deque()
        for batch in batches:
            waiting.append(self.split(batch))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting

    def sum_over_processes(self, tree: Any) -> Any:
        """Adds float64 arrays or numbers of all processes, exactly as on one: JAX's own way there would round to float32."""
        if self.process_count == 1:
            return tree

        def summed(value: Any) -> Any:
            array = np.atleast_1d(np.asarray(value, np.float64))
            halves = multihost_utils.process_allgather(array.view(np.uint32))  # [processes, ...]
            total = np.ascontiguousarray(halves).view(np.float64).sum(0)
            return total.reshape(np.shape(value)) if np.ndim(value) else float(total[0])

        return jax.tree.map(summed, tree)


class PmapLauncher(Launcher):
    """With `jax.pmap`."""

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        super().__init__(devices)
        mesh = Mesh(np.array(self.local_devices), (AXIS,))
        self._split = NamedSharding(mesh, PartitionSpec(AXIS))
        self._here = NamedSharding(mesh, PartitionSpec())

    def replicate(self, tree: Any) -> Any:
        """See `Launcher`."""
        return jax.device_put(tree, self._here)

    def to_checkpoint(self, tree: Any) -> Any:
        """See `Launcher`."""
        return _placed(tree, self._everywhere)

    def from_checkpoint(self, tree: Any) -> Any:
        """See `Launcher`."""
        return _placed(tree, self._here)

    def split(self, batch: Any) -> Any:
        """See `Launcher`; `[devices, b / devices, ...]`."""
        count = len(self.local_devices)
        return jax.tree.map(lambda x: jax.device_put(x.reshape(count, -1, *x.shape[1:]), self._split), batch)

    def join(self, tree: Any) -> Any:
        """See `Launcher`."""
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)

    def train(self, step: Callable) -> Callable:
        """See `Launcher`."""
        axes = {"in_axes": (None, 0, None), "out_axes": None}
        return jax.pmap(step, AXIS, devices=self._given_to_pmap, donate_argnums=(0,), **axes)

    def evaluate(self, step: Callable) -> Callable:
        """See `Launcher`."""
        return jax.pmap(step, AXIS, in_axes=(None, 0), devices=self._given_to_pmap)

    @property
    def _given_to_pmap(self) -> list[jax.Device] | None:
        return self.devices if self.process_count == 1 else None


class ShardMapLauncher(Launcher):
    """With `jax.jit` and `jax.shard_map`."""

    def replicate(self, tree: Any) -> Any:
        """See `Launcher`."""
        return jax.device_put(tree, self._everywhere)

    def to_checkpoint(self, tree: Any) -> Any:
        """See `Launcher`."""
        return tree

    def from_checkpoint(self, tree: Any) -> Any:
        """See `Launcher`."""
        return tree

    def split(self, batch: Any) -> Any:
        """See `Launcher`; `[b of all processes, ...]`."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)

    def join(self, tree: Any) -> Any:
        """See `Launcher`."""

        def local(array: jax.Array) -> np.ndarray:
            shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return np.concatenate([np.asarray(shard.data) for shard in shards])

        return jax.tree.map(local, tree)

    def train(self, step: Callable) -> Callable:
        """See `Launcher`."""
        everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
        return self._compiled(step, (everywhere, split, everywhere), everywhere, donate_argnums=(0,))

    def evaluate(self, step: Callable) -> Callable:
        """See `Launcher`."""
        return self._compiled(step, (PartitionSpec(), PartitionSpec(AXIS)), PartitionSpec(AXIS))

    def _compiled(self, step: Callable, in_specs: Any, out_specs: Any, **options: Any) -> Callable:
        # The step averages over the axis itself; what it returns as equal everywhere is.
        return jax.jit(jax.shard_map(step, mesh=self._mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False), **options)


LAUNCHERS: dict[str, type[Launcher]] = {"pmap": PmapLauncher, "shard_map": ShardMapLauncher}


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    """The same buffers, one on every device of this process, as arrays of another replicated sharding."""

    def placed(array: jax.Array) -> jax.Array:
        buffers = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, buffers)

    return jax.tree.map(placed, tree)
