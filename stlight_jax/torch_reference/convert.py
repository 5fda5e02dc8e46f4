"""PyTorch weights to a checkpoint, and a checkpoint to PyTorch weights."""

from __future__ import annotations

import hashlib
from typing import Any

import chex
import jax
import ml_collections
import numpy as np
from etils import epath

from stlight_jax.config import check
from stlight_jax.config import frame_size as config_frame_size
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.parallel.launchers import PmapLauncher
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.torch_reference import files, weights


def checkpoint_from_torch(
    config: ml_collections.ConfigDict,
    weights_file: epath.PathLike,
    workdir: epath.PathLike,
    key_map: dict[str, str] | None = None,
    frame_size: tuple[int, int] | None = None,
    value_range: tuple[float, float] = (0, 255),
) -> epath.Path:
    """Writes a workdir with one checkpoint that holds a PyTorch network's weights, in float32.

    Args:
      config: as in `configs/`; its model is the weights' network.
      weights_file: see `files.read_weights`.
      workdir: a folder without checkpoints, made if need be.
      key_map: see `weights.variables_from_torch`.
      frame_size: (height, width), None for the config's; kept in the checkpoint for prediction.
      value_range: the stored values that the network sees as 0 and 1; kept likewise.

    Returns:
      The checkpoint's folder; its step is the number of batches that the batch norms have counted.

    Raises:
      InputError: the weights are not of this network, or something cannot be read or written. Nothing is left behind.
    """
    model_config = check(config)
    of_data = config_frame_size(config)
    if frame_size is None and of_data is None:
        raise InputError("the config does not say how large the frames are; give --frame_size=HEIGHTxWIDTH")
    height, width = frame_size or of_data
    model_config.check_frames((1, model_config.in_frames, height, width, model_config.in_channels))
    if not value_range[0] < value_range[1]:
        raise InputError(f"value_range is {value_range[0]}, {value_range[1]}; the first value must be less than the second")
    state_dict = files.read_weights(weights_file)
    variables = weights.variables_from_torch(model_config, state_dict, key_map)
    like = _shapes(model_config, height, width)
    variables = _as_float32(variables, weights_file)
    chex.assert_trees_all_equal_shapes(variables, like)
    if of_data is not None and (height, width) != of_data:
        here, there = f"{height} x {width}", f"{of_data[0]} x {of_data[1]}"
        print_message(f"frames of {here} are for prediction; the config's data, for evaluation, have {there}")

    place = Workdir(workdir)
    description = {
        "config": config.to_dict(),
        "data": {"weights_sha256": hashlib.sha256(epath.Path(weights_file).read_bytes()).hexdigest()},
        "value_range": {"stored": list(value_range), "network": [0.0, 1.0]},
        "frame_size": [height, width],
        "channels": None,
    }
    step = weights.batches_tracked(state_dict)
    made = not place.path.exists()
    place.create()
    try:
        with place.locked():
            if checkpoint.steps(place.checkpoints):
                raise InputError(f"--out={place.path} holds checkpoints already; name a new folder")
            path = checkpoint.save_variables(place.checkpoints, step, variables, description)
    except BaseException:
        if made:
            place.path.rmtree(missing_ok=True)  # in a bucket there is no empty folder
        raise
    print_message(
        f"wrote {path}; python eval.py --workdir={place.path} evaluates it, --config.train.init_from={place.path} trains on"
    )
    return path


def torch_from_checkpoint(workdir: epath.PathLike, which: str, weights_file: epath.PathLike) -> None:
    """Writes a checkpoint's weights as a `state_dict` for `baseline.network.STLight`.

    Args:
      workdir: folder of a run.
      which: "best", "last" or a step.
      weights_file: its suffix chooses the kind of file.

    Raises:
      InputError: there is no such checkpoint, or the file cannot be written.
    """
    files.check_suffix(weights_file)
    files.require("torch")
    place = Workdir(workdir)
    step = checkpoint.choose_step(place.checkpoints, which)
    config = check(ml_collections.ConfigDict(checkpoint.load_description(place.checkpoints, step)["config"]))
    like = _shapes(config, config.patch_size, config.patch_size)
    variables = checkpoint.load_variables(place.checkpoints, step, PmapLauncher(jax.local_devices()[:1]).abstract(like))
    files.write_weights(weights_file, weights.torch_from_variables(config, variables, step))
    print_message(f"wrote {weights_file}: step {step} of {place.path}")


def _as_float32(variables: dict[str, Any], weights_file: epath.PathLike) -> dict[str, Any]:
    kinds = {leaf.dtype for leaf in jax.tree.leaves(variables)}
    if any(kind.kind != "f" for kind in kinds):
        raise InputError(f"{weights_file} holds {', '.join(sorted(map(str, kinds)))}; weights are floating-point numbers")
    if kinds != {np.dtype(np.float32)}:
        print_message(f"{weights_file} holds {', '.join(sorted(map(str, kinds)))}; rounded to float32")
    with np.errstate(over="ignore"):
        variables = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if not np.isfinite(leaf).all():
            raise InputError(f"{weights_file}: {jax.tree_util.keystr(path)} holds values that are not finite in float32")
    return variables


def _shapes(config: STLightConfig, height: int, width: int) -> Any:
    return jax.eval_shape(lambda: init_variables(STLight(config), 0, (height, width, config.in_channels)))
