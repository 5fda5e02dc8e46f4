"""JAX against outputs of PyTorch (float64) that `record.py` wrote down; the versions are in the files."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import STLight
from stlight_jax.data.unit_range import to_unit_range
from stlight_jax.torch_reference.parity import CANCELLED, CASES, TOLERANCES, make_frames, make_variables
from stlight_jax.torch_reference.weights import arrays_from_variables

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def digest(arrays):
    """`[n, 3]`: of each array the norm and two projections on random directions of unit variance, in order of names."""
    rows = []
    for index, (name, array) in enumerate(sorted(arrays.items())):
        if name == CANCELLED:
            continue
        directions = np.random.RandomState(index).standard_normal((2, array.size))
        rows.append([np.linalg.norm(array), *(directions @ array.astype(np.float64).ravel())])
    return np.array(rows)


def scaled(name):
    case = CASES[name]
    frames = np.asarray(to_unit_range(make_frames(case)[0]))
    return case, make_variables(case), frames[:, : case.model.in_frames], frames[:, case.model.in_frames :]


def assert_close(ours, recorded, quantity):
    assert np.linalg.norm(ours - recorded) <= TOLERANCES[quantity]["float32"] * np.linalg.norm(recorded)


@pytest.mark.parametrize("name", CASES)
def test_predictions(name):
    case, variables, inputs, _ = scaled(name)
    recorded = np.load(FIXTURES / f"{name}.npz")
    assert_close(jax.jit(STLight(case.model).apply)(variables, inputs), recorded["prediction"], "prediction")


@pytest.mark.parametrize("name", ["kitti", "overlap"])
def test_training_outputs_statistics_and_gradients(name):
    case, variables, inputs, targets = scaled(name)
    recorded = np.load(FIXTURES / f"{name}.npz")

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_and_gradients(params):
        trained = {"params": params, "batch_stats": variables["batch_stats"]}
        prediction, updates = STLight(case.model).apply(trained, inputs, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.square(prediction - targets)), (prediction, updates["batch_stats"])

    (loss, (prediction, batch_stats)), gradients = loss_and_gradients(variables["params"])
    assert_close(prediction, recorded["training_prediction"], "prediction in training")
    assert float(loss) == pytest.approx(float(recorded["loss"]), rel=TOLERANCES["loss"]["float32"])
    arrays = arrays_from_variables(case.model, {"params": gradients, "batch_stats": batch_stats})
    means = digest({name: array for name, array in arrays.items() if name.endswith("running_mean")})
    assert np.max(np.abs(means - recorded["running_means"]) / recorded["running_means"][:, :1]) < 5e-5
    found = digest({name: array for name, array in arrays.items() if "running_" not in name and "num_" not in name})
    # A projection on a random direction is as large as the norm, give or take.
    norms = recorded["gradients"][:, :1]
    assert np.max(np.abs(found - recorded["gradients"]) / norms) < 5 * TOLERANCES["gradients"]["float32"]
    np.testing.assert_array_equal(np.asarray(gradients["patch_encoder"]["bias"]), 0)
