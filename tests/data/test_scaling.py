"""The scaling of stored frames, against NumPy's division."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling, to_unit_range


def test_every_value_is_the_correctly_rounded_quotient():
    values = np.arange(256, dtype=np.uint8)
    expected = values.astype(np.float32) / np.float32(255)
    for scale in (to_unit_range, jax.jit(to_unit_range)):
        np.testing.assert_array_equal(scale(values), expected)


def test_bytes_are_scaled_by_255_unless_told_otherwise():
    values = np.arange(256, dtype=np.uint8)[:, None]
    scaled, here = Scaling().to_network(values)
    assert here is None
    np.testing.assert_array_equal(scaled, values.astype(np.float32) / np.float32(255))


def frames(dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (250 + 40 * rng.random((5, 4, 3, 2))).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (5, 4, 3, 2), endpoint=True).astype(dtype)


RANGES = [
    ("uint16", (0.0,), (65535.0,)),
    ("uint16", (100.0, 0.0), (4000.0, 65535.0)),
    ("int16", (-32768.0,), (32767.0,)),
    ("uint8", (0.0,), (1.0,)),
    ("float32", (250.0,), (290.0,)),
    ("float32", (250.5, 249.0), (289.25, 300.0)),
    ("float32", (1e-3,), (1e3,)),
]


@pytest.mark.parametrize(("dtype", "low", "high"), RANGES)
@pytest.mark.parametrize("compiled", [False, True])
def test_ranges_are_numpys_arithmetic(dtype, low, high, compiled):
    scaling = Scaling(dtype, low, high)
    stored = frames(dtype)
    exact = (stored.astype(np.float64) - low) / (np.asarray(high) - low)
    scaled, here = (jax.jit(scaling.to_network) if compiled else scaling.to_network)(stored)
    assert here is None
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, exact, rtol=1e-6, atol=2e-7)
    on_host, here = scaling.to_network_float64(stored)
    assert here is None
    assert on_host.dtype == np.float64
    np.testing.assert_array_equal(on_host, exact)
    restored = scaling.from_network(np.asarray(scaled))
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, stored.astype(np.float64), rtol=1e-6, atol=2e-7 * (max(high) - min(low)))


def test_the_ends_of_the_range_are_0_and_1():
    for dtype, low, high in RANGES:
        ends = np.array([low, high]).astype(dtype)
        scaled, _ = Scaling(dtype, low, high).to_network(ends)
        np.testing.assert_array_equal(scaled, np.broadcast_to([[0.0], [1.0]], ends.shape))


@pytest.mark.parametrize(("dtype", "fill"), [("float32", None), ("uint16", 65535.0), ("uint8", 0.0), ("int16", -999.0)])
def test_what_is_missing_is_marked_and_filled(dtype, fill):
    stored = frames(dtype, 1)
    gone = np.random.default_rng(2).random(stored.shape) < 0.3
    if fill is None:
        stored[gone] = np.nan
    else:
        stored[stored == fill] = 7
        stored[gone] = fill
    scaling = Scaling(dtype, (1.0,), (300.0,), missing=True, fill=fill, filling=(0.25, 0.75))
    for to_network in (scaling.to_network, jax.jit(scaling.to_network)):
        scaled, here = to_network(stored)
        np.testing.assert_array_equal(here, ~gone)
        expected = np.where(gone, [0.25, 0.75], (stored.astype(np.float64) - 1) / 299)
        np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=2e-7)
    on_host, present = scaling.to_network_float64(stored)
    np.testing.assert_array_equal(present, here)
    np.testing.assert_allclose(on_host[present], np.asarray(scaled)[present], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize(
    "scaling",
    [
        Scaling(),
        Scaling("uint16", (1.0, 2.0), (3.5, 4.0)),
        Scaling("float32", (0.1,), (0.3,), missing=True, filling=(0.2, 0.9)),
        Scaling("int16", (-5.0,), (5.0,), missing=True, fill=-999.0, filling=(0.5,)),
    ],
)
def test_json_brings_it_back(scaling):
    assert Scaling.from_json(json.loads(json.dumps(scaling.as_json()))) == scaling
    hash(Scaling.from_json(scaling.as_json()))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ((3.0,), (3.0,)),
        ((0.0, 1.0), (0.0, 1.0)),
        ((0.0, 1.0), (1.0, 0.5)),
        ((2.0,), (1.0,)),
        ((0.0,), (np.inf,)),
        ((np.nan,), (1.0,)),
    ],
)
def test_constant_data_are_refused(low, high):
    with pytest.raises(InputError, match="a network cannot learn from constant data; .* data.value_low and data.value_high"):
        Scaling("float32", low, high)


def test_the_common_span_is_told_only_if_there_is_one():
    assert Scaling().common_span == 255
    assert Scaling("float32", (0.0, 10.0), (4.0, 14.0)).common_span == 4
    assert Scaling("float32", (0.0, 10.0), (4.0, 15.0)).common_span is None


def test_a_channel_that_was_constant_stays_so():
    scaling = Scaling("float32", (1.0, 4.0), (9.0, 4.0), missing=True, filling=(0.5, 0.0))
    frames = np.array([[[1.0, 4.0], [9.0, 5.5], [np.nan, np.nan]]], np.float32)
    expected = [[[0.0, 0.0], [1.0, 1.5], [0.5, 0.0]]]  # differences from the constant keep their size
    scaled, valid = scaling.to_network(frames)
    np.testing.assert_array_equal(scaled, expected)
    np.testing.assert_array_equal(valid, ~np.isnan(frames))
    np.testing.assert_array_equal(scaling.to_network_on_host(frames)[:, :2], np.array(expected)[:, :2])
    np.testing.assert_array_equal(scaling.to_network_float64(frames)[0][:, :2], np.array(expected)[:, :2])
    prediction = np.array([[[0.25, 0.125], [2.0, -3.0]]], np.float32)
    np.testing.assert_array_equal(scaling.from_network(prediction), [[[3.0, 4.0], [17.0, 4.0]]])
    np.testing.assert_array_equal(scaling.with_constants(prediction), [[[0.25, 0.0], [2.0, 0.0]]])
    np.testing.assert_array_equal(scaling.with_constants(jnp.asarray(prediction)), [[[0.25, 0.0], [2.0, 0.0]]])
    np.testing.assert_array_equal(scaling.with_constants(prediction[..., :1]), prediction[..., :1])
    assert Scaling().with_constants(prediction) is prediction
    assert Scaling.from_json(scaling.as_json()) == scaling
    assert scaling.common_span is None
