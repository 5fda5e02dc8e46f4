"""Motion and extrapolation against known motions, closed forms and pysteps."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax.model.ops.optical_flow import extrapolate, motion
from tests.conftest import ROOT

# MSE by pysteps 1.21.5 with OpenCV 5.0.0 at leads 1 to 6: benchmarks/pysteps_extrapolation.py, rows "pysteps, else 0" and
# "pysteps, else the last frame".
PYSTEPS = {
    "knmi": ([1.575, 3.777, 5.877, 8.731, 10.34, 12.95], [1.501, 3.740, 5.952, 8.978, 10.81, 13.74]),
    "fmi2016": ([40.49, 82.01, 136.6, 193.0, 251.2, 306.8], [40.20, 82.00, 137.0, 194.1, 252.6, 308.9]),
    "fmi2017": ([102.4, 162.6, 250.4, 324.4, 430.3, 543.1], [81.24, 145.6, 234.1, 310.7, 419.9, 534.2]),
}
estimated = jax.jit(motion)
carried = jax.jit(extrapolate, static_argnums=2)


def texture(vector, side, scale=3.0, frames=4, channels=1, seed=0):
    """A random texture smoothed by a Gaussian of `scale` pixels and moved by `vector` per frame: `[1, t, side, side, c]`."""
    wide = 4 * side  # the texture is periodic; only its middle is seen
    y, x = np.fft.fftfreq(wide)[:, None, None], np.fft.fftfreq(wide)[:, None]
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal((wide, wide, channels)), axes=(0, 1))
    spectrum *= np.exp(-2 * (np.pi * scale) ** 2 * (y**2 + x**2))
    turns = [np.exp(-2j * np.pi * step * (vector[0] * y + vector[1] * x)) for step in range(frames)]
    moved = np.stack([np.fft.ifft2(spectrum * turn, axes=(0, 1)).real for turn in turns])
    seen = slice(wide // 2 - side // 2, wide // 2 - side // 2 + side)
    return (moved / moved.std())[None, :, seen, seen].astype(np.float32)


def blobs(vector, side, frames=4):
    """Three Gaussian blobs on an empty field: `[1, t, side, side, 1]`."""
    y, x = np.mgrid[:side, :side]
    steps = np.arange(frames)[:, None, None]
    field = sum(
        np.exp(-((y - side * a - steps * vector[0]) ** 2 + (x - side * b - steps * vector[1]) ** 2) / (2 * 3.5**2))
        for a, b in ((0.35, 0.4), (0.6, 0.35), (0.5, 0.65))
    )
    return field[None, ..., None].astype(np.float32)


def interior(vectors, share=4):
    margin = vectors.shape[1] // share
    return np.asarray(vectors)[:, margin:-margin, margin:-margin]


@pytest.mark.parametrize("vector", [(0, 0), (0.3, -0.7), (1.5, 2.25), (-4.3, 3.1), (8, -9), (12, 0), (12, -9)])
def test_finds_the_vector_of_a_moving_texture_within_a_tenth_of_a_pixel(vector):
    np.testing.assert_allclose(interior(estimated(texture(vector, 64)))[0], np.full((32, 32, 2), vector), atol=0.1)


@pytest.mark.parametrize(("side", "vector"), [(8, (0.3, -0.6)), (16, (1.5, 2.25)), (50, (-4.3, 3.1)), (96, (3.6, 6.2))])
def test_finds_the_vector_in_frames_of_any_size_and_from_two_frames(side, vector):
    for frames in (2, 6):
        found = interior(estimated(texture(vector, side, scale=2.0, frames=frames)))
        np.testing.assert_allclose(found, np.broadcast_to(np.float32(vector), found.shape), atol=0.1)


@pytest.mark.parametrize("vector", [(0.4, -0.8), (2.5, 1.25), (-4.0, 3.0)])
def test_the_empty_field_around_blobs_moves_with_them(vector):
    found = np.asarray(estimated(blobs(vector, 64)))
    inner = slice(16, 48)
    np.testing.assert_allclose(found[:, inner, inner], np.broadcast_to(np.float32(vector), (1, 32, 32, 2)), atol=0.1)
    # The corners are 25 pixels, four windows, away from every blob.
    np.testing.assert_allclose(found, np.broadcast_to(np.float32(vector), found.shape), atol=0.5)


def test_missing_values_change_the_vector_little_and_never_spread():
    vector, rng = (1.5, -2.25), np.random.default_rng(0)
    frames = texture(vector, 64)
    valid = rng.random(frames.shape) > 0.03
    valid[:, :, :20, :20] = False  # a corner outside of the radars' range
    garbage = np.where(valid, frames, np.where(rng.random(frames.shape) > 0.5, 1e6, np.nan)).astype(np.float32)
    found = np.asarray(estimated(garbage, valid))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(interior(found)[0], np.full((32, 32, 2), vector), atol=0.1)
    np.testing.assert_array_equal(estimated(np.where(valid, frames, np.nan)), found)
    last, known = carried(garbage[:, -1], found, 5, valid[:, -1])
    assert np.isfinite(last).all()
    assert np.abs(last).max() <= np.abs(frames).max()
    assert not np.asarray(known)[:, :, :15, :5].any()  # the origin at lead 5 is 11.25 pixels further right


def test_noise_moves_a_vector_by_less_than_a_tenth_of_a_pixel():
    vector = (-1.3, 2.6)
    noise = np.random.default_rng(1).standard_normal((1, 4, 64, 64, 1)).astype(np.float32)
    found = interior(estimated(texture(vector, 64) + 0.1 * noise))
    np.testing.assert_allclose(found, np.broadcast_to(np.float32(vector), found.shape), atol=0.1)


def test_neither_scale_nor_offset_nor_sign_of_a_channel_matters():
    frames = texture((1.2, -0.6), 32, channels=3)
    expected = np.asarray(estimated(frames))
    other = frames * np.float32([255, -1e-6, 1e20]) + np.float32([30, 1e-6, 0])
    np.testing.assert_allclose(estimated(other), expected, atol=2e-3)


def test_what_does_not_move_has_no_motion():
    for frames in (np.full((2, 4, 32, 24, 2), 0.1, np.float32), np.full((1, 4, 16, 16, 1), np.nan, np.float32)):
        np.testing.assert_array_equal(estimated(frames), np.zeros((*frames[:, 0, ..., 0].shape, 2)))
    still = np.repeat(texture((0, 0), 32, frames=1), 4, axis=1)
    np.testing.assert_allclose(estimated(still), np.zeros((1, 32, 32, 2)), atol=1e-5)
    np.testing.assert_array_equal(estimated(still[:, :1]), np.zeros((1, 32, 32, 2)))  # one frame
    for h, w in ((1, 1), (1, 5), (3, 2)):
        assert np.isfinite(estimated(still[:, :, :h, :w])).all()


def test_a_field_linear_in_the_coordinates_is_carried_exactly_and_its_origin_outside_is_marked():
    y, x = np.mgrid[:12, :10].astype(np.float32)
    last = jnp.stack([y, 3 * x], -1)[None]
    vectors = jnp.broadcast_to(jnp.asarray([1.5, -0.25]), (1, 12, 10, 2))
    frames, valid = carried(last, vectors, 3)
    for lead in (1, 2, 3):
        inside = (y - 1.5 * lead >= 0) & (x + 0.25 * lead <= 9)
        np.testing.assert_array_equal(valid[0, lead - 1, ..., 0], inside)
        expected = np.stack([np.maximum(y - 1.5 * lead, 0), 3 * np.minimum(x + 0.25 * lead, 9)], -1)  # value of the edge
        np.testing.assert_allclose(frames[0, lead - 1], expected, atol=1e-5)


def test_a_rotating_field_turns_by_the_angle_of_its_rotation():
    angle, side = 0.05, 65
    y, x = np.mgrid[:side, :side] - 32.0
    vectors = jnp.asarray(angle * np.stack([x, -y], -1)[None], jnp.float32)

    def spot(turned):
        return np.exp(-((y - 14 * np.sin(turned)) ** 2 + (x - 14 * np.cos(turned)) ** 2) / 72)

    frames, _ = carried(jnp.asarray(spot(0.0)[None, ..., None], jnp.float32), vectors, 8)
    np.testing.assert_allclose(frames[0, -1, ..., 0], spot(8 * angle), atol=0.02)  # a wrong sign or angle: 0.5 and more


def test_a_pixel_keeps_its_value_where_the_origin_is_missing():
    last = np.arange(6, dtype=np.float32).reshape(1, 1, 6, 1)
    known = np.asarray([False, False, True, True, True, True]).reshape(last.shape)
    frames, valid = carried(last, np.broadcast_to(np.float32([0, 1]), (1, 1, 6, 2)), 2, known)
    np.testing.assert_allclose(frames[0, :, 0, :, 0], [[0, 0, 2, 2, 3, 4], [0, 0, 2, 2, 2, 3]])
    np.testing.assert_array_equal(valid[0, :, 0, :, 0], [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]])


def test_gradients_pass_to_the_last_frame_alone_and_are_finite():
    frames = texture((0.5, 0.5), 16)
    frames[0, 1, 3] = np.nan
    frames[0, -1, 5, 5] = np.nan

    def total(frames):
        return jnp.square(extrapolate(frames[:, -1], motion(frames), 2)[0]).sum()

    gradient = jax.jit(jax.grad(total))(frames)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[:, :-1].any()
    assert np.asarray(gradient)[:, -1].any()


@pytest.mark.parametrize("name", ["knmi", *(pytest.param(name, marks=pytest.mark.long) for name in ("fmi2016", "fmi2017"))])
def test_extrapolates_rain_better_than_pysteps_at_every_lead(name, test_data):
    spec = importlib.util.spec_from_file_location("pysteps_extrapolation", ROOT / "benchmarks" / "pysteps_extrapolation.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    inputs, targets = benchmark.windows(name, test_data)
    ours = benchmark.mse_per_lead(benchmark.by_optical_flow(inputs), targets)
    assert (ours < np.min(PYSTEPS[name], axis=0)).all(), ours
