"""Weights between PyTorch's `state_dict` and the Flax parameter tree, exactly.

The conversion only moves, transposes or stacks arrays, so a round trip gives the same bits. The running variance is copied as
it is, so that predictions agree; in further training PyTorch updates it with the unbiased variance, Flax with the biased one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables

if TYPE_CHECKING:
    from stlight_jax.torch_reference import network

# Names in networks built from the paper's own listing (appendix G) -> names in `torch_reference.network`.
_LISTING = (
    (r"patch_encoder\.0\.(.+)", r"patch_encoder.conv.\1"),
    (r"patch_encoder\.1\.(.+)", r"patch_encoder.norm.\1"),
    (r"net\.(\d+)\.0\.fn\.0\.(.+)", r"mixers.\1.near.\2"),
    (r"net\.(\d+)\.0\.fn\.1\.(.+)", r"mixers.\1.far.\2"),
    (r"net\.(\d+)\.0\.fn\.3\.(.+)", r"mixers.\1.spatial_norm.\2"),
    (r"net\.(\d+)\.1\.0\.(.+)", r"mixers.\1.pointwise.\2"),
    (r"net\.(\d+)\.1\.2\.(.+)", r"mixers.\1.pointwise_norm.\2"),
    (r"patch_reassemble\.(?:\d+\.)?(weight|bias)", r"patch_reassembly.conv.\1"),
)
# Prefixes that Lightning, DistributedDataParallel and torch.compile add to every name.
_PREFIXES = r"^(?:model\.|module\.|_orig_mod\.)*"
_COUNTER = "num_batches_tracked"  # of PyTorch's batch norms; prediction does not use it


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
        that `key_map` translates; a common prefix (`model.`, `module.`) is removed.
      key_map: name in the file -> name in `torch_reference.network`, for other implementations. `{i}` on both sides stands for
        the number of a block.

    Returns:
      {"params", "batch_stats"}: nested dicts of NumPy arrays in the dtype of the tensors (half precisions widened to float32).

    Raises:
      InputError: tensors are missing, unexpected or of another shape; the message names them all.
    """
    tensors = rename(state_dict, key_map)
    shapes = {"/".join(path): leaf.shape for path, leaf in _leaves(variable_shapes(config)).items()}
    mappings = list(_mappings(config))
    expected = {}
    for mapping in mappings:
        shape = shapes["/".join(mapping.path)][0 if mapping.block is None else 1 :]
        expected[mapping.name] = mapping.layout.to_torch(np.broadcast_to(np.float32(0), shape)).shape
    _check_names(expected, tensors, "weights")
    arrays: dict[tuple[str, ...], list[np.ndarray]] = {}
    for mapping in mappings:
        arrays.setdefault(mapping.path, []).append(mapping.layout.to_flax(_as_numpy(tensors[mapping.name])))
    stacked = {mapping.path for mapping in mappings if mapping.block is not None}
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
      InputError: variables are missing, unexpected or of another shape; the message names them all.
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
      InputError: variables are missing, unexpected or of another shape; the message names them all.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in _leaves(variables).items()}
    shapes = {"/".join(path): leaf.shape for path, leaf in _leaves(variable_shapes(config)).items()}
    _check_names(shapes, {"/".join(path): leaf for path, leaf in leaves.items()}, "variables")
    arrays = {}
    for name, path, layout, block in _mappings(config):
        leaf = leaves[path] if block is None else leaves[path][block]
        arrays[name] = np.array(layout.to_torch(leaf), order="C")
        if name.endswith(".running_var"):
            arrays[name.replace("running_var", _COUNTER)] = np.array(batches_tracked, np.int64)
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


def network_arguments(config: STLightConfig) -> dict[str, int]:
    """Selects the fields that `torch_reference.network.NetworkConfig` has."""
    only_jax = ("depthwise", "precision", "dtype", "rematerialise", "scan_unroll")
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in only_jax}


def variable_shapes(config: STLightConfig) -> dict[str, Any]:
    """Returns a network's {"params", "batch_stats"} as shapes and dtypes, without computing values."""
    frame_shape = (config.patch_size, config.patch_size, config.in_channels)  # variables do not depend on the frame size
    return jax.eval_shape(lambda: init_variables(STLight(config), 0, frame_shape))


def batches_tracked(state_dict: Mapping[str, Any]) -> int:
    """Returns the number of training steps that the batch norms have counted; 0 without counters."""
    counts = [int(np.max(_as_numpy(value))) for name, value in state_dict.items() if name.endswith(_COUNTER)]
    return max(counts, default=0)


def rename(state_dict: Mapping[str, Any], key_map: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Translates the names of a `state_dict` to those of `torch_reference.network` and drops the counters.

    Args:
      state_dict: name -> tensor.
      key_map: see `variables_from_torch`.

    Raises:
      InputError: a name is not a string, two tensors get the same name, or an entry of the key map matches no tensor.
    """
    if not all(isinstance(name, str) for name in state_dict):
        raise InputError("these weights have names that are no strings; expected a state_dict")
    patterns = {_pattern(*names): names[0] for names in (key_map or {}).items()} or dict.fromkeys(_LISTING, "")
    unused = dict.fromkeys(key_map or ())
    renamed: dict[str, Any] = {}
    prefix = re.findall(_PREFIXES, next(iter(state_dict), ""))[0]
    while not all(name.startswith(prefix) for name in state_dict):
        prefix = re.sub(r"[^.]*\.$", "", prefix)
    for full_name, tensor in state_dict.items():
        target = name = full_name.removeprefix(prefix)
        for (pattern, replacement), key in patterns.items():
            match = re.fullmatch(pattern, full_name) or re.fullmatch(pattern, name)
            if match:
                target = match.expand(replacement)
                unused.pop(key, None)
                break
        if name.endswith(_COUNTER):
            continue
        if target in renamed:
            raise InputError(f"two weights of the file stand for {target}; check the key map")
        renamed[target] = tensor
    if unused:
        raise InputError(
            f"the key map has names that no weight has: {', '.join(_grouped(list(unused)))}; correct or remove them"
        )
    return renamed


def _pattern(theirs: str, ours: str) -> tuple[str, str]:
    if theirs.count("{i}") != ours.count("{i}") or ours.count("{i}") > 1:
        raise InputError(f"key map: {theirs!r} -> {ours!r}; {{i}}, a block's number, stands once on both sides or on neither")
    pattern = re.escape(theirs).replace(re.escape("{i}"), r"(?P<i>\d+)")
    return pattern, ours.replace("\\", r"\\").replace("{i}", r"\g<i>")


def _check_names(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Any], kind: str) -> None:
    shared = [name for name in expected if name in tensors and tuple(np.shape(tensors[name])) != expected[name]]
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "misshapen": [f"{name} {list(np.shape(tensors[name]))} instead of {list(expected[name])}" for name in shared],
    }
    found = [f"{len(names)} {title}: {', '.join(_grouped(names))}" for title, names in problems.items() if names]
    if found:
        raise InputError(f"these {kind} are not of this network; {'; '.join(found)}")


def _grouped(names: list[str]) -> list[str]:
    """Joins names that differ in one number only: `mixers.{0,1,2}.near.weight`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        match = re.fullmatch(r"(|.*?\.)(\d+)(\..*)", name)
        before, number, after = match.groups() if match else (name, "", "")
        groups.setdefault((before, after), []).append(number)
    return [
        f"{before}{{{','.join(numbers)}}}{after}" if len(numbers) > 1 else f"{before}{numbers[0]}{after}"
        for (before, after), numbers in groups.items()
    ]


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
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized:
        raise InputError(f"the weights hold a {tensor.layout} tensor of {tensor.dtype}; expected plain dense ones")
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
