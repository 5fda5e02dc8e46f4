"""The networks of `speed.py` and `benchmarks/gpu`: sizes, precisions, and the same weights and frames for all contestants."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

_FRAMES = {"in_frames": 10, "out_frames": 10, "in_channels": 1, "out_channels": 1, "patch_size": 2, "near_kernel": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "network": {**_FRAMES, "hidden_dim": 96, "depth": 6, "far_kernel": 5},
        "side": 32,
        "batch": 8,
        "options": {"scan_unroll": 6},
    },
    "d96": {"network": {**_FRAMES, "hidden_dim": 96, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
    "d256": {"network": {**_FRAMES, "hidden_dim": 256, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 4},
    "d544": {"network": {**_FRAMES, "hidden_dim": 544, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
    "XS": {"network": {**_FRAMES, "hidden_dim": 800, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 2},
    "L": {"network": {**_FRAMES, "hidden_dim": 1400, "depth": 16, "far_kernel": 7}, "side": 64, "batch": 16},
    "toy": {"network": {**_FRAMES, "hidden_dim": 16, "depth": 3, "far_kernel": 5}, "side": 32, "batch": 2},  # for tests
}
# Names shared by both frameworks: model.dtype and model.precision in JAX, switches in PyTorch.
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32", "precision": "float32"},
    "tensorfloat32": {"dtype": "float32", "precision": "tensorfloat32"},
    "bfloat16": {"dtype": "bfloat16", "precision": "bfloat16"},
}


def fixed_variables(config: Any) -> dict[str, Any]:
    """Makes weights that depend on their names only, so that all frameworks, versions and devices have the same.

    GELUs see mostly positive values and pointwise kernels are near the identity. With initial weights, rounding to bfloat16
    changes the gradients of 16 blocks by half: batch norms without a residual path make the network chaotic.

    Args:
      config: the network, an `STLightConfig`.

    Returns:
      {"params", "batch_stats"}, float32 NumPy arrays.
    """
    import jax

    from stlight_jax.torch_reference.weights import variable_shapes

    means = {"scale": 1.0, "var": 1.0}

    def make(path: Any, leaf: Any) -> np.ndarray:
        layer, name = path[-2].key, path[-1].key
        random = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
        if name == "kernel":
            fan_in = np.prod(leaf.shape[-4:-1]) if leaf.ndim >= 4 else leaf.shape[-2]
            kernel = random.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(fan_in))
            return np.eye(leaf.shape[-1], dtype=np.float32) + kernel / 2 if layer == "pointwise" else kernel
        mean = 1.5 if layer.endswith("norm") and name in ("bias", "mean") else means.get(name, 0.0)
        return np.float32(mean) + random.uniform(-0.1, 0.1, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(make, variable_shapes(config))


def fixed_frames(spec: Mapping[str, Any]) -> np.ndarray:
    """Makes a batch of random squares that move, uint8 `[b, T + T', h, w, c]`.

    The gradients of frames without any structure would be sums that cancel.

    Args:
      spec: an entry of `NETWORKS`.
    """
    network, side = spec["network"], spec["side"]
    squares = np.random.default_rng(0).integers(0, 256, (spec["batch"], side // 8, side // 8, network["in_channels"]), np.uint8)
    still = squares.repeat(8, 1).repeat(8, 2)  # [b, h, w, c]
    return np.stack([np.roll(still, time, (1, 2)) for time in range(network["in_frames"] + network["out_frames"])], 1)


def sampled(trees: dict[str, Any], most: int = 512) -> dict[str, np.ndarray]:
    """Chooses values of arrays.

    Args:
      trees: name -> array, or nested dicts of arrays.
      most: values of an array, at most; the same places in every call.

    Returns:
      Path of each array -> its values.
    """
    import jax

    chosen = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        values = np.asarray(leaf).reshape(-1)
        places = np.sort(np.random.default_rng(1).choice(values.size, min(values.size, most), replace=False))
        chosen["/".join(key.key for key in path)] = values[places]
    return chosen
