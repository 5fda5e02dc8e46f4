"""Launchers: one program on many devices, of one process or of several.

Only this package and `tpu_planning/` know that there are several devices. The two launchers have one interface: `jax.pmap`
takes arrays of this process's devices, and `jax.jit` with `jax.shard_map` takes arrays over a mesh of all devices. Current
versions of JAX implement pmap with the latter. The per-device functions are the same.
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
    """Makes the launcher that a config's `parallel.launcher` names.

    Args:
      name: A key of `LAUNCHERS`.
      devices: See `Launcher`.

    Raises:
      InputError: No launcher has this name.
    """
    if name not in LAUNCHERS:
        raise InputError(f"parallel.launcher is {name!r}; choose one of {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name](devices)


class Launcher(abc.ABC):
    """Launches per-device functions: batches are split over the devices, all other arguments are on all of them.

    Args:
      devices: Devices of all processes; None for all devices of JAX.

    Attributes:
      devices: Devices of all processes.
      local_devices: Devices of this process.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        self.devices = list(devices or jax.devices())
        self.local_devices = [device for device in self.devices if device.process_index == jax.process_index()]
        self._mesh = Mesh(np.array(self.devices), (AXIS,))
        self._everywhere, self._split = (NamedSharding(self._mesh, spec) for spec in (PartitionSpec(), PartitionSpec(AXIS)))
        self._replicated = self._everywhere  # the sharding of arguments that are on all devices

    @property
    def process_index(self) -> int:
        """Number of this process among those whose devices are used."""
        return jax.process_index() if self.process_count > 1 else 0

    @property
    def process_count(self) -> int:
        """Number of processes whose devices are used."""
        return len({device.process_index for device in self.devices})

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files that only one process writes."""
        return self.process_index == 0

    def check_batch_size(self, key: str, batch_size: int, accumulate: int = 1) -> None:
        """Checks that a batch can be split evenly over the devices.

        Args:
          key: Key of the config, for the error.
          batch_size: Sequences of all devices together.
          accumulate: Number of parts into which each device splits its share.

        Raises:
          InputError: The batch cannot be split evenly.
        """
        devices = len(self.devices)
        if batch_size < 1 or batch_size % (devices * accumulate):
            parts = f", times train.accumulate {accumulate}" if accumulate > 1 else ""
            raise InputError(
                f"{key} is {batch_size}; it must be a positive multiple of the {devices} devices it is split over{parts}"
            )

    def round_up_batch_size(self, batch_size: int) -> int:
        """Returns the smallest size, at least `batch_size`, that can be split evenly; an evaluation masks the surplus."""
        return -(-batch_size // len(self.devices)) * len(self.devices)

    def abstract(self, tree: Any) -> Any:
        """Returns shapes, dtypes and sharding of a tree on all devices of all processes, which checkpoints are restored to."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._everywhere), tree)

    def abstract_batch(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """Returns the description of a batch of all processes, to compile a step of `ShardMapLauncher` ahead of time."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._split)

    def replicate(self, tree: Any) -> Any:
        """Puts a tree on every device. The result may share memory with `tree`: a step that donates it deletes both."""
        if self._replicated.is_fully_addressable:
            return jax.device_put(tree, self._replicated)

        def everywhere(x: Any) -> jax.Array:
            # For a scalar on four processes, device_put returns an array whose buffers no checkpoint can have (JAX 0.10, 0.12).
            if isinstance(x, jax.Array) and not x.is_fully_addressable:
                return x
            buffers = [jax.device_put(x, device) for device in self.local_devices]
            return jax.make_array_from_single_device_arrays(np.shape(x), self._replicated, buffers)

        return jax.tree.map(everywhere, tree)

    def to_checkpoint(self, tree: Any) -> Any:
        """Converts a replicated tree to the sharding that `abstract` describes, without a copy."""
        return _with_sharding(tree, self._everywhere)

    def from_checkpoint(self, tree: Any) -> Any:
        """Inverts `to_checkpoint`."""
        return _with_sharding(tree, self._replicated)

    @abc.abstractmethod
    def split(self, batch: Any) -> Any:
        """Sends this process's part of a batch, host arrays `[b, ...]`, to its devices, without waiting for the transfer."""

    @abc.abstractmethod
    def join(self, tree: Any) -> Any:
        """Returns this process's part of results with one row per sequence as host arrays, `[b, ...]`."""

    @abc.abstractmethod
    def compile_train_step(self, step: Callable) -> Callable:
        """Compiles `(state, batch, hyperparameters) -> (state, metrics)`; the new state takes the memory of the old one."""

    @abc.abstractmethod
    def compile_eval_step(self, step: Callable) -> Callable:
        """Compiles `(variables, batch) -> results`, with one row of results per sequence."""

    def prefetch(self, batches: Iterable[np.ndarray], ahead: int = 2) -> Iterator[Any]:
        """Yields batches on the devices; `split` is called for the next `ahead` batches before each is yielded."""
        waiting: collections.deque[Any] = collections.deque()
        for batch in batches:
            waiting.append(self.split(batch))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting

    def sum_over_processes(self, tree: Any) -> Any:
        """Adds float64 arrays or numbers of all processes, exactly as one process would: JAX would round them to float32."""
        if self.process_count == 1:
            return tree

        def summed(value: Any) -> Any:
            array = np.atleast_1d(np.asarray(value, np.float64))
            halves = multihost_utils.process_allgather(array.view(np.uint32))  # [processes, ...]
            total = np.ascontiguousarray(halves).view(np.float64).sum(0)
            return total.reshape(np.shape(value)) if np.ndim(value) else float(total[0])

        return jax.tree.map(summed, tree)


class PmapLauncher(Launcher):
    """Launches with `jax.pmap`."""

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        super().__init__(devices)
        mesh = Mesh(np.array(self.local_devices), (AXIS,))
        self._split = NamedSharding(mesh, PartitionSpec(AXIS))
        self._replicated = NamedSharding(mesh, PartitionSpec())

    def split(self, batch: Any) -> Any:
        """See `Launcher`; the result has the shape `[devices, b / devices, ...]`."""
        count = len(self.local_devices)
        return jax.tree.map(lambda x: jax.device_put(x.reshape(count, -1, *x.shape[1:]), self._split), batch)

    def join(self, tree: Any) -> Any:
        """See `Launcher`."""
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)

    def compile_train_step(self, step: Callable) -> Callable:
        """See `Launcher`."""
        return jax.pmap(step, AXIS, in_axes=(None, 0, None), out_axes=None, devices=self._pmap_devices, donate_argnums=(0,))

    def compile_eval_step(self, step: Callable) -> Callable:
        """See `Launcher`."""
        return jax.pmap(step, AXIS, in_axes=(None, 0), devices=self._pmap_devices)

    @property
    def _pmap_devices(self) -> list[jax.Device] | None:
        return self.devices if self.process_count == 1 else None


class ShardMapLauncher(Launcher):
    """Launches with `jax.jit` and `jax.shard_map`."""

    def split(self, batch: Any) -> Any:
        """See `Launcher`; the result has the shape `[b of all processes, ...]`."""
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._split, x), batch)

    def join(self, tree: Any) -> Any:
        """See `Launcher`."""

        def local(array: jax.Array) -> np.ndarray:
            shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return np.concatenate([np.asarray(shard.data) for shard in shards])

        return jax.tree.map(local, tree)

    def compile_train_step(self, step: Callable) -> Callable:
        """See `Launcher`."""
        everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
        return self._compiled(step, (everywhere, split, everywhere), everywhere, donate_argnums=(0,))

    def compile_eval_step(self, step: Callable) -> Callable:
        """See `Launcher`."""
        return self._compiled(step, (PartitionSpec(), PartitionSpec(AXIS)), PartitionSpec(AXIS))

    def _compiled(self, step: Callable, in_specs: Any, out_specs: Any, **options: Any) -> Callable:
        # The step itself averages over the axis, so its results are equal on all devices.
        return jax.jit(jax.shard_map(step, mesh=self._mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False), **options)


LAUNCHERS: dict[str, type[Launcher]] = {"pmap": PmapLauncher, "shard_map": ShardMapLauncher}


def _with_sharding(tree: Any, sharding: NamedSharding) -> Any:
    """Returns arrays of another replicated sharding with the same buffers, one on every device of this process."""

    def convert(array: jax.Array) -> jax.Array:
        buffers = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, buffers)

    return jax.tree.map(convert, tree)
