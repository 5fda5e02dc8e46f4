"""Frames in anybody's units, sizes and numbers."""

import dataclasses

import jax
import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference.forecaster import ROLLOUTS
from tests.model import reference
from tests.networks import trained_variables

pytestmark = pytest.mark.compiled_fast


def random_frames(shape, low=0, high=256, dtype=np.uint8, seed=1):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def in_numpy(model, frames):
    """The prediction in NumPy, in the network's range."""
    return reference.stlight(model.config, model.variables["params"], model.variables["batch_stats"], frames)


def test_equals_numpy_in_the_units_of_the_data(fields):
    """Two channels of kelvins and metres, say, and one back, as whole numbers and as floats."""
    frames = random_frames((2, 3, 8, 12, 2), dtype=np.uint16, low=[100, 5], high=[1100, 9])
    expected = 100 + 1000 * in_numpy(fields, (frames - np.array([100.0, 5])) / np.array([1000.0, 4]))
    forecaster = Forecaster(fields)
    np.testing.assert_allclose(forecaster(frames, dtype=np.float64), expected, rtol=1e-4)
    assert np.abs(forecaster(frames).astype(float) - np.clip(expected, 0, 65535)).max() < 0.6
    assert forecaster(frames).dtype == np.uint16
    for dtype in (np.float16, np.float32, np.float64, np.int64):
        assert forecaster(frames.astype(dtype)).dtype == dtype
    np.testing.assert_allclose(forecaster(frames.astype(np.float64)), expected, rtol=1e-4)


def test_the_axes_come_back_as_they_went(grey, fields):
    forecaster = Forecaster(grey)
    frames = random_frames((2, 3, 8, 12, 1))
    batch = forecaster(frames)
    assert batch.shape == (2, 2, 8, 12, 1)
    np.testing.assert_array_equal(forecaster(frames[1]), batch[1])
    np.testing.assert_array_equal(forecaster(frames[1, ..., 0]), batch[1, ..., 0])
    assert Forecaster(fields)(random_frames((3, 8, 12, 2), 100, 200, np.uint16)).shape == (4, 8, 12, 1)


def test_the_last_frames_are_used_and_that_is_said_once(grey, capsys):
    forecaster = Forecaster(grey)
    frames = random_frames((7, 8, 12))
    np.testing.assert_array_equal(forecaster(frames), forecaster(frames[-3:]))
    forecaster(frames)
    assert capsys.readouterr().err.count("7 frames are given; the last 3 are used") == 1


@pytest.mark.parametrize(("height", "width"), [(7, 12), (9, 11), (1, 1)])
def test_any_size_is_padded_and_cropped(grey, height, width):
    frames = random_frames((1, 3, height, width, 1))
    padded = np.pad(frames, ((0, 0), (0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    expected = 255 * in_numpy(grey, padded / 255)[:, :, :height, :width]
    np.testing.assert_allclose(Forecaster(grey)(frames, dtype="float32"), expected, rtol=1e-4, atol=1e-2)


def test_what_is_missing_is_filled_as_in_training_and_missing_again(fields):
    frames = random_frames((2, 3, 8, 12, 2), dtype=np.uint16, low=[100, 5], high=[1100, 9])
    lost = np.zeros(frames.shape, bool)
    lost[:, :, 2:4, 5:7] = True  # in all frames
    lost[0, 1, 6, 6] = True  # in one of them
    unit = np.where(lost, [0.5, 0.25], (frames - np.array([100.0, 5])) / np.array([1000.0, 4]))
    expected = 100 + 1000 * in_numpy(fields, unit)
    expected[:, :, 2:4, 5:7] = np.nan
    forecaster = Forecaster(fields)
    by_nan = forecaster(np.where(lost, np.nan, frames))
    np.testing.assert_allclose(by_nan, expected, rtol=1e-4, atol=1e-2)
    by_infinity = forecaster(np.where(lost, np.inf, frames))
    np.testing.assert_array_equal(by_infinity, by_nan)
    as_number = forecaster(np.where(lost, 65535, frames).astype(np.float32))  # a number like others, in floats
    assert np.isfinite(as_number).all()
    by_fill = forecaster(np.where(lost, 65535, frames).astype(np.uint16))
    assert by_fill.dtype == np.uint16
    assert not isinstance(by_fill, np.ma.MaskedArray)
    np.testing.assert_array_equal(by_fill == 65535, np.isnan(expected))
    masked = forecaster(np.ma.MaskedArray(frames, lost))
    np.testing.assert_array_equal(masked.mask, np.isnan(expected))
    np.testing.assert_array_equal(masked.compressed(), by_fill[~np.isnan(expected)])


def test_no_value_that_is_there_becomes_the_fill_value(grey):
    """A network that predicts values below 0 for frames in which 0 means missing, as it does at one dead pixel."""
    scaling = dataclasses.asdict(grey.scaling) | {"fill": 0.0, "missing": True}
    forecaster = Forecaster(dataclasses.replace(grey, description={"scaling": scaling}))
    frames = random_frames((3, 8, 12), 1, 255)
    frames[:, 4, 5] = 0
    exact = forecaster(frames, dtype="float32")
    assert np.isnan(exact[:, 4, 5]).all()
    assert (exact < 0).any()  # which would be cut off at the fill value
    prediction = forecaster(frames)
    np.testing.assert_array_equal(np.argwhere(prediction[0] == 0), [[4, 5]])
    assert (prediction == 0).sum() == len(prediction)


def test_integers_without_a_fill_value_come_back_masked(grey):
    frames = np.ma.MaskedArray(random_frames((3, 8, 12)), False)
    frames[:, 0, 0] = np.ma.masked
    prediction = Forecaster(grey)(frames)
    assert prediction.mask[:, 0, 0].all()
    assert prediction.mask.sum() == 2


@pytest.mark.parametrize("rollout", ROLLOUTS)
def test_long_horizons_feed_predictions_back(grey, rollout):
    """Pixels that nobody ever saw are filled again each time."""
    frames = random_frames((1, 3, 8, 12, 1)).astype(np.float32)
    frames[:, :, 0, 0] = np.nan
    seen, blocks = np.where(np.isnan(frames), 0.25, frames / 255), []
    for _ in range(7):
        block = in_numpy(grey, seen)[:, : 2 if rollout == "blocks" else 1]
        blocks.append(block.copy())
        block[:, :, 0, 0] = 0.25
        seen = np.concatenate([seen, block], axis=1)[:, -3:]
    expected = 255 * np.concatenate(blocks, axis=1)[:, :7]
    expected[:, :, 0, 0] = np.nan
    told = []
    prediction = Forecaster(grey, rollout=rollout)(frames, horizon=7, ready=told.append)
    assert told == ([2, 4, 6, 7] if rollout == "blocks" else list(range(1, 8)))
    assert prediction.shape == (1, 7, 8, 12, 1)
    np.testing.assert_allclose(prediction, expected, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize(("value", "frame"), [(np.nan, 1), (np.inf, 4)])
def test_predictions_that_are_not_finite_are_told(grey, monkeypatch, value, frame):
    """Training that went astray leaves such weights; and predictions may grow without end when they are fed back."""
    forecaster, passes = Forecaster(grey), []

    def astray(frames):
        passes.append(frames)
        block = np.ones((1, 2, 8, 12, 1), np.float32)
        block[0, (frame - 1) % 2, 3, 4] = value if len(passes) == (frame + 1) // 2 else 0
        return block

    monkeypatch.setattr(forecaster, "_pass", astray)
    message = f"values that are not finite, first in frame {frame}; choose another checkpoint"
    with pytest.raises(InputError, match=message) as told:
        forecaster(random_frames((3, 8, 12)), horizon=7)
    assert str(told.value).endswith("a horizon below 4") == (frame == 4)


def test_a_short_horizon_is_cut_from_one_pass(grey):
    frames = random_frames((3, 8, 12))
    np.testing.assert_array_equal(Forecaster(grey)(frames, horizon=1), Forecaster(grey)(frames)[:1])
    np.testing.assert_array_equal(Forecaster(grey, rollout="frames")(frames), Forecaster(grey)(frames))


def test_bfloat16_is_near_float32(grey):
    frames = random_frames((3, 8, 12))
    wide = Forecaster(grey)(frames, dtype="float32")
    config = dataclasses.replace(grey.config, dtype="bfloat16")
    narrow = Forecaster(dataclasses.replace(grey, config=config))(frames, dtype="float32")
    error = np.abs(narrow - wide).max() / np.abs(wide).max()
    assert 1e-5 < error < 0.05


def test_other_units_are_declared(grey):
    """Grey levels in [0, 1] for a network that was trained on 0 to 255."""
    frames = random_frames((3, 8, 12))
    expected = Forecaster(grey)(frames, dtype="float32") / 255
    scaled = Forecaster(grey, value_range=(0, 1))(frames.astype(np.float32) / 255)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)
    filled = dataclasses.replace(grey, description={"scaling": dataclasses.asdict(grey.scaling) | {"fill": 7.0}})
    assert Forecaster(filled, value_range=(0, 1000)).scaling.fill is None


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_values_far_from_0_keep_their_differences(grey, dtype):
    """Of seconds since 1970, say, of which float32 has every 64th or 128th."""
    start = 1_100_000_001
    frames = random_frames((3, 8, 12), 0, 1000, np.int64)
    forecaster = Forecaster(grey, value_range=(start, start + 1000))
    prediction = forecaster((frames + start).astype(dtype))
    assert prediction.dtype == dtype
    expected = 1000 * in_numpy(grey, frames[None, ..., None] / 1000)[0, ..., 0]
    assert np.abs((prediction.astype(np.float64) - start) - expected).max() < 0.6


def test_float64_is_computed_or_refused(grey):
    config = dataclasses.replace(grey.config, dtype="float64")
    with pytest.raises(InputError, match="the grey network: float64 needs JAX's 64-bit types; set JAX_ENABLE_X64=1") as error:
        Forecaster(dataclasses.replace(grey, config=config))
    assert "\n" not in str(error.value)
    frames = random_frames((1, 3, 8, 12, 1))
    with jax.enable_x64(True):
        forecaster = Forecaster(dataclasses.replace(grey, config=config))
        prediction = forecaster(frames, dtype="float64")
        assert forecaster._programs(frames / 255).dtype == np.float64
    np.testing.assert_allclose(prediction, 255 * in_numpy(grey, frames / 255), rtol=1e-5, atol=1e-4)


def test_a_channel_that_was_constant_in_training_is_predicted_as_it_was(fields):
    config = dataclasses.replace(fields.config, out_channels=2, out_frames=2)
    description = {
        "scaling": {"dtype": "float32", "low": [1.0, 4.0], "high": [9.0, 4.0], "filling": [0.5, 0.0], "missing": True}
    }
    model = dataclasses.replace(fields, config=config, variables=trained_variables(config), description=description)
    frames = np.random.default_rng(0).uniform(1, 9, (1, 3, 8, 12, 2)).astype(np.float32)
    frames[..., 1] = 4
    seen = (frames.astype(np.float64) - [1, 4]) / [8, 1]
    blocks = []
    for _ in range(2):
        blocks.append(in_numpy(model, seen) * [1, 0])  # fed back as it was in training
        seen = np.concatenate([seen, blocks[-1]], axis=1)[:, -3:]
    prediction = Forecaster(model)(frames, 4)
    np.testing.assert_allclose(prediction[..., 0], 1 + 8 * np.concatenate(blocks, axis=1)[..., 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(prediction[..., 1], 4)
    others = np.stack([(frames[..., 0] - 1) / 8, frames[..., 1]], axis=-1)
    in_others = Forecaster(model, value_range=(0, 1))(others, 4)
    np.testing.assert_allclose(1 + 8 * in_others[..., 0], prediction[..., 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(in_others[..., 1], 4)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 12)), r"shape \[8, 12\]; expected \[t, h, w\], \[t, h, w, c\] or \[b, t, h, w, c\]"),
        (np.zeros((2, 8, 12)), r"2 frame\(s\); the grey network needs 3"),
        (np.zeros((3, 8, 12, 3)), r"3 channel\(s\); the grey network takes 1$"),
        (np.zeros((2, 3, 8, 12)), r"12 channel\(s\); the grey network takes 1; a batch without channels"),
        (np.zeros((1, 3, 0, 12, 1)), "which holds no values"),
        (np.full((3, 8, 12), np.nan), "the frames: all values are missing or not finite"),
        (np.stack([np.zeros((3, 8, 12, 1)), np.full((3, 8, 12, 1), np.inf)]), "sequence 1 of the frames: all values"),
        (np.full((3, 8, 12), 1e300), "the frames: all values are missing or not finite"),
        (np.zeros((3, 8, 12), complex), "frames are complex128"),
        (np.array([["a"]]), "frames are <U1"),
    ],
)
def test_frames_that_cannot_be_are_refused(grey, frames, message):
    with pytest.raises(InputError, match=message):
        Forecaster(grey)(frames)


@pytest.mark.parametrize(
    ("settings", "call", "message"),
    [
        ({"rollout": "steps"}, {}, "rollout is 'steps'; choose one of blocks, frames"),
        ({"device": "tpu"}, {}, "device is 'tpu'; expected one of jax.devices"),
        ({"tile": 2.5}, {}, "tile is 2.5; it must be a whole number of pixels"),
        ({"memory": 1}, {}, "memory is 1 bytes"),
        ({"value_range": (3, 3)}, {}, "value_range is 3, 3; expected two numbers, the first one less than the second"),
        ({"value_range": 3}, {}, "value_range is 3; expected two numbers"),
        ({}, {"dtype": "foo"}, "dtype is 'foo'; expected integers or floats"),
        ({}, {"horizon": 0}, "horizon is 0; it must be a whole number, at least 1"),
        ({}, {"horizon": 2.5}, "horizon is 2.5"),
        ({}, {"dtype": "complex64"}, "dtype is complex64"),
    ],
)
def test_settings_that_cannot_be_are_refused(grey, settings, call, message):
    with pytest.raises(InputError, match=message):
        Forecaster(grey, **settings)(np.zeros((3, 8, 12)), **call)


def test_a_network_that_sees_more_channels_than_it_predicts_cannot_be_rolled_out(fields):
    with pytest.raises(InputError, match="horizon is 5, more than model.out_frames 4"):
        Forecaster(fields)(np.full((3, 8, 12, 2), 100.0), horizon=5)


@pytest.mark.parametrize("transform", ["log", "sqrt", "dbz"])
def test_transforms_are_inverted_and_clipped_in_forecasts_of_any_horizon(grey, transform):
    """Predictions are fed back as the network made them, neither inverted nor clipped."""
    scaling = Scaling("float32", (0.0,), (255.0,), transform=transform, offset=(3.0,), clip_low=(2.0,), clip_high=(90.0,))
    forecaster = Forecaster(dataclasses.replace(grey, description={"scaling": scaling.as_json()}))
    frames = random_frames((1, 3, 8, 12, 1)).astype(np.float32)
    seen = scaling.to_network_float64(frames)[0]
    for _ in range(2):
        seen = np.concatenate([seen, in_numpy(grey, seen[:, -3:])], 1)
    expected = np.clip(scaling.from_network(seen[:, 3:], np.float64), 2, 90)
    np.testing.assert_allclose(forecaster(frames, horizon=4), expected, rtol=2e-3)
