"""The scaling of stored frames, against NumPy's division."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling


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


RAIN = np.array([0.0, 1e-3, 0.05, 0.5, 1, 10, 100], np.float32)[:, None]
TRANSFORMS = [  # with the transform, and the least value that it tells from others
    ("log", (2.5,), lambda x: np.log(x + 2.5), 0.0),
    ("sqrt", (0.0,), np.sqrt, 0.0),
    ("dbz", (0.0,), lambda x: 10 * np.log10(200 * np.maximum(x, 200 ** (-1 / 1.6)) ** 1.6), 200 ** (-1 / 1.6)),
]


@pytest.mark.parametrize(("name", "offset", "formula", "least"), TRANSFORMS)
def test_transforms_are_their_formulas_and_are_inverted(name, offset, formula, least):
    scaling = Scaling("float32", (0.0,), (100.0,), transform=name, offset=offset)
    ends = formula(np.float64(0)), formula(np.float64(100))
    expected = (formula(RAIN.astype(np.float64)) - ends[0]) / (ends[1] - ends[0])
    on_device, valid = jax.jit(scaling.to_network)(RAIN)
    assert valid is None
    for scaled, tolerance in ((on_device, 1e-6), (scaling.to_network_on_host(RAIN), 1e-6)):
        np.testing.assert_allclose(scaled, expected, atol=tolerance)
    exact, _ = scaling.to_network_float64(RAIN)
    np.testing.assert_allclose(exact, expected, atol=1e-12)
    kept = np.where(least <= RAIN, RAIN, 0)
    np.testing.assert_allclose(scaling.from_network(exact, np.float64), kept, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(scaling.output_in_units(np.asarray(on_device)), kept, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jit(scaling.output)(on_device), kept / 100, rtol=1e-5, atol=1e-7)
    assert (scaling.output_in_units(np.full((1, 1), -0.5, np.float32)) >= 0).all()  # no value below the domain


def test_marshall_and_palmer_give_23_decibels_for_1_mm_per_hour():
    scaling = Scaling("float32", (0.0,), (200 ** (-1 / 1.6) * 10**2.5,), transform="dbz")  # 0 to 40 dBZ
    scaled, _ = scaling.to_network(np.ones((1, 1), np.float32))
    assert float(scaled[0, 0]) * 40 == pytest.approx(10 * np.log10(200), abs=1e-4)


def test_values_below_the_domain_become_its_least_and_missing_ones_stay_missing():
    for name in ("log", "sqrt", "dbz"):
        scaling = Scaling("float32", (0.0,), (9.0,), missing=True, filling=(0.25,), transform=name, offset=(1.0,))
        stored = np.array([[-3.0], [np.nan], [-np.inf], [9.0]], np.float32)
        scaled, valid = scaling.to_network(stored)
        np.testing.assert_array_equal(valid[:, 0], [True, False, False, True])
        np.testing.assert_allclose(scaled[:, 0], [0, 0.25, 0.25, 1], atol=1e-6)
        assert np.isnan(scaling.to_network_on_host(stored)[1, 0])
        assert np.isnan(scaling.from_network(np.array([[np.nan]]))[0, 0])
    positive = Scaling("float32", (1.0,), (np.e**2,), transform="log")
    scaled, _ = positive.to_network(np.array([[0.0], [0.5], [np.e]], np.float32))
    np.testing.assert_allclose(scaled[:, 0], [0, 0, 0.5], atol=1e-6)


def test_the_metrics_range_is_that_of_the_data_without_a_transform():
    scaling = Scaling("float32", (0.0,), (100.0,), filling=(0.5,), transform="sqrt")
    plain = scaling.untransformed
    np.testing.assert_allclose(plain.to_network(RAIN)[0], RAIN / 100, rtol=1e-6)
    assert plain.filling == (0.25,)  # of sqrt(25) = 0.5 * sqrt(100)
    assert plain.untransformed is plain
    assert Scaling().untransformed == Scaling()


def test_outputs_are_clipped_in_both_ranges():
    scaling = Scaling("float32", (10.0,), (20.0,), clip_low=(12.0,), clip_high=(None,))
    prediction = np.array([[-5.0], [0.1], [0.5], [7.0]], np.float32)
    np.testing.assert_allclose(scaling.output(prediction)[:, 0], [0.2, 0.2, 0.5, 7], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(scaling.output)(prediction)[:, 0], [0.2, 0.2, 0.5, 7], rtol=1e-6)
    units = scaling.output_in_units(prediction)[:, 0]
    assert units.dtype == np.float32
    np.testing.assert_array_equal(units[:2], 12)  # to the last digit


def test_constants_bounds_and_transforms_belong_to_their_channels():
    scaling = Scaling(
        "float32", (0.0, 4.0), (100.0, 4.0), transform="log", offset=(2.0, 0.0), clip_low=(5.0, None), clip_high=(None, None)
    )
    prediction = np.full((2, 2), 0.0, np.float32)
    np.testing.assert_allclose(scaling.output_in_units(prediction), [[5, 4]] * 2, rtol=1e-6)
    np.testing.assert_allclose(scaling.output(prediction), [[0.05, 0]] * 2, atol=1e-7)
    np.testing.assert_allclose(scaling.output(prediction[:, :1]), [[0.05]] * 2, atol=1e-7)


def test_a_plain_scaling_has_the_json_of_0_1():
    assert list(Scaling().as_json()) == ["dtype", "low", "high", "missing", "fill", "filling"]
    changed = Scaling("float32", (0.0,), (2.0,), transform="log", offset=(0.5,), clip_low=(0.0,))
    content = json.loads(json.dumps(changed.as_json()))
    assert content["clip_low"] == [0.0]
    assert "clip_high" not in content
    assert Scaling.from_json(content) == changed


IMPOSSIBLE = [(-1.0, 5.0, "at least 0; set data.transform"), (0.0, 0.01, "larger values")]


@pytest.mark.parametrize(("low", "high", "match"), IMPOSSIBLE)
def test_transforms_of_impossible_ranges_are_refused(low, high, match):
    with pytest.raises(InputError, match=match):
        Scaling("float32", (low,), (high,), transform="dbz")
