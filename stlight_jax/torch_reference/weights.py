"""Weights between PyTorch's `state_dict` and the Flax parameter tree, exactly.

The conversion only moves, transposes or stacks arrays, so a round trip gives the same bits. The running variance is copied as
it is, so that predictions agree; in further training PyTorch updates it with the unbiased variance, Flax with the biased one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS
from stlight_jax.torch_reference.weight_choice import COUNTER, WeightChoice, describe_problems

if TYPE_CHECKING:
    from stlight_jax.torch_reference import network


class Layout(NamedTuple):
    """How both frameworks order the axes of one kind of array.

    Attributes:
      to_flax: converts PyTorch's array to Flax's.
      to_torch: the inverse of `to_flax`.
    """

    to_flax: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


_VECTOR = Layout(np.asarray, np.asarray)
_CONVOLUTION = Layout(lambda oihw: oihw.transpose(2, 3, 1, 0), lambda hwio: hwio.transpose(3, 2, 0, 1))
# A 1x1 convolution in PyTorch is a Dense layer in Flax.
_DENSE = Layout(lambda oihw: oihw[:, :, 0, 0].T, lambda dense: dense.T[:, :, None, None])


class TensorMapping(NamedTuple):
    """One tensor of a `state_dict` and its place in the Flax variables.

    Attributes:
      name: the tensor's name in `torch_reference.network.STLight`.
      path: keys of the Flax leaf, beginning with "params" or "batch_stats".
      layout: order of the axes in both frameworks.
      block: index on the leading axis of a stacked leaf; None for other leaves.
    """

    name: str
    path: tuple[str, ...]
    layout: Layout
    block: int | None = None


def variables_from_torch(
    config: STLightConfig, state_dict: Mapping[str, Any], key_map: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Converts a PyTorch network's weights to Flax variables.

    Args:
      config: the network's config.
      state_dict: name -> tensor (or NumPy array), with the names of `torch_reference.network`, of the paper's listing, or names
        that `key_map` translates; prefixes (`model.`, `module.`) are removed.
      key_map: name in the file -> name in `torch_reference.network`, for other implementations. `{i}` on both sides stands for
        the number of a block.

    Returns:
      {"params", "batch_stats"}: nested dicts of NumPy arrays in the dtype of the tensors (half precisions widened to float32).

    Raises:
      InputError: tensors are missing, unexpected or of another shape.
    """
    return stacked_variables(config, WeightChoice({"": state_dict}, torch_shapes(config), key_map, "the state_dict").choose())


def torch_shapes(config: STLightConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight of `torch_reference.network.STLight`, by its name."""
    shapes = {path: leaf.shape for path, leaf in _leaves(variable_shapes(config)).items()}
    expected = {}
    for mapping in _mappings(config):
        shape = shapes[mapping.path][0 if mapping.block is None else 1 :]
        expected[mapping.name] = mapping.layout.to_torch(np.broadcast_to(np.float32(0), shape)).shape
    return expected


def stacked_variables(config: STLightConfig, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Converts weights with the names and shapes of `torch_shapes` to Flax variables, see `variables_from_torch`.

    Args:
      config: the network's config.
      tensors: name -> tensor or NumPy array.
    """
    arrays: dict[tuple[str, ...], list[np.ndarray]] = {}
    stacked = set()
    for name, path, layout, block in _mappings(config):
        arrays.setdefault(path, []).append(layout.to_flax(_as_numpy(tensors[name])))
        if block is not None:
            stacked.add(path)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for path, parts in arrays.items():
        *folders, leaf = path
        tree = variables
        for key in folders:
            tree = tree.setdefault(key, {})
        tree[leaf] = np.stack(parts) if path in stacked else parts[0]
    return variables


def torch_from_variables(config: STLightConfig, variables: Mapping[str, Any], batches_tracked: int = 0) -> dict[str, Any]:
    """Converts Flax variables to a `state_dict`; the inverse of `variables_from_torch`.

    Args:
      config: the network's config.
      variables: {"params", "batch_stats"}.
      batches_tracked: number of training steps, for the counters of PyTorch's batch norms.

    Returns:
      name -> torch tensor, in the order of `torch_reference.network.STLight`, which loads it.

    Raises:
      InputError: variables are missing, unexpected or of another shape.
    """
    import torch

    arrays = arrays_from_variables(config, variables, batches_tracked)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def arrays_from_variables(
    config: STLightConfig, variables: Mapping[str, Any], batches_tracked: int = 0
) -> dict[str, np.ndarray]:
    """Converts Flax variables to NumPy arrays with PyTorch's names and layouts, without torch.

    Args:
      config: the network's config.
      variables: {"params", "batch_stats"}.
      batches_tracked: number of training steps, for the counters of PyTorch's batch norms.

    Returns:
      name -> array, in the order of `torch_reference.network.STLight`.

    Raises:
      InputError: variables are missing, unexpected or of another shape.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in _leaves(variables).items()}
    shapes = {"/".join(path): leaf.shape for path, leaf in _leaves(variable_shapes(config)).items()}
    found = {"/".join(path): leaf.shape for path, leaf in leaves.items()}
    problems = {
        "missing": [name for name in shapes if name not in found],
        "unexpected": [name for name in found if name not in shapes],
        "misshapen": [f"{name} {list(found[name])}" for name in shapes if name in found and found[name] != shapes[name]],
    }
    if any(problems.values()):
        raise InputError(f"these variables are not of this network; {describe_problems(problems)}")
    arrays = {}
    for name, path, layout, block in _mappings(config):
        leaf = leaves[path] if block is None else leaves[path][block]
        arrays[name] = np.array(layout.to_torch(leaf), order="C")
        if name.endswith(".running_var"):
            arrays[name.replace("running_var", COUNTER)] = np.array(batches_tracked, np.int64)
    return arrays


def torch_network(config: STLightConfig, variables: Mapping[str, Any]) -> network.STLight:
    """Builds the PyTorch network with given weights, in float32 on the CPU.

    Args:
      config: the network's config.
      variables: {"params", "batch_stats"}.
    """
    from stlight_jax.torch_reference import network

    model = network.STLight(network.NetworkConfig(**network_arguments(config)))
    model.load_state_dict(torch_from_variables(config, variables))
    return model


def network_arguments(config: STLightConfig) -> dict[str, Any]:
    """Returns the fields of `torch_reference.network.NetworkConfig`; the context frames count as first input frames."""
    if config.shortcut in MOVING_SHORTCUTS:
        raise InputError(
            f"model.shortcut is {config.shortcut}, which the network in PyTorch lacks; it has none, last and linear"
        )
    only_jax = ("depthwise", "precision", "dtype", "rematerialise", "scan_unroll", "periods", "mean_periods", "frame_step")
    fields = {name: value for name, value in dataclasses.asdict(config).items() if name not in only_jax}
    return fields | {"in_frames": config.seen_frames, "context_frames": config.context_frames}


def variable_shapes(config: STLightConfig) -> dict[str, Any]:
    """Returns a network's {"params", "batch_stats"} as shapes and dtypes, without computing values."""
    frame_shape = (config.patch_size, config.patch_size, config.in_channels)  # variables do not depend on the frame size
    return jax.eval_shape(lambda: init_variables(STLight(config), 0, frame_shape))


def batches_tracked(state_dict: Mapping[str, Any]) -> int:
    """Returns the number of training steps that the batch norms have counted; 0 without counters."""
    counts = [int(np.max(_as_numpy(value))) for name, value in state_dict.items() if name.endswith(COUNTER)]
    return max(counts, default=0)


def _leaves(variables: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    trees = {collection: variables[collection] for collection in ("params", "batch_stats")}
    return {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trees)}


def _mappings(config: STLightConfig) -> Iterator[TensorMapping]:
    """Yields the mapping of every tensor, in the order of the PyTorch network."""
    yield TensorMapping("patch_encoder.conv.weight", ("params", "patch_encoder", "conv", "kernel"), _CONVOLUTION)
    yield TensorMapping("patch_encoder.conv.bias", ("params", "patch_encoder", "bias"), _VECTOR)
    yield from _norm("patch_encoder.norm", ("patch_encoder", "norm"))
    skip_from, skip_to = config.skip_blocks
    for index in range(config.depth):
        if index < skip_from:
            segment, first = "mixers_before_skip", 0
        elif index < skip_to:
            segment, first = "mixers_across_skip", skip_from
        else:
            segment, first = "mixers_after_skip", skip_to
        for mapping in _mixer_block(f"mixers.{index}", segment):
            yield mapping._replace(block=index - first)
    yield from _layer("patch_reassembly.conv", ("patch_reassembly", "conv"), _DENSE)
    if config.shortcut == "linear":
        yield from _layer("shortcut.linear", ("shortcut", "linear"), _DENSE)


def _mixer_block(name: str, segment: str) -> Iterator[TensorMapping]:
    for part in ("near", "far"):
        yield from _layer(f"{name}.{part}", (segment, part), _CONVOLUTION)
    yield from _norm(f"{name}.spatial_norm", (segment, "spatial_norm"))
    yield from _layer(f"{name}.pointwise", (segment, "pointwise"), _DENSE)
    yield from _norm(f"{name}.pointwise_norm", (segment, "pointwise_norm"))


def _layer(name: str, path: tuple[str, ...], layout: Layout) -> Iterator[TensorMapping]:
    yield TensorMapping(f"{name}.weight", ("params", *path, "kernel"), layout)
    yield TensorMapping(f"{name}.bias", ("params", *path, "bias"), _VECTOR)


def _norm(name: str, path: tuple[str, ...]) -> Iterator[TensorMapping]:
    yield TensorMapping(f"{name}.weight", ("params", *path, "scale"), _VECTOR)
    yield TensorMapping(f"{name}.bias", ("params", *path, "bias"), _VECTOR)
    yield TensorMapping(f"{name}.running_mean", ("batch_stats", *path, "mean"), _VECTOR)
    yield TensorMapping(f"{name}.running_var", ("batch_stats", *path, "var"), _VECTOR)


def _as_numpy(tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):  # PyTorch's
        if str(tensor.layout) != "torch.strided" or tensor.is_quantized:
            raise InputError(f"the weights hold a {tensor.layout} tensor of {tensor.dtype}; expected plain dense ones")
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    array = np.asarray(tensor)
    return array.astype(np.float32) if jnp.issubdtype(array.dtype, jnp.floating) and array.itemsize < 4 else array
