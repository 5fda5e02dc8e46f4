"""A forecaster's remarks on suspicious frames and predictions."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import Forecaster
from tests.inference.test_forecaster import in_numpy, random_frames

pytestmark = pytest.mark.compiled_fast


def on_input(caplog):
    """The warnings, without those of the predictions of an untrained network."""
    return [message for message in caplog.messages if " predicted values " not in message]


def test_values_out_of_range_are_told_once_with_both_ranges(grey, caplog):
    forecaster = Forecaster(grey)
    for _ in range(2):
        forecaster(random_frames((3, 8, 12), -500, 400, np.int16))
        forecaster(np.random.default_rng(0).random((3, 8, 12)) > 0.5)
        forecaster(np.random.default_rng(0).random((3, 8, 12)) * 3e-5)
    far, scaled, small = on_input(caplog)
    assert far.startswith("the frames' values are -")
    assert "trained on 0 to 255: far outside" in far
    assert "if they are, pass their range: --value_range=0,1, or value_range=(0, 1) in Python" in scaled
    assert "trained on 0 to 255: they fill little of it; are the units the same?" in small


def test_a_number_that_seems_to_mean_missing_is_named_as_the_cause(grey, caplog):
    frames = random_frames((3, 8, 12), 0, 200, np.int16)
    frames[:, :2, :6] = -9999
    Forecaster(grey)(frames)
    frames[:, 2:] *= 5  # other units, too
    Forecaster(grey)(np.ma.masked_equal(frames, -9999))
    cause, units = on_input(caplog)
    advice = "pass np.ma.masked_values(frames, -9999)"
    assert cause == f"the frames: 12.5 % of the values are -9999, far from all others; if they mean missing, {advice}"
    assert "far outside" in units


def test_each_channel_is_compared_with_its_own_range_of_the_training(fields, caplog):
    model = dataclasses.replace(
        fields, description={"scaling": {"dtype": "float32", "low": [250.0, 4.0], "high": [300.0, 4.0]}}
    )
    forecaster = Forecaster(model)
    frames = np.random.default_rng(0).uniform(250, 300, (3, 8, 12, 2)).astype(np.float32)
    frames[..., 1] = 4
    forecaster(frames)
    assert not on_input(caplog)
    frames[..., 1] = 280  # inside the other's range
    forecaster(frames)
    (warning,) = on_input(caplog)
    assert "channel 2 of the frames has values 280 to 280; " in warning
    assert "trained on 4 to 4: far outside" in warning


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [-999.0, 9.969209968386869e36, 1e20, -9.99e8])
def test_the_mask_that_a_warning_names_mends_it(fields, caplog, number, dtype):
    frames = np.random.default_rng(0).uniform((1000, 5), (1100, 9), (3, 8, 12, 2)).astype(dtype)
    frames[:, :2, :6, 0] = number
    Forecaster(fields)(frames)
    (warning,) = on_input(caplog)
    assert "channel 1: 12.5 % of the values are " in warning
    masked = eval(warning.partition("pass ")[2], {"np": np, "frames": frames})
    assert masked.mask.sum() == 3 * 12
    Forecaster(fields)(masked)
    assert len(on_input(caplog)) == 1


def test_a_mask_inside_bytes_is_named_though_it_is_in_range(grey, caplog):
    frames = random_frames((3, 8, 12), 0, 180, np.uint8)
    frames[:, :2, :6] = 255
    Forecaster(grey)(frames)
    (warning,) = on_input(caplog)
    assert "255 fills the same 12 pixels in all frames" in warning
    Forecaster(grey)(eval(warning.partition("pass ")[2], {"np": np, "frames": frames}))
    assert len(on_input(caplog)) == 1


def test_predictions_far_outside_the_trained_range_are_warned_of_once(grey, caplog):
    scaling = grey.description["scaling"] | {"dtype": "float32", "low": [100.0], "high": [101.0]}
    forecaster = Forecaster(dataclasses.replace(grey, description={"scaling": scaling}))
    frames = (100 + np.random.default_rng(0).random((3, 8, 12))).astype(np.float32)
    unit = in_numpy(grey, (frames[None, ..., None] - 100))
    far = np.count_nonzero((unit < -0.5) | (unit > 1.5))
    assert far
    forecaster(frames)
    forecaster(frames)
    (message,) = [record.message for record in caplog.records if "predicted values" in record.message]
    assert message.startswith(f"{far:,} of {unit.size:,} predicted values")
