"""The fit of the shortcut `flow_linear`: its inputs, and that it finds what no map of the frames, and no flow, can know."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.training import flow_fit
from stlight_jax.training.shortcut_choice import ShortcutAlone, shortcut_errors
from stlight_jax.training.shortcut_fit import fitted_linear

pytestmark = pytest.mark.compiled_fast
CONFIG = STLightConfig(
    in_frames=3, out_frames=2, in_channels=2, out_channels=1, hidden_dim=16, depth=2, patch_size=2, shortcut="flow_linear"
)


class FadingSpots(Sequences):
    """Spots of channel 1 that move by one pixel a step and fade to 0.8 of their brightness, in units of 0 to 10; noise in 2."""

    def __init__(self, count=12, missing=False):
        self.shape, self._count, self._missing = (5, 24, 24, 2), count, missing
        self.scaling = Scaling(dtype="float32", low=(0.0,), high=(10.0,), missing=missing, filling=(0.25,))
        self.description = {"name": "spots", "published": False, "sequences": count}

    def __len__(self):
        return self._count

    def frames(self, indices, epoch=0):
        del epoch
        y, x = np.mgrid[:24, :24].astype(float)
        frames = []
        for index in indices:
            random = np.random.default_rng(index)
            (row, column), (down, right) = random.uniform(9, 15, 2), random.choice([-1, 1], 2)
            spots = [
                10 * 0.8**time * np.exp(-((y - row - down * time) ** 2 + (x - column - right * time) ** 2) / 18)
                for time in range(5)
            ]
            frames.append(np.stack([np.stack(spots), random.uniform(0, 10, (5, 24, 24))], -1))
        frames = np.array(frames, np.float32)
        if self._missing:
            frames[:, :, :3] = np.nan
        return frames


def forecast_error(shortcut, loss="squared", missing=False):
    """The MSE of a fitted shortcut, without a network, on spots that the fit has not seen."""
    config, spots = dataclasses.replace(CONFIG, shortcut=shortcut), FadingSpots(40, missing)
    params = {}
    if shortcut != "flow":
        params = {"shortcut": {"linear": fitted_linear(config, FadingSpots(24, missing), FadingSpots(6, missing), loss)}}
    frames = spots.frames(np.arange(30, 40)) / 10
    valid = ~np.isnan(frames)
    seen = np.where(valid, frames, np.float32(0.25))[:, :3]
    forecast = ShortcutAlone(config).apply({"params": params}, seen, valid=valid[:, :3] if missing else None)
    return np.nanmean(np.square(forecast - frames[:, 3:, ..., :1]))


@pytest.mark.parametrize(("missing", "rows"), [(False, 24), (True, 21)])
def test_the_valid_values_of_a_frame_are_counted(missing, rows):
    flow = dataclasses.replace(CONFIG, shortcut="flow")
    assert shortcut_errors(flow, {}, FadingSpots(4, missing), make_launcher("pmap"))["values"] == rows * 24


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("loss", ["squared", "both"])
def test_the_fit_fades_the_flow_of_spots_that_fade(loss, missing):
    found = forecast_error("flow_linear", loss, missing)
    assert found < 0.5 * min(forecast_error(kind, missing=missing) for kind in ("flow", "linear"))


def test_a_channel_that_knows_nothing_has_no_weight():
    kernel = fitted_linear(CONFIG, FadingSpots(24), FadingSpots(6))["kernel"]
    assert kernel.shape == (3 * 2 + 2, 2)
    np.testing.assert_allclose(kernel[[1, 3, 5]], 0, atol=0.01)


def outliers():
    """Inputs, changes of two outputs with outliers on one side, and the inputs with a 1 for the bias."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(400, 2))
    changes = inputs @ [[0.5, 1.0], [-2.0, 0.3]] + [0.1, 0.2] + [0.05, 0.2] * random.normal(size=(400, 2))
    changes += 2 * (random.random((400, 2)) < 0.2)
    return inputs, changes, np.concatenate([inputs, np.ones((400, 1))], 1)


def test_squared_errors_are_fitted_by_least_squares():
    inputs, changes, columns = outliers()
    fitted = np.concatenate([*map(np.atleast_2d, flow_fit.reweighted_fit(inputs, changes, "squared"))])
    np.testing.assert_allclose(fitted, np.linalg.lstsq(columns, changes)[0], atol=0.005)  # the ridge is a thousandth


def test_absolute_errors_are_fitted_as_by_a_linear_program():
    inputs, changes, columns = outliers()
    fits = {loss: flow_fit.reweighted_fit(inputs, changes, loss) for loss in ("absolute", "squared")}
    errors = {loss: np.abs(changes - inputs @ weights - bias).sum(0) for loss, (weights, bias) in fits.items()}
    for output in range(2):  # least absolute deviations: the least sum of p + n with columns @ x + p - n = change
        program = scipy.optimize.linprog(
            [0, 0, 0] + [1] * 800,
            A_eq=np.concatenate([columns, np.eye(400), -np.eye(400)], 1),
            b_eq=changes[:, output],
            bounds=[(None, None)] * 3 + [(0, None)] * 800,
        )
        assert errors["absolute"][output] < 1.005 * program.fun
        assert errors["squared"][output] > 1.05 * program.fun


def test_both_errors_are_fitted_with_one_root_for_all_outputs_as_in_training():
    inputs, changes, columns = outliers()

    def loss(weights):
        errors = columns @ weights.reshape(3, 2) - changes
        # In training the root is a constant, so that the gradient of the squared error over it is twice that of the root.
        return 2 * np.sqrt(np.square(errors).mean()) + np.abs(errors).mean()

    least = scipy.optimize.minimize(loss, np.zeros(6), method="Powell", options={"xtol": 1e-8, "ftol": 1e-12})
    found = np.concatenate([*map(np.atleast_2d, flow_fit.reweighted_fit(inputs, changes, "both"))])
    squared = np.concatenate([*map(np.atleast_2d, flow_fit.reweighted_fit(inputs, changes, "squared"))])
    assert loss(found) - least.fun < 0.1 * (loss(squared) - least.fun)


@pytest.mark.parametrize("loss", ["squared", "both"])
def test_inputs_that_do_not_vary_have_no_weight(loss):
    constant = np.full((50, 3), 0.3)
    weights, bias = flow_fit.reweighted_fit(constant, np.full((50, 1), 0.2), loss)
    np.testing.assert_allclose(weights, 0, atol=1e-12)
    np.testing.assert_allclose(bias, 0.2)


@pytest.mark.parametrize(("products", "used"), [(1, "squared"), (41 * 8**2 * 2, "both")])  # rows of 8 inputs, 2 outputs
def test_many_channels_have_enough_pixels_for_their_weights(monkeypatch, products, used):
    monkeypatch.setattr(flow_fit, "_MOST_PRODUCTS", products)
    monkeypatch.setattr(flow_fit, "_MOST_ROWS", 1)
    rows = []
    fit = flow_fit.reweighted_fit
    monkeypatch.setattr(flow_fit, "reweighted_fit", lambda *given: rows.append((*given[0].shape, given[2])) or fit(*given))
    flow_fit.fit_flow_linear(FadingSpots(24), CONFIG, 3, 2, "both")
    ((count, size, loss),) = rows
    assert (size, loss) == (8, used)
    assert count == 20 * size


def test_pixels_with_a_missing_value_take_no_place_of_others(monkeypatch):
    monkeypatch.setattr(flow_fit, "_MOST_ROWS", 160)
    rows = []
    fit = flow_fit.reweighted_fit
    monkeypatch.setattr(flow_fit, "reweighted_fit", lambda *given: rows.append(len(given[0])) or fit(*given))
    flow_fit.fit_flow_linear(FadingSpots(24, missing=True), CONFIG, 3, 2, "both")
    assert rows == [160]


def test_lead_times_that_no_training_window_has_are_those_of_the_flow():
    kernel = fitted_linear(dataclasses.replace(CONFIG, out_frames=3), FadingSpots(), FadingSpots())["kernel"]
    assert kernel.shape == (3 * 2 + 3, 3)
    np.testing.assert_array_equal(kernel[:, 2], np.eye(9)[8])
    np.testing.assert_array_equal(kernel[8, :2], 0)
