"""A training state in a checkpoint: the weights for prediction, and beside them what a resumed run needs."""

import dataclasses
from typing import Any

import flax.serialization
from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.runs import checkpoint
from stlight_jax.training.shrinkage import ALL, scaled_network
from stlight_jax.training.state import TrainState

SHARE = "network_share"  # in a checkpoint's description


def to_trees(state: TrainState, share: float = ALL) -> dict[str, Any]:
    """Returns plain nested dictionaries, so that a checkpoint can be read without the classes of this package or of Optax.

    Args:
      state: A state of arrays or of `jax.ShapeDtypeStruct`.
      share: Share of the network in the forecasts of the checkpoint, see `shrinkage`. It must be in the checkpoint's
        description as `SHARE`.

    Returns:
      {"model", "optimizer"}. `model` holds the variables for prediction. If these are a moving average, `optimizer` holds the
      raw parameters and statistics.
    """
    plain = flax.serialization.to_state_dict(state)
    model = plain.pop("ema")
    if model is None:
        model = {name: plain.pop(name) for name in ("params", "batch_stats")}
    return {"model": scaled_network(model, share), "optimizer": plain}


def load_state(directory: epath.PathLike, step: int, like: TrainState) -> TrainState:
    """Restores a whole state. If only one of checkpoint and `like` has a moving average, it starts anew or is dropped.

    Args:
      directory: Folder of the checkpoints.
      step: The checkpoint's step.
      like: A state of arrays or of `jax.ShapeDtypeStruct` with shardings: structure, shapes, dtypes and placement.

    Returns:
      The state.

    Raises:
      InputError: The checkpoint holds weights only, or does not fit `like`.
    """
    optimizer = checkpoint.stored_shapes(directory, step).get("optimizer")
    if optimizer is None:
        raise InputError(
            f"{directory}/{step} holds weights only, without the optimizer that a run needs to resume; start a new run in "
            f"another --workdir with --config.train.init_from={directory}/{step}"
        )
    averaged = "params" in optimizer
    stored = dataclasses.replace(like, ema=like.raw_variables if averaged else None)
    trees = checkpoint.load_trees(directory, step, to_trees(stored))
    share = checkpoint.load_description(directory, step).get(SHARE, ALL)
    model = scaled_network(trees["model"], 1 / share)
    average = {"ema": model if averaged else None}
    state = flax.serialization.from_state_dict(stored, {**model, **trees["optimizer"], **average})
    keeps_average = like.ema is not None
    return state if averaged == keeps_average else state.with_variables(state.raw_variables, averaged=keeps_average)
