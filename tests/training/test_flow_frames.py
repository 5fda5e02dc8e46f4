"""The fit of the shortcut `flow_linear`: its inputs, and that it finds what no map of the frames, and no flow, can know."""

import dataclasses

import numpy as np
import pytest

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.model.ops import optical_flow
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.training.flow_frames import WithFlow
from stlight_jax.training.shortcut_choice import fitted_linear

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


@pytest.mark.parametrize("missing", [False, True])
def test_forecasts_of_the_flow_stand_between_inputs_and_targets(missing):
    spots = FadingSpots(missing=missing)
    indices = np.array([3, 0, 7])
    stored = spots.frames(indices)
    frames = WithFlow(spots, CONFIG, 3, 2).frames(indices)
    assert frames.shape == (3, 7, 24, 24, 2)
    np.testing.assert_allclose(frames[:, :3], stored[:, :3] / 10, atol=1e-6)
    np.testing.assert_allclose(frames[:, 5:], stored[:, 3:] / 10, atol=1e-6)
    inputs, valid = stored[:, :3, ..., :1] / 10, ~np.isnan(stored[:, :3, ..., :1])
    inputs = np.where(valid, inputs, np.float32(0.25))
    motion = optical_flow.motion(inputs, valid if missing else None)
    carried, _ = optical_flow.extrapolate(inputs[:, -1], motion, 2, valid.any(1) if missing else None)
    np.testing.assert_allclose(frames[:, 3:5, ..., :1], carried, atol=1e-5)
    assert not frames[:, 3:5, ..., 1:].any()


def test_the_fit_fades_the_flow_of_spots_that_fade():
    linear = fitted_linear(CONFIG, FadingSpots(24), FadingSpots(6))
    kernel = linear["kernel"]
    assert kernel.shape == (3 * 2 + 2, 2)
    np.testing.assert_allclose(kernel[[1, 3, 5]], 0, atol=0.01)  # noise

    def error(of):
        frames = WithFlow(FadingSpots(40), CONFIG, 3, 2).frames(np.arange(30, 40))  # other spots
        inputs = np.concatenate([frames[:, :3].transpose(0, 2, 3, 1, 4).reshape(10, 24, 24, 6), frames[:, 3, ..., :1],
                                 frames[:, 4, ..., :1]], -1)  # fmt: skip
        forecast = inputs @ of["kernel"] + of["bias"]
        return np.square(forecast - frames[:, 5:, ..., 0].transpose(0, 2, 3, 1)).mean()

    flow_alone = {"kernel": np.eye(8, 2, -6), "bias": 0}
    plain = fitted_linear(dataclasses.replace(CONFIG, shortcut="linear"), FadingSpots(24), FadingSpots(6))
    plain["kernel"] = np.concatenate([plain["kernel"], np.zeros((2, 2))])
    assert error(linear) < 0.5 * min(error(flow_alone), error(plain))


def test_lead_times_that_no_training_window_has_are_those_of_the_flow():
    kernel = fitted_linear(dataclasses.replace(CONFIG, out_frames=3), FadingSpots(), FadingSpots())["kernel"]
    assert kernel.shape == (3 * 2 + 3, 3)
    np.testing.assert_array_equal(kernel[:, 2], np.eye(9)[8])
    np.testing.assert_array_equal(kernel[8, :2], 0)
