"""The outcomes of both frameworks for the same weights and frames, and how far they deviate from each other."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.config.sections import OptimizerSection
from stlight_jax.data.unit_range import to_unit_range
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.parallel.launchers import AXIS, PmapLauncher
from stlight_jax.torch_reference.weights import arrays_from_variables, torch_network, variable_shapes
from stlight_jax.training.schedule import Hyperparameters, OneCycle
from stlight_jax.training.state import TrainState, make_optimizer
from stlight_jax.training.step import make_train_step

ADAM_STEPS = 10
CANCELLED = "patch_encoder.conv.bias"
Arrays = dict[str, np.ndarray]  # under PyTorch's names and in its layout
Outcome = dict[str, Any]  # the results of one framework for a case, by the quantities of `TOLERANCES`


class Case(NamedTuple):
    """A network and the size of the frames it is compared on.

    Attributes:
      model: the network's config.
      height: height of the frames in pixels.
      width: width of the frames in pixels.
      batch_size: sequences per batch.
    """

    model: STLightConfig
    height: int
    width: int
    batch_size: int = 2


def _config(in_frames: int, out_frames: int, channels: int, **rest: Any) -> STLightConfig:
    rest = {"hidden_dim": 32, "depth": 4, "patch_size": 2, **rest}
    return STLightConfig(in_frames=in_frames, out_frames=out_frames, in_channels=channels, out_channels=channels, **rest)


# The differences between the published networks, at widths that take seconds.
CASES = {
    "tiny": Case(_config(10, 10, 1, hidden_dim=96, depth=6, far_kernel=5), 32, 32),
    "taxibj": Case(_config(4, 4, 2, patch_size=1), 16, 16),
    "kth": Case(_config(10, 20, 1, far_kernel=5), 32, 32),
    "overlap": Case(_config(10, 10, 1, overlap=2), 32, 32),
    "linear": Case(_config(3, 4, 2, shortcut="linear"), 16, 16),
    "scales": Case(_config(3, 4, 2, shortcut="linear", shortcut_scales=3), 16, 12),
    "changes": Case(_config(3, 4, 2, shortcut="last", input="changes"), 16, 16),
    "kitti": Case(_config(10, 1, 3, near_kernel=5, far_kernel=5), 16, 24),
}
# Largest relative deviation (see `deviation`) from float64 PyTorch that counts as rounding, by the precision of JAX.
# float64 shows that the mathematics is the same. The steps of Adam: it divides by the gradient's own size, so an entry whose
# gradient is smaller than float32's rounding moves by a whole learning rate in a direction of chance.
TOLERANCES = {
    "prediction": {"float64": 1e-12, "float32": 1e-5},
    "prediction in training": {"float64": 1e-12, "float32": 1e-5},
    "loss": {"float64": 1e-12, "float32": 1e-5},
    "gradients": {"float64": 1e-10, "float32": 1e-4},
    "running means": {"float64": 1e-12, "float32": 1e-5},
    "running variances": {"float64": 1e-12, "float32": 1e-5},
    "parameters after 1 step": {"float64": 1e-8, "float32": 5e-2},
    f"parameters after {ADAM_STEPS} steps": {"float64": 1e-8, "float32": 1e-3},
    f"losses of {ADAM_STEPS} steps": {"float64": 1e-12, "float32": 1e-4},
}


def make_frames(case: Case, seed: int = 0) -> np.ndarray:
    """Makes smooth moving waves with noise, which a network can learn.

    Args:
      case: the case.
      seed: seed of the waves and the noise.

    Returns:
      uint8 `[ADAM_STEPS, b, T + T', h, w, c]`.
    """
    model, generator = case.model, np.random.RandomState(seed)
    time = np.arange(model.in_frames + model.out_frames)[:, None, None, None]
    rows, columns = np.arange(case.height)[:, None, None], np.arange(case.width)[None, :, None]
    channel = np.arange(model.in_channels)
    speed, phase = generator.uniform(-0.5, 0.5, (2, ADAM_STEPS, case.batch_size, 1, 1, 1, 1))
    waves = 0.5 + 0.4 * np.sin(0.4 * rows + 0.3 * columns + speed * time + 6 * phase + channel)
    noise = generator.uniform(-0.1, 0.1, waves.shape)
    return np.rint(np.clip(waves + noise, 0, 1) * 255).astype(np.uint8)


def make_variables(case: Case, seed: int = 0) -> dict[str, Any]:
    """Makes float32 variables in which no bias, scale or running statistic has its initial value.

    Args:
      case: the case.
      seed: seed of the values.

    Returns:
      {"params", "batch_stats"}.
    """
    generator = np.random.RandomState(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            fan_in = np.prod(leaf.shape[-4:-1]) if len(leaf.shape) >= 4 else leaf.shape[-2]
            return (generator.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)
        low, high = (0.5, 1.5) if name in ("scale", "var") else (-0.2, 0.2)
        return generator.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(case.model))


def schedule() -> OneCycle:
    """Returns a schedule of ten steps, up and down, with the cycle of beta1."""
    return OneCycle(ADAM_STEPS, 1e-2)


def outcome_in_jax(case: Case, variables: dict[str, Any], frames: np.ndarray, dtype: str) -> Outcome:
    """Computes the outcome in JAX, with the real training step on one device.

    Args:
      case: the case.
      variables: {"params", "batch_stats"}, see `make_variables`.
      frames: uint8 `[ADAM_STEPS, b, T + T', h, w, c]`, see `make_frames`.
      dtype: "float32" or "float64".
    """
    config = STLightConfig(**{**dataclasses.asdict(case.model), "dtype": dtype})
    with jax.enable_x64(dtype == "float64"):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables)
        model = STLight(config)
        frames_unit = jax.jit(to_unit_range)(frames[0])
        inputs, targets = frames_unit[:, : config.in_frames], frames_unit[:, config.in_frames :]

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            prediction, updates = model.apply(
                {"params": params, "batch_stats": variables["batch_stats"]}, inputs, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(jnp.square(prediction - targets)), (prediction, updates["batch_stats"])

        (loss, (trained, batch_stats)), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(variables["params"])
        arrays = arrays_from_variables(config, {"params": gradients, "batch_stats": batch_stats})
        optimizer = OptimizerSection()
        params, statistics = jax.tree.map(jnp.copy, (variables["params"], variables["batch_stats"]))  # the step donates them
        start = TrainState(jnp.zeros((), jnp.int32), params, statistics, make_optimizer(optimizer).init(params))
        losses, after_steps = [], []
        for loss_of_step, state in train_in_jax(config, optimizer, start, frames, schedule()):
            losses.append(loss_of_step)
            after_steps.append(_parameters(arrays_from_variables(config, state.variables)))
        predictions = (np.asarray(jax.jit(model.apply)(variables, inputs)), np.asarray(trained))
        return _outcome(predictions, float(loss), _parameters(arrays), arrays, after_steps, losses)


def train_in_jax(
    config: STLightConfig,
    optimizer: OptimizerSection,
    state: TrainState,
    batches: Iterable[np.ndarray],
    rates: Callable[[int], Hyperparameters],
) -> Iterator[tuple[float, TrainState]]:
    """Trains on one device with the real training step.

    Args:
      config: the network's config; its dtype is the dtype of `state`.
      optimizer: keys of a config's section `optimizer` that `make_optimizer` reads.
      state: the state to begin with; the first step takes over its memory.
      batches: uint8 `[b, T + T', h, w, c]`.
      rates: the schedule, step -> hyperparameters.

    Yields:
      The loss of each step, and the state after it.
    """
    launcher = PmapLauncher(jax.local_devices()[:1])
    step = launcher.compile_train_step(
        make_train_step(STLight(config, AXIS), functools.partial(make_optimizer, optimizer), AXIS)
    )
    state = launcher.replicate(state)
    for index, batch in enumerate(batches):
        hyperparameters = Hyperparameters(*(jnp.asarray(value, config.dtype) for value in rates(index)))
        state, metrics = step(state, launcher.split(batch), hyperparameters)
        yield float(metrics["loss"]), state


def outcome_in_torch(case: Case, variables: dict[str, Any], frames: np.ndarray) -> Outcome:
    """Computes the outcome in PyTorch, in float64.

    Args:
      case: the case.
      variables: {"params", "batch_stats"}, see `make_variables`.
      frames: uint8 `[ADAM_STEPS, b, T + T', h, w, c]`, see `make_frames`.
    """
    import torch

    from stlight_jax.torch_reference.torch_training import split_frames, train

    inputs, targets = split_frames(frames[0], case.model.in_frames, torch.float64)
    model = torch_network(case.model, variables).double().eval()
    with torch.no_grad():
        prediction = model(inputs)
    trained = model.train()(inputs)
    loss = torch.nn.functional.mse_loss(trained, targets)
    loss.backward()
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}

    stepped = torch_network(case.model, variables).double()
    losses, after_steps = [], []
    for loss_of_step in train(stepped, frames, schedule(), case.model.in_frames):
        losses.append(loss_of_step)
        after_steps.append({name: value.detach().numpy().copy() for name, value in stepped.named_parameters()})
    predictions = [found.detach().numpy().transpose(0, 1, 3, 4, 2) for found in (prediction, trained)]  # [b, T', h, w, c]
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return _outcome(predictions, loss.item(), gradients, arrays, after_steps, losses)


def _outcome(
    predictions: Sequence[np.ndarray],
    loss: float,
    gradients: Arrays,
    arrays: Arrays,
    after_steps: Sequence[Arrays],
    losses: Sequence[float],
) -> Outcome:
    """Returns the outcome.

    Args:
      predictions: `[b, T', h, w, c]`, with the running statistics of the batch norms and with those of the batch.
      loss: mean squared error of the second prediction.
      gradients: gradients of `loss`.
      arrays: running means and variances after the forward pass in training, and others.
      after_steps: parameters after each step of Adam.
      losses: the loss of each step.
    """
    return {
        "prediction": {"": predictions[0]},
        "prediction in training": {"": predictions[1]},
        "loss": loss,
        "gradients": gradients,
        "running means": _ending("running_mean", arrays),
        "running variances": _ending("running_var", arrays),
        "parameters after 1 step": after_steps[0],
        f"parameters after {ADAM_STEPS} steps": after_steps[-1],
        f"losses of {ADAM_STEPS} steps": np.array(losses),
    }


def deviations(case: Case, ours: Outcome, theirs: Outcome, variables: dict[str, Any]) -> dict[str, float]:
    """Computes the largest deviation of each quantity in `TOLERANCES`.

    Args:
      case: the case.
      ours: the outcome in JAX.
      theirs: the outcome in PyTorch.
      variables: the variables that both began with.
    """
    before = {name: array.astype(np.float64) for name, array in arrays_from_variables(case.model, variables).items()}
    cells = case.batch_size * (case.height // case.model.patch_size) * (case.width // case.model.patch_size)
    # Flax keeps the biased variance of the batch, PyTorch the unbiased one, which is n / (n - 1) times as large.
    unbiased = {
        name: (old := 0.9 * before[name]) + (array - old) * cells / (cells - 1)
        for name, array in ours["running variances"].items()
    }
    found = {}
    for quantity in TOLERANCES:
        both = [unbiased if quantity == "running variances" else ours[quantity], theirs[quantity]]
        if "loss" in quantity:
            found[quantity] = float(np.max(np.abs(both[0] / both[1] - 1)))
            continue
        if "parameters" in quantity:  # how far they moved
            both = [{name: array - before[name] for name, array in after.items()} for after in both]
        found[quantity] = deviation(*both)
    return found


def deviation(ours: Arrays, theirs: Arrays) -> float:
    """Computes the largest of |ours - theirs| / |theirs| over the arrays, in the Euclidean norm.

    The bias before the encoder's batch norm is left out: its gradient is exactly zero in JAX, rounding noise in PyTorch.

    Args:
      ours: arrays of JAX.
      theirs: arrays of PyTorch, with the same names.
    """
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    return max(
        float(np.linalg.norm(ours[name] - array) / np.linalg.norm(array)) for name, array in theirs.items() if name != CANCELLED
    )


def _ending(suffix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {name: array for name, array in arrays.items() if name.endswith(suffix)}


def _parameters(arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {name: array for name, array in arrays.items() if "running_" not in name and "num_batches" not in name}
