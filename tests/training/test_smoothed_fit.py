"""The fit of a linear map with smoothed copies of its inputs, on frames whose future is a smoothed copy of the last one."""

import dataclasses

import numpy as np
import pytest

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.evaluation.ridge import fit_linear
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.training.shortcut_choice import ShortcutAlone
from stlight_jax.training.shortcut_fit import fitted_linear
from tests.model.ops.test_smoothing import by_scipy

pytestmark = pytest.mark.compiled_fast
CONFIG = STLightConfig(
    in_frames=2, out_frames=2, in_channels=2, out_channels=1, hidden_dim=16, depth=2, patch_size=2, shortcut_scales=2
)


class Blurring(Sequences):
    """Noise of two channels; the next two frames of the first one are the copies of its last frame at two scales."""

    def __init__(self, missing=False, count=6, before=0):
        self.shape, self._missing, self._count, self._before = (before + 4, 16, 12, 2), missing, count, before
        self.scaling = Scaling(dtype="float32", low=(0.0,), high=(10.0,), missing=missing, filling=(0.25,))
        self.description = {"name": "blurring", "published": False, "sequences": count}

    def __len__(self):
        return self._count

    def frames(self, indices, epoch=0):
        del epoch
        found = []
        for index in indices:
            frames = np.random.default_rng(index).random(self.shape)
            seen, known = frames[None, : self._before + 2], np.ones((1, 1, 16, 12, 1))
            if self._missing:
                known[:, :, :4, :3] = 0  # outside the range of an instrument
            totals, weights = by_scipy(seen[:, -1:] * known, 2), by_scipy(known, 2)
            for lead, (total, weight) in enumerate(zip(totals, weights, strict=True)):
                frames[self._before + 2 + lead] = (total / np.maximum(weight, 1e-6))[0, 0]
            frames[:, known[0, 0, ..., 0] == 0] = np.nan
            found.append(10 * frames)
        return np.array(found, np.float32)


def forecast_error(config, missing, before=0):
    """The RMSE of a fitted shortcut, without a network, on sequences that the fit has not seen."""
    linear = fitted_linear(config, Blurring(missing, 12, before), Blurring(missing, 3, before))
    frames = Blurring(missing, before=before).frames(np.arange(20, 24)) / 10
    valid, first = ~np.isnan(frames), before + 2
    seen = np.where(valid, frames, np.float32(0.25))[:, :first]
    shortcut = ShortcutAlone(config)
    forecast = shortcut.apply({"params": {"shortcut": {"linear": linear}}}, seen, valid=valid[:, :first] if missing else None)
    return np.sqrt(np.nanmean(np.square(forecast - frames[:, first:, ..., :1])))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("shortcut", ["linear", "flow_linear"])
def test_the_map_finds_the_copies_of_the_last_frame(shortcut, missing):
    config = dataclasses.replace(CONFIG, shortcut=shortcut)
    without = forecast_error(dataclasses.replace(config, shortcut_scales=0), missing)
    assert without > 0.03
    assert forecast_error(config, missing) < without / 20  # the ridge of "flow_linear" is a thousandth of the mean variance


def test_the_frames_of_earlier_periods_have_no_copies():
    config = dataclasses.replace(CONFIG, shortcut="linear", periods=(4,))
    assert config.shortcut_inputs == (3 + 2) * 2 + 2 * (2 * 2)
    assert forecast_error(config, missing=False, before=3) < 1e-3


def test_a_covariate_has_no_copies():
    config = dataclasses.replace(CONFIG, shortcut="linear", covariates=1)
    assert config.shortcut_inputs == 2 * 2 + 2 * (2 * 1)
    assert forecast_error(config, missing=False) < 1e-3


def test_lead_times_that_no_training_window_has_copy_the_last_frame_or_the_flow():
    for shortcut, copied in (("linear", 2), ("flow_linear", 2 * 2 + 2)):
        config = dataclasses.replace(CONFIG, shortcut=shortcut, out_frames=3)
        kernel = fitted_linear(config, Blurring(), Blurring())["kernel"]
        assert kernel.shape == (config.shortcut_inputs, 3)
        np.testing.assert_array_equal(np.flatnonzero(kernel[:, 2]), copied)
        assert (kernel[: 2 * 2, :2] != 0).all()


def test_the_baseline_has_no_copies():
    assert fit_linear(Blurring(), Blurring(), 2, 2, 1).kernel.shape == (2 * 2, 2)
