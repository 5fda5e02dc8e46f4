"""Forecasts with the time of day and a static field: a network that copies its covariates shows what it was given."""

import dataclasses

import cftime
import jax
import numpy as np
import pytest

from stlight_jax import Forecaster, InputError, STLight, STLightConfig
from stlight_jax.data.covariates import Covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.forecasting.predict import Request, predict
from stlight_jax.inference import trained
from stlight_jax.inference.trained_model import TrainedModel
from stlight_jax.model.stlight import init_variables
from tests.data.formats.test_joined_files import write_netcdf

CONFIG = STLightConfig(
    in_frames=1, out_frames=2, in_channels=4, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3,
    shortcut="linear", covariates=3,
)  # fmt: skip
FIELD = np.linspace(0, 1, 48, dtype=np.float32).reshape(8, 6, 1)
SCALING = Scaling("float32", (0.0,), (10.0,), filling=(0.5,) * 4, covariates=3)
TIMES = np.datetime64("2024-05-13T03") + np.arange(6)


def network():
    """Predicts x + (1 + cosine of the day) / 2, then the static field, both times 10 in the data's units."""
    shapes = jax.eval_shape(lambda: init_variables(STLight(CONFIG), 0, (2, 2, 4)))
    generator = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: generator.uniform(0.1, 0.5, x.shape).astype(np.float32), shapes)
    for leaf in variables["params"]["patch_reassembly"]["conv"].values():
        leaf[...] = 0
    linear = variables["params"]["shortcut"]["linear"]
    linear["kernel"][...] = [[1, 0], [0, 0], [1, 0], [0, 1]]  # inputs: data, sine, cosine, field
    linear["bias"][...] = 0
    description = {"scaling": SCALING.as_json(), "covariates": Covariates(("day",), FIELD).as_json()}
    return TrainedModel(CONFIG, variables, description, "the adding network")


@pytest.fixture(scope="module")
def forecaster():
    return Forecaster(network())


def expected(hour):
    return 5 * (1 + np.cos(2 * np.pi * hour / 24))


def test_a_forecast_sees_the_time_and_the_field(forecaster):
    assert forecaster.channels == 1
    frames = np.full((1, 8, 6), 2.0, np.float32)
    found = forecaster(frames, times=TIMES[:1])
    np.testing.assert_allclose(found[0], np.full((8, 6), 2 + expected(3)), rtol=1e-5)
    np.testing.assert_allclose(found[1], 10 * FIELD[..., 0], atol=1e-4)


def test_a_rollout_sees_the_times_of_the_predicted_frames(forecaster):
    found = forecaster(np.zeros((2, 8, 6), np.float32), 3, times=TIMES[:2])  # 3 and 4 o'clock, then 5, 6 and 7
    np.testing.assert_allclose(found[2], 10 * FIELD[..., 0] + expected(6), atol=1e-4)
    given = forecaster(np.zeros((1, 8, 6), np.float32), 3, times=TIMES[1:5])
    np.testing.assert_allclose(given[2], found[2], atol=1e-5)


def test_each_sequence_has_its_own_times(forecaster):
    found = forecaster(np.zeros((2, 1, 8, 6, 1), np.float32), times=TIMES[[0, 5], None])
    np.testing.assert_allclose(found[:, 0, 0, 0, 0], expected(np.array([3, 8])), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((1, 8, 6), {}, "times are None, .*data.clock=day.*give times="),
        ((1, 8, 6), {"times": TIMES[:2]}, r"times have shape \[2\]; expected \[1\]"),
        ((1, 8, 6), {"times": ["noon"]}, "times are no dates"),
        ((1, 8, 6), {"times": [3]}, "times are int64; expected datetime64 or text"),
        ((1, 8, 6), {"times": [3.5]}, "times are float64; expected datetime64 or text"),
        ((1, 8, 6), {"times": [cftime.DatetimeNoLeap(2001, 2, 28)]}, "times are DatetimeNoLeap; .* in the standard calendar"),
        ((1, 8, 6), {"times": TIMES[:1], "horizon": 3}, "times do not show the step"),
        ((1, 8, 8), {"times": TIMES[:1]}, "frames are 8 x 8; the network sees a static field of 8 x 6"),
        ((1, 8, 6, 4), {"times": TIMES[:1]}, "4 channel.* makes sine of the day, cosine of the day, static field 1 itself.* 1"),
    ],
)
def test_other_times_and_channels_are_refused(forecaster, shape, settings, message):
    with pytest.raises(InputError, match=message):
        forecaster(np.zeros(shape, np.float32), **settings)


def test_a_file_has_the_field(tmp_path, forecaster):
    trained.write(tmp_path / "a.stlight", network())
    again = Forecaster.load(tmp_path / "a.stlight")
    frames = np.ones((1, 8, 6), np.float32)
    np.testing.assert_array_equal(again(frames, times=TIMES[:1]), forecaster(frames, times=TIMES[:1]))


def test_the_fill_value_of_integers_is_missing():
    model = network()
    content = {**model.description["covariates"], "fill": -1.0}
    scaling = dataclasses.replace(SCALING, missing=True)
    description = {"scaling": scaling.as_json(), "covariates": content}
    forecaster = Forecaster(dataclasses.replace(model, description=description))
    frames = np.full((1, 8, 6), 2, np.int16)
    frames[0, 0, 0] = -1
    found = forecaster(frames, times=TIMES[:1])
    assert found[0, 0, 0] == -1
    assert found[0, 1, 1] == round(2 + expected(3))


def test_predict_makes_the_channels_from_the_times_of_a_file(tmp_path, forecaster):
    np.savez(tmp_path / "a.npz", data=np.zeros((4, 8, 6), np.float32), time=TIMES[:4])
    predict(Request(str(tmp_path / "a.npz"), out=str(tmp_path / "b.npz"), report="none", horizon=3), forecaster)
    found = np.load(tmp_path / "b.npz")["data"]
    np.testing.assert_allclose(found[0], np.full((8, 6), expected(6)), rtol=1e-5)  # from 6 o'clock
    np.testing.assert_allclose(found[2], 10 * FIELD[..., 0] + expected(8), atol=1e-4)
    rolling = Request(str(tmp_path / "a.npz"), out=str(tmp_path / "c.npz"), report="none", rolling=True, every=2)
    predict(rolling, forecaster)
    np.testing.assert_allclose(np.load(tmp_path / "c.npz")["data"][[0, 2], 0, 0], expected(np.array([3, 5])), rtol=1e-5)
    np.save(tmp_path / "d.npy", np.zeros((4, 8, 6), np.float32))
    with pytest.raises(InputError, match="has no dates, and the model sees the time"):
        predict(Request(str(tmp_path / "d.npy"), out=str(tmp_path / "e.npy"), report="none"), forecaster)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_predict_refuses_the_times_of_another_calendar_by_its_name(tmp_path, forecaster, calendar):
    write_netcdf(tmp_path / "a.nc", 6 * np.arange(4), "hours since 2001-02-27", calendar, np.zeros((4, 6, 5)))
    with pytest.raises(InputError, match=f"a.nc.* has dates of the calendar {calendar}, and the model sees the time"):
        predict(Request(str(tmp_path / "a.nc"), out=str(tmp_path / "b.nc"), report="none"), forecaster)
