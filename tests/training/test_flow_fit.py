"""The fit of the shortcut `flow_linear`: its inputs, and that it finds what no map of the frames, and no flow, can know."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.training import flow_fit
from stlight_jax.training.shortcut_choice import ShortcutAlone, fitted_linear

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


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("loss", ["squared", "both"])
def test_the_fit_fades_the_flow_of_spots_that_fade(loss, missing):
    found = forecast_error("flow_linear", loss, missing)
    assert found < 0.5 * min(forecast_error(kind, missing=missing) for kind in ("flow", "linear"))


def test_a_channel_that_knows_nothing_has_no_weight():
    kernel = fitted_linear(CONFIG, FadingSpots(24), FadingSpots(6))["kernel"]
    assert kernel.shape == (3 * 2 + 2, 2)
    np.testing.assert_allclose(kernel[[1, 3, 5]], 0, atol=0.01)


def test_absolute_errors_are_fitted_as_by_a_linear_program():
    """Outliers on one side draw the squared error's fit away, not that of the absolute error."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(400, 2))
    change = inputs @ [0.5, -2.0] + 0.1 + 0.01 * random.normal(size=400) + 5 * (random.random(400) < 0.2)
    columns = np.concatenate([inputs, np.ones((400, 1))], 1)
    # Least absolute deviations: minimise the sum of p + n with columns @ x + p - n = change.
    program = scipy.optimize.linprog(
        [0, 0, 0] + [1] * 800,
        A_eq=np.concatenate([columns, np.eye(400), -np.eye(400)], 1),
        b_eq=change,
        bounds=[(None, None)] * 3 + [(0, None)] * 800,
    )
    for loss, tolerance in (("absolute", 0.02), ("squared", 1.5)):
        weights, bias = flow_fit._fit(inputs, change, loss)
        np.testing.assert_allclose([*weights, bias], program.x[:3], atol=tolerance)
    assert bias > 0.8  # that of the squared error; a fifth of the outliers is 1


def test_lead_times_that_no_training_window_has_are_those_of_the_flow():
    kernel = fitted_linear(dataclasses.replace(CONFIG, out_frames=3), FadingSpots(), FadingSpots())["kernel"]
    assert kernel.shape == (3 * 2 + 3, 3)
    np.testing.assert_array_equal(kernel[:, 2], np.eye(9)[8])
    np.testing.assert_array_equal(kernel[8, :2], 0)
