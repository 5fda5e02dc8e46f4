"""Range, mean and spread against NumPy, however the frames come."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlight_jax.data.statistics import ChannelStatistics, is_missing


def measured(frames, cuts=(), fill=None):
    statistics = ChannelStatistics(frames.shape[-1], fill)
    for block in np.split(frames, sorted(cuts)):
        statistics.add(block)
    return statistics.as_json()


def by_numpy(frames, fill=None):
    values = frames.reshape(-1, frames.shape[-1]).astype(np.float64)
    if fill is not None:
        values[frames.reshape(values.shape) == fill] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of channels that hold nothing else
        functions = {"min": np.nanmin, "max": np.nanmax, "mean": np.nanmean, "std": np.nanstd}
        found = {name: function(values, axis=0) for name, function in functions.items()}
    return {**found, "missing": np.isnan(values).mean(axis=0)}


def compare(found, expected, rtol=1e-12):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        for here, there in zip(found[name], values, strict=True):
            if np.isnan(there):
                assert here is None
            else:
                assert type(here) is float
                np.testing.assert_allclose(here, there, rtol=rtol, atol=1e-12, err_msg=name)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    frames=st.integers(1, 12),
    channels=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 12), max_size=5),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    holes=st.sampled_from([0.0, 0.3, 1.0]),
    fill=st.sampled_from([0, 3, None]),
)
def test_any_blocking_gives_numpys_figures(seed, frames, channels, cuts, dtype, holes, fill):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 9, (frames, 3, 2, channels)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[rng.random(values.shape) < holes] = np.nan
        fill = None
    elif fill is not None:
        values[rng.random(values.shape) < holes] = fill
    compare(measured(values, cuts, fill), by_numpy(values, fill))


def test_large_means_cost_no_digits():
    values = 1e6 + 1e-2 * np.random.default_rng(1).standard_normal((64, 8, 8, 2))
    found, expected = measured(values, range(0, 64, 5)), by_numpy(values)
    # The values themselves are known to 1e6 * 2**-53, 1e-8 of the spread.
    compare(found, expected, rtol=1e-7)
    # The textbook's difference of mean squares has lost the spread.
    naive = np.sqrt(abs(np.square(values).mean() - values.mean() ** 2))
    assert abs(naive - 1e-2) > 100 * abs(found["std"][0] - expected["std"][0])


def test_a_channel_without_values_has_no_figures():
    values = np.random.default_rng(0).random((5, 4, 4, 3)).astype(np.float32)
    values[..., 1] = np.nan
    values[:3, ..., 2] = np.nan  # a whole block
    found = measured(values, [3])
    compare(found, by_numpy(values))
    assert found["mean"][1] is None
    assert found["missing"] == [0.0, 1.0, 0.6]


def test_nothing_was_added():
    assert ChannelStatistics(1).as_json() == {"min": [None], "max": [None], "mean": [None], "std": [None], "missing": [0.0]}


@pytest.mark.parametrize(("dtype", "fill"), [("uint8", 255.0), ("uint16", 65535.0), ("int16", -999.0)])
def test_integers_of_the_fill_value_are_missing(dtype, fill):
    values = np.arange(24).astype(dtype).reshape(2, 3, 4, 1)
    values[0, 1] = fill
    np.testing.assert_array_equal(is_missing(values, fill), values == int(fill))
    assert is_missing(values, None) is None
    found = measured(values, [1], fill)
    compare(found, by_numpy(values, int(fill)))
    assert found["missing"] == [4 / 24]


def test_blocks_stay_as_they_are():
    values = np.array([[[[1.0], [np.nan]]]], np.float32)
    before = values.copy()
    measured(values)
    np.testing.assert_array_equal(values, before)
