"""A forecaster knows the number that marks missing values in the integers of its training data, also if these become floats."""

import dataclasses

import h5py
import numpy as np
import pytest

from stlight_jax import Forecaster
from stlight_jax.data.load import check_config, open_training
from tests.data.window_arrays import load
from tests.periodic import CONFIG, copying

pytestmark = pytest.mark.compiled_fast
SHAPE = (60, 8, 6)


def integers(dtype, mark):
    values = np.random.default_rng(0).integers(0, 100, SHAPE)
    values[np.random.default_rng(1).random(SHAPE) < 0.2] = mark
    return values.astype(dtype)


def as_npz(folder, values, **_):
    np.savez(folder / "a.npz", data=values)
    return folder / "a.npz"


def as_hdf5(folder, values, mark, **attributes):
    with h5py.File(folder / "a.h5", "w") as file:
        file["data"] = values
        file["data"].attrs.update({"_FillValue": values.dtype.type(mark), **attributes})
    return folder / "a.h5"


@pytest.mark.parametrize(
    ("write", "dtype", "keys", "stored"),
    [
        (as_npz, np.int16, {"fill_value": -1}, "int16"),
        (as_npz, np.int32, {"fill_value": -1}, "float32"),
        (as_npz, np.int64, {"fill_value": -1}, "float32"),
        (as_hdf5, np.int16, {}, "float32"),
        (as_hdf5, np.int32, {}, "float32"),
        (as_npz, np.int16, {"fill_value": -1, "clock": "day"}, "float32"),
        (as_hdf5, np.int32, {"periods": "mean:4"}, "float32"),
    ],
)
def test_integers_of_the_fill_value_are_missing(tmp_path, write, dtype, keys, stored):
    values = integers(dtype, -1)
    path = write(tmp_path, values, mark=-1)
    if "clock" in keys:
        np.savez(path, data=values, time=np.datetime64("2020-01-01T00") + np.arange(60))
    config = load("frames", path, prepared=str(tmp_path / "kept"), split="time", **keys)
    config.model.update(shortcut="none", patch_size=2)
    training, _ = open_training(check_config(config))
    assert training.scaling.dtype == stored
    scaling = training.scaling.for_channels(1)
    network = copying(dataclasses.replace(CONFIG, periods=(), mean_periods=()))
    model = dataclasses.replace(network, description={"scaling": scaling.as_json(), "frame_size": [8, 6]})
    forecaster = Forecaster(model)
    assert model.data_scaling.fill == -1
    expected = forecaster(np.where(values == -1, np.nan, values).astype(np.float32))
    found = forecaster(values)
    assert found.dtype == dtype
    assert (found == -1).any() == np.isnan(expected).any()
    np.testing.assert_array_equal(np.where(found == -1, np.nan, found), np.rint(expected))


def test_scaled_integers_have_no_fill_value_in_the_units_of_their_values(tmp_path):
    path = as_hdf5(tmp_path, integers(np.int16, -1), -1, scale_factor=0.5)
    config = load("frames", path, prepared=str(tmp_path / "kept"), split="time")
    training, _ = open_training(check_config(config))
    assert (training.scaling.fill, training.scaling.data_fill) == (None, None)
