"""Conversion of PyTorch weights to a checkpoint, and of a checkpoint to PyTorch weights."""

import hashlib
from collections.abc import Mapping
from typing import Any

import chex
import jax
import ml_collections
import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.load import check_config, network_config
from stlight_jax.data.load import frame_size as config_frame_size
from stlight_jax.errors import InputError
from stlight_jax.inference import trained
from stlight_jax.runs import checkpoint
from stlight_jax.runs.checkpoint_writer import save_variables
from stlight_jax.runs.workdir import Workdir
from stlight_jax.torch_reference import weight_files, weights
from stlight_jax.torch_reference.weight_choice import WeightChoice

# What a checkpoint keeps of the training of a run, see `TrainedModel.description`.
_OF_TRAINING = ("value_range", "scaling", "channels")


def checkpoint_from_torch(
    config: ml_collections.ConfigDict,
    weights_file: epath.PathLike,
    workdir: epath.PathLike,
    key_map: dict[str, str] | None = None,
    training: Mapping[str, Any] | None = None,
    *,
    weights_key: str | None = None,
    ignore_unexpected: bool = False,
) -> epath.Path:
    """Writes a workdir with one checkpoint that holds a PyTorch network's weights, in float32.

    On failure it leaves no files behind.

    Args:
      config: a config as in `configs/`, whose model is the network of the weights.
      weights_file: the file of weights, see `weight_files.read_weights`.
      workdir: a folder without checkpoints; made if it does not exist.
      key_map: see `weights.variables_from_torch`.
      training: facts of the training, kept in the checkpoint, under the names of `TrainedModel.description`:
        "frame_size" for prediction, by default the config's; "value_range", by default 0 to 255; "data", "scaling" and
        "channels" of a run whose data the network was trained on.
      weights_key: see `weight_choice.WeightChoice.choose`.
      ignore_unexpected: see `weight_choice.WeightChoice.choose`.

    Returns:
      The checkpoint's folder; its step is the number of batches that the batch norms have counted.

    Raises:
      InputError: the weights are not of this network, or a file cannot be read or written.
    """
    checked = check_config(config)
    model_config, config_size = network_config(checked), config_frame_size(checked)
    training = {
        "value_range": {"stored": [0.0, 255.0], "network": [0.0, 1.0]},
        "data": {},
        "channels": None,
        **(training or {}),
    }
    frame_size = training.get("frame_size") or config_size
    if frame_size is None:
        raise InputError("the config has no frame size; give --frame_size=HEIGHTxWIDTH")
    height, width = frame_size
    model_config.check_frames((1, model_config.seen_frames, height, width, model_config.in_channels))
    low, high = training["value_range"]["stored"]
    if not np.all(np.less(low, high)) and "scaling" not in training:
        raise InputError(f"value_range is {low}, {high}; the first value must be less than the second")
    found, shapes = weight_files.read_weights(weights_file), weights.torch_shapes(model_config)
    state_dict = WeightChoice(found, shapes, key_map, str(weights_file)).choose(weights_key, ignore_unexpected)
    variables = _as_float32(weights.stacked_variables(model_config, state_dict), weights_file)
    chex.assert_trees_all_equal_shapes(variables, weights.variable_shapes(model_config))
    if config_size is not None and (height, width) != config_size:
        print_message(
            f"frames of {height} x {width} are for prediction; the config's data, for evaluation, have "
            f"{config_size[0]} x {config_size[1]}"
        )
    description = {
        **{key: training[key] for key in _OF_TRAINING if key in training},
        "config": checked.to_dict(),
        "data": {**training["data"], "weights_sha256": hashlib.sha256(epath.Path(weights_file).read_bytes()).hexdigest()},
        "frame_size": [height, width],
    }
    path = _write_checkpoint(Workdir(workdir), weights.batches_tracked(state_dict), variables, description)
    print_message(f"wrote {path}")
    if not training["data"]:
        print_message(
            "it has no description of its training data, which --config=RUN would take from a run: an evaluation divides the "
            "data by the keys data.* of this config, and cannot check that they are the data of the training"
        )
    moved = "" if checked.data.root or find_dataset(checked.dataset).channels else " --data_root=PATH"
    print_message(
        f"to evaluate it: stlight evaluate --workdir={workdir}{moved}; to train it further: stlight train --config={workdir} "
        f"--config.train.init_from={workdir} --workdir=NEW"
    )
    return path


def torch_from_checkpoint(network: epath.PathLike, which: str, weights_file: epath.PathLike) -> None:
    """Writes a checkpoint's weights as a `state_dict` for `torch_reference.network.STLight`.

    Args:
      network: a run, a checkpoint, a `.stlight` file or the name of a shipped network, see `trained.load`.
      which: "best", "last" or a step.
      weights_file: the file, whose suffix chooses its format.

    Raises:
      InputError: the checkpoint does not exist, or the file cannot be written.
    """
    weight_files.check_suffix(weights_file)
    weight_files.require("torch")
    model = trained.load(network, which)
    if model.program is not None:
        model = model.without_program()
    config, step = model.config, model.description.get("step", 0)
    weight_files.write_weights(weights_file, weights.torch_from_variables(config, model.variables, step))
    print_message(f"wrote {weights_file}: the weights of {model.source}")


def _write_checkpoint(run: Workdir, step: int, variables: dict[str, Any], description: dict[str, Any]) -> epath.Path:
    is_new = not run.path.exists()
    run.create()
    try:
        with run.locked():
            if checkpoint.steps(run.checkpoints):
                raise InputError(f"--out={run.path} holds checkpoints already; name a new folder")
            return save_variables(run.checkpoints, step, variables, description)
    except BaseException:
        if is_new:
            run.path.rmtree(missing_ok=True)  # a bucket has no empty folders
        raise


def _as_float32(variables: dict[str, Any], weights_file: epath.PathLike) -> dict[str, Any]:
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(variables)}
    names = ", ".join(sorted(map(str, dtypes)))
    if any(dtype.kind != "f" for dtype in dtypes):
        raise InputError(f"{weights_file} holds {names}; weights are floating-point numbers")
    if dtypes != {np.dtype(np.float32)}:
        print_message(f"{weights_file} holds {names}; rounded to float32")
    with np.errstate(over="ignore"):
        variables = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if not np.isfinite(leaf).all():
            raise InputError(f"{weights_file}: {jax.tree_util.keystr(path)} holds values that are not finite in float32")
    return variables
