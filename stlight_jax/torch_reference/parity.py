"""The same weights and the same frames through JAX and through PyTorch: how far apart is everything that comes out?"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from stlight_jax.data.scaling import to_unit_range
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.parallel.launchers import AXIS, PmapLauncher
from stlight_jax.torch_reference.weights import arrays_from_variables, torch_from_variables
from stlight_jax.training.schedule import Hyperparameters, OneCycle
from stlight_jax.training.state import TrainState, make_optimizer
from stlight_jax.training.step import make_train_step

ADAM_STEPS = 10
CANCELLED = "patch_encoder.conv.bias"


class Case(NamedTuple):
    """A network and the frames it is compared on."""

    model: STLightConfig
    height: int
    width: int
    batch_size: int = 2


def _config(in_frames: int, out_frames: int, channels: int, **rest: Any) -> STLightConfig:
    rest = {"hidden_dim": 32, "depth": 4, "patch_size": 2, **rest}
    return STLightConfig(in_frames=in_frames, out_frames=out_frames, in_channels=channels, out_channels=channels, **rest)


# What the published networks differ in, at widths that take seconds.
CASES = {
    "tiny": Case(_config(10, 10, 1, hidden_dim=96, depth=6, far_kernel=5), 32, 32),
    "taxibj": Case(_config(4, 4, 2, patch_size=1), 16, 16),
    "kth": Case(_config(10, 20, 1, far_kernel=5), 32, 32),
    "overlap": Case(_config(10, 10, 1, overlap=2), 32, 32),
    "kitti": Case(_config(10, 1, 3, near_kernel=5, far_kernel=5), 16, 24),
}
# Largest relative deviation (see `deviation`) from float64 PyTorch that is taken for rounding, by the precision of JAX.
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


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one framework made of a case. All arrays under PyTorch's names and in its layout."""

    prediction: np.ndarray  # [b, t', h, w, c]
    training_prediction: np.ndarray  # [b, t', h, w, c]
    loss: float
    gradients: dict[str, np.ndarray]
    running_means: dict[str, np.ndarray]
    running_variances: dict[str, np.ndarray]
    after_one_step: dict[str, np.ndarray]
    after_all_steps: dict[str, np.ndarray]
    losses: np.ndarray  # [ADAM_STEPS]


def make_frames(case: Case, seed: int = 0) -> np.ndarray:
    """uint8 `[ADAM_STEPS, b, T + T', h, w, c]`: smooth moving waves with noise, so that there is something to learn."""
    model, generator = case.model, np.random.RandomState(seed)
    time = np.arange(model.in_frames + model.out_frames)[:, None, None, None]
    rows, columns = np.arange(case.height)[:, None, None], np.arange(case.width)[None, :, None]
    channel = np.arange(model.in_channels)
    shape = (ADAM_STEPS, case.batch_size, 1, 1, 1, 1)
    speed, phase = generator.uniform(-0.5, 0.5, (2, *shape))
    waves = 0.5 + 0.4 * np.sin(0.4 * rows + 0.3 * columns + speed * time + 6 * phase + channel)
    noise = generator.uniform(-0.1, 0.1, waves.shape)
    return np.rint(np.clip(waves + noise, 0, 1) * 255).astype(np.uint8)


def make_variables(case: Case, seed: int = 0) -> dict[str, Any]:
    """float32 weights away from the initial ones: biases, scales and running statistics are no zeros and ones."""
    shapes = jax.eval_shape(lambda: init_variables(STLight(case.model), 0, (case.height, case.width, case.model.in_channels)))
    generator = np.random.RandomState(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            fan_in = np.prod(leaf.shape[-4:-1]) if len(leaf.shape) >= 4 else leaf.shape[-2]
            return (generator.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)
        if name in ("scale", "var"):
            return generator.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return generator.uniform(-0.2, 0.2, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def schedule() -> OneCycle:
    """Ten steps, up and down, with the cycle of beta1."""
    return OneCycle(ADAM_STEPS, 1e-2)


def outcome_in_jax(case: Case, variables: dict[str, Any], frames: np.ndarray, dtype: str) -> Outcome:
    """Through the real training step on one device. Args: dtype "float32" or "float64"."""
    config = dataclasses.replace(case.model, dtype=dtype)
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
        optimizer_config = ml_collections.ConfigDict({"beta2": 0.999, "eps": 1e-8, "clip_norm": 0.0, "weight_decay": 0.0})
        launcher = PmapLauncher(jax.local_devices()[:1])
        step = launcher.train(make_train_step(STLight(config, AXIS), functools.partial(make_optimizer, optimizer_config), AXIS))
        params, batch_stats_before = jax.tree.map(jnp.copy, (variables["params"], variables["batch_stats"]))  # donated below
        opt_state = make_optimizer(optimizer_config).init(params)
        state = launcher.replicate(TrainState(jnp.zeros((), jnp.int32), params, batch_stats_before, opt_state))
        losses, after_one_step, rates = [], {}, schedule()
        for index, batch in enumerate(frames):
            hyperparameters = Hyperparameters(*(np.asarray(value, dtype) for value in rates(index)))
            state, metrics = step(state, launcher.split(batch), hyperparameters)
            losses.append(float(metrics["loss"]))
            if index == 0:
                after_one_step = _parameters(config, state.variables)
        stats = arrays_from_variables(config, {"params": gradients, "batch_stats": batch_stats})
        return Outcome(
            prediction=np.asarray(jax.jit(model.apply)(variables, inputs)),
            training_prediction=np.asarray(trained),
            loss=float(loss),
            gradients=_parameters(config, {"params": gradients, "batch_stats": batch_stats}),
            running_means={name: array for name, array in stats.items() if name.endswith("running_mean")},
            running_variances={name: array for name, array in stats.items() if name.endswith("running_var")},
            after_one_step=after_one_step,
            after_all_steps=_parameters(config, state.variables),
            losses=np.array(losses),
        )


def outcome_in_torch(case: Case, variables: dict[str, Any], frames: np.ndarray) -> Outcome:
    """In float64."""
    import torch

    from stlight_jax.torch_reference.network import STLight as TorchSTLight
    from stlight_jax.torch_reference.torch_training import split_frames, train

    def fresh() -> torch.nn.Module:
        model = TorchSTLight(**network_arguments(case.model)).double()
        model.load_state_dict(torch_from_variables(case.model, variables))
        return model

    inputs, targets = split_frames(frames[0], case.model.in_frames, torch.float64)
    model = fresh().eval()
    with torch.no_grad():
        prediction = _channels_last(model(inputs))
    model.train()
    trained = model(inputs)
    loss = torch.nn.functional.mse_loss(trained, targets)
    loss.backward()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    stepped, rates = fresh(), schedule()
    losses, after_one_step = [], {}
    for loss_of_step in train(stepped, frames, rates.total_steps, case.model.in_frames, learning_rate=rates.peak):
        losses.append(loss_of_step)
        if len(losses) == 1:
            after_one_step = {name: value.detach().numpy().copy() for name, value in stepped.named_parameters()}
    return Outcome(
        prediction=prediction,
        training_prediction=_channels_last(trained.detach()),
        loss=loss.item(),
        gradients=gradients,
        running_means={name: array for name, array in state.items() if name.endswith("running_mean")},
        running_variances={name: array for name, array in state.items() if name.endswith("running_var")},
        after_one_step=after_one_step,
        after_all_steps={name: value.detach().numpy() for name, value in stepped.named_parameters()},
        losses=np.array(losses),
    )


def deviations(case: Case, ours: Outcome, theirs: Outcome, variables: dict[str, Any]) -> dict[str, float]:
    """The largest deviation of each quantity in `TOLERANCES`."""
    before = arrays_from_variables(case.model, variables)
    moved = [
        (_moved(of_ours, before), _moved(of_theirs, before))
        for of_ours, of_theirs in (
            (ours.after_one_step, theirs.after_one_step),
            (ours.after_all_steps, theirs.after_all_steps),
        )
    ]
    cells = case.batch_size * (case.height // case.model.patch_size) * (case.width // case.model.patch_size)
    # Flax keeps the biased variance of the batch, PyTorch the unbiased one, which is n / (n - 1) times as large.
    unbiased = {
        name: (old := 0.9 * before[name].astype(np.float64)) + (array - old) * cells / (cells - 1)
        for name, array in ours.running_variances.items()
    }
    return {
        "prediction": deviation({"": ours.prediction}, {"": theirs.prediction}),
        "prediction in training": deviation({"": ours.training_prediction}, {"": theirs.training_prediction}),
        "loss": abs(ours.loss / theirs.loss - 1),
        "gradients": deviation(ours.gradients, theirs.gradients),
        "running means": deviation(ours.running_means, theirs.running_means),
        "running variances": deviation(unbiased, theirs.running_variances),
        "parameters after 1 step": deviation(*moved[0]),
        f"parameters after {ADAM_STEPS} steps": deviation(*moved[1]),
        f"losses of {ADAM_STEPS} steps": float(np.max(np.abs(ours.losses / theirs.losses - 1))),
    }


def deviation(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """The largest of |ours - theirs| / |theirs| over the arrays, in the Euclidean norm.

    The bias that batch norm cancels is passed over: its gradient is zero, in PyTorch rounding noise around it.
    """
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    return max(
        float(np.linalg.norm(ours[name] - array) / np.linalg.norm(array)) for name, array in theirs.items() if name != CANCELLED
    )


def network_arguments(config: STLightConfig) -> dict[str, int]:
    """The part of a config that `baseline.network.STLight` takes."""
    ours = ("depthwise", "precision", "dtype", "rematerialise", "scan_unroll")
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in ours}


def _parameters(config: STLightConfig, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    arrays = arrays_from_variables(config, variables)
    return {name: array for name, array in arrays.items() if "running_" not in name and "num_batches" not in name}


def _moved(after: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array - before[name].astype(np.float64) for name, array in after.items()}


def _channels_last(frames: Any) -> np.ndarray:
    return frames.numpy().transpose(0, 1, 3, 4, 2)
