"""Weights between PyTorch's `state_dict` and the Flax parameter tree, exactly.

Every array is moved, transposed or stacked, never computed with: a round trip gives the same bits. The running variance
is taken as it is, so that predictions agree; PyTorch's training would go on with the unbiased one, Flax's with the biased.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.stlight import STLight, STLightConfig

# Names in networks built from the paper's own listing (appendix G) -> names in `baseline.network`.
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
# What wrappers put before every name: Lightning, DistributedDataParallel, torch.compile.
_PREFIXES = ("model.", "module.", "_orig_mod.")
_COUNTER = "num_batches_tracked"  # of PyTorch's batch norms; plays no part in prediction


class Entry(NamedTuple):
    """One tensor of a `state_dict` and where it lies in the Flax tree.

    Attributes:
      name: in `baseline.network.STLight`.
      shape: PyTorch's.
      collection: "params" or "batch_stats".
      path: below the collection.
      block: index on the leading axis of a stacked leaf; None for others.
      to_flax: PyTorch's array -> Flax's; `to_torch` is its inverse.
    """

    name: str
    shape: tuple[int, ...]
    collection: str
    path: tuple[str, ...]
    block: int | None
    to_flax: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


def variables_from_torch(
    config: STLightConfig, state_dict: Mapping[str, Any], key_map: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The Flax variables that hold a PyTorch network's weights.

    Args:
      config: the network's shape.
      state_dict: name -> tensor (or NumPy array), with the names of `baseline.network`, of the paper's listing, or such as
        `key_map` translates; a common prefix (`model.`, `module.`) is taken off.
      key_map: their name -> ours, for other implementations. `{i}` on both sides stands for a block's number.

    Returns:
      {"params", "batch_stats"}: nested dicts of NumPy arrays with the dtype they had (half precisions widened to float32).

    Raises:
      InputError: naming everything missing, unexpected or of another shape.
    """
    tensors = rename(state_dict, key_map)
    entries = list(_entries(config))
    _check_names({entry.name: entry.shape for entry in entries}, tensors, "weights")
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    stacks: dict[tuple[str, ...], list[np.ndarray]] = {}
    for entry in entries:
        array = entry.to_flax(_as_numpy(tensors[entry.name]))
        if entry.block is None:
            _put(variables, (entry.collection, *entry.path), array)
        else:
            stacks.setdefault((entry.collection, *entry.path), []).append(array)
    for path, arrays in stacks.items():
        _put(variables, path, np.stack(arrays))
    return variables


def torch_from_variables(config: STLightConfig, variables: Mapping[str, Any], batches_tracked: int = 0) -> dict[str, Any]:
    """The `state_dict` that `baseline.network.STLight` loads; the inverse of `variables_from_torch`.

    Args:
      config: the network's shape.
      variables: {"params", "batch_stats"}.
      batches_tracked: steps trained, for PyTorch's batch norms, which only count them.

    Returns:
      name -> torch tensor, in the network's order.

    Raises:
      InputError: naming everything missing, unexpected or of another shape.
    """
    import torch

    arrays = arrays_from_variables(config, variables, batches_tracked)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def arrays_from_variables(
    config: STLightConfig, variables: Mapping[str, Any], batches_tracked: int = 0
) -> dict[str, np.ndarray]:
    """As `torch_from_variables`, with NumPy arrays, for which torch is not needed."""
    leaves = {
        (collection, *(key.key for key in path)): np.asarray(leaf)
        for collection in ("params", "batch_stats")
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables[collection])
    }
    wanted = jax.eval_shape(lambda: init_variables(STLight(config), 0, (config.patch_size,) * 2 + (config.in_channels,)))
    shapes = {
        "/".join((collection, *(key.key for key in path))): leaf.shape
        for collection in ("params", "batch_stats")
        for path, leaf in jax.tree_util.tree_leaves_with_path(wanted[collection])
    }
    _check_names(shapes, {"/".join(path): leaf for path, leaf in leaves.items()}, "variables")
    arrays = {}
    for entry in _entries(config):
        leaf = leaves[entry.collection, *entry.path]
        arrays[entry.name] = np.array(entry.to_torch(leaf if entry.block is None else leaf[entry.block]), order="C")
        if entry.name.endswith(".running_var"):
            arrays[entry.name.replace("running_var", _COUNTER)] = np.array(batches_tracked, np.int64)
    return arrays


def batches_tracked(state_dict: Mapping[str, Any]) -> int:
    """Training steps that the batch norms have counted; 0 where they have not."""
    counts = [int(np.max(_as_numpy(value))) for name, value in state_dict.items() if name.endswith(_COUNTER)]
    return max(counts, default=0)


def rename(state_dict: Mapping[str, Any], key_map: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The same tensors under the names of `baseline.network`, counters left out. Raises InputError for two with one name."""
    if not all(isinstance(name, str) for name in state_dict):
        raise InputError("these weights have names that are no strings; expected a state_dict")
    patterns = [_pattern(theirs, ours) for theirs, ours in (key_map or {}).items()] or _LISTING
    unused = dict.fromkeys(key_map or ())
    renamed: dict[str, Any] = {}
    prefix = _common_prefix(state_dict)
    for full_name, tensor in state_dict.items():
        target = name = full_name.removeprefix(prefix)
        for index, (pattern, replacement) in enumerate(patterns):
            match = re.fullmatch(pattern, full_name) or re.fullmatch(pattern, name)
            if match:
                target = match.expand(replacement)
                if key_map:
                    unused.pop(list(key_map)[index], None)
                break
        if name.endswith(_COUNTER):
            continue
        if target in renamed:
            raise InputError(f"two weights of the file stand for {target}; check the key map")
        renamed[target] = tensor
    if unused:
        raise InputError(f"nothing in the weights is named as the key map says: {', '.join(_grouped(list(unused)))}")
    return renamed


def _pattern(theirs: str, ours: str) -> tuple[str, str]:
    if theirs.count("{i}") != ours.count("{i}") or ours.count("{i}") > 1:
        raise InputError(f"key map: {theirs!r} -> {ours!r}; {{i}}, a block's number, stands once on both sides or on neither")
    pattern = re.escape(theirs).replace(re.escape("{i}"), r"(?P<i>\d+)")
    return pattern, ours.replace("\\", r"\\").replace("{i}", r"\g<i>")


def _common_prefix(state_dict: Mapping[str, Any]) -> str:
    """What the wrappers have put before all names, all of them together."""
    found = ""
    while state_dict:
        longer = [found + prefix for prefix in _PREFIXES if all(name.startswith(found + prefix) for name in state_dict)]
        if not longer:
            break
        found = longer[0]
    return found


def _check_names(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Any], kind: str) -> None:
    problems = []
    for title, names in (
        ("missing", [name for name in expected if name not in tensors]),
        ("unexpected", [name for name in tensors if name not in expected]),
        (
            "misshapen",
            [
                f"{name} {list(np.shape(tensors[name]))} instead of {list(shape)}"
                for name, shape in expected.items()
                if name in tensors and tuple(np.shape(tensors[name])) != shape
            ],
        ),
    ):
        if names:
            problems.append(f"{len(names)} {title}: {', '.join(_grouped(names))}")
    if problems:
        raise InputError(f"these {kind} are not of this network; {'; '.join(problems)}")


def _grouped(names: list[str]) -> list[str]:
    """Names that differ in one number only as one: `mixers.{0,1,2}.near.weight`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        before, number, after = re.fullmatch(r"(?:(.*?\.)(?=\d+\.))?(\d*)(.*)", name).groups(default="")
        groups.setdefault((before, after), []).append(number)
    return [
        f"{before}{{{','.join(numbers)}}}{after}" if len(numbers) > 1 else f"{before}{numbers[0]}{after}"
        for (before, after), numbers in groups.items()
    ]


def _entries(config: STLightConfig) -> Iterator[Entry]:
    """Every tensor, in the network's order."""
    d, p = config.hidden_dim, config.patch_size
    side = config.encoder_kernel
    yield Entry(
        "patch_encoder.conv.weight",
        (d, config.in_frames * config.in_channels, side, side),
        "params",
        ("patch_encoder", "conv", "kernel"),
        None,
        _to_hwio,
        _to_oihw,
    )
    yield _vector("patch_encoder.conv.bias", d, "params", ("patch_encoder", "bias"), None)
    yield from _norm("patch_encoder.norm", d, ("patch_encoder", "norm"), None)
    skip_from, skip_to = config.skip_blocks
    for index in range(config.depth):
        segment, first = (
            ("mixers_before_skip", 0)
            if index < skip_from
            else ("mixers_across_skip", skip_from)
            if index < skip_to
            else ("mixers_after_skip", skip_to)
        )
        block, here = index - first, f"mixers.{index}"
        for name, side in (("near", config.near_kernel), ("far", config.far_kernel)):
            path = (segment, name, "kernel")
            yield Entry(f"{here}.{name}.weight", (d, 1, side, side), "params", path, block, _to_hwio, _to_oihw)
            yield _vector(f"{here}.{name}.bias", d, "params", (segment, name, "bias"), block)
        yield from _norm(f"{here}.spatial_norm", d, (segment, "spatial_norm"), block)
        yield from _pointwise(f"{here}.pointwise", d, d, (segment, "pointwise"), block)
        yield from _norm(f"{here}.pointwise_norm", d, (segment, "pointwise_norm"), block)
    outputs = config.out_frames * config.out_channels
    yield from _pointwise("patch_reassembly.conv", d // p**2, outputs, ("patch_reassembly", "conv"), None)


def _norm(name: str, channels: int, path: tuple[str, ...], block: int | None) -> Iterator[Entry]:
    yield _vector(f"{name}.weight", channels, "params", (*path, "scale"), block)
    yield _vector(f"{name}.bias", channels, "params", (*path, "bias"), block)
    yield _vector(f"{name}.running_mean", channels, "batch_stats", (*path, "mean"), block)
    yield _vector(f"{name}.running_var", channels, "batch_stats", (*path, "var"), block)


def _pointwise(name: str, inputs: int, outputs: int, path: tuple[str, ...], block: int | None) -> Iterator[Entry]:
    """A 1x1 convolution there, a Dense layer here."""
    shape = (outputs, inputs, 1, 1)
    yield Entry(f"{name}.weight", shape, "params", (*path, "kernel"), block, _to_dense, _from_dense)
    yield _vector(f"{name}.bias", outputs, "params", (*path, "bias"), block)


def _vector(name: str, size: int, collection: str, path: tuple[str, ...], block: int | None) -> Entry:
    return Entry(name, (size,), collection, path, block, np.asarray, np.asarray)


def _to_hwio(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 3, 1, 0)


def _to_oihw(array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1)


def _to_dense(array: np.ndarray) -> np.ndarray:
    return array[:, :, 0, 0].T


def _from_dense(array: np.ndarray) -> np.ndarray:
    return array.T[:, :, None, None]


def _as_numpy(tensor: Any) -> np.ndarray:
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized:
        raise InputError(f"the weights hold a {tensor.layout} tensor of {tensor.dtype}; expected plain dense ones")
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()


def _put(tree: dict[str, Any], path: tuple[str, ...], value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value
