"""Sharpness against closed forms, and with missing values against loops."""

import numpy as np
import pytest

from stlight_jax.metrics.sharpness import Sharpness


def sharpness(truth, prediction):
    accumulator = Sharpness()
    accumulator.add(truth, prediction)
    return accumulator.per_lead_time()


def test_contrast_edges_and_waves_have_closed_forms():
    edge = np.zeros((1, 3, 8, 32, 1))
    edge[:, :, :, 16:] = 1.0
    blurred = edge.copy()
    blurred[:, 1] = 0.5 * edge[:, 1] + 0.25  # half the contrast
    ramp = np.clip((np.arange(32) - 15) / 4, 0, 1)  # the edge in four steps of a quarter
    blurred[:, 2] = ramp[:, None]
    assert sharpness(edge, blurred) == pytest.approx([1, 1 / 4, 1 / 4])

    # A box of three pixels weakens a wave of frequency f by (1 + 2 cos f) / 3, in every row alike.
    frequency = 2 * np.pi / 8
    wave = np.tile(np.sin(frequency * np.arange(34)), (1, 1, 8, 1))[..., None]
    box = (wave[:, :, :, :-2] + wave[:, :, :, 1:-1] + wave[:, :, :, 2:]) / 3
    assert sharpness(wave[:, :, :, 1:-1], box) == pytest.approx([((1 + 2 * np.cos(frequency)) / 3) ** 2])


def test_a_frame_without_gradient_has_no_sharpness():
    flat = np.ones((2, 2, 8, 8, 1))
    noisy = flat.copy()
    noisy[:, 0, 4, 4] = 2
    assert np.isnan(sharpness(flat, noisy)).all()


def test_pairs_with_a_missing_value_count_nowhere_and_batches_add_up():
    random = np.random.default_rng(0)
    truth, prediction = random.random((2, 5, 2, 6, 7, 2))
    truth[:, :, 2, 3] = np.nan
    truth[1, 1] = np.nan
    prediction[3, 0, 1, 1, 1] = np.nan
    energy = np.zeros((2, 2))  # of the truth and of the prediction, per lead time
    for n, t, y, x, c in np.ndindex(truth.shape):
        for down, right in ((1, 0), (0, 1)):
            if y + down < 6 and x + right < 7:
                pairs = [(frames[n, t, y, x, c], frames[n, t, y + down, x + right, c]) for frames in (truth, prediction)]
                if not np.isnan(pairs).any():
                    energy[:, t] += [(a - b) ** 2 for a, b in pairs]
    accumulator = Sharpness()
    accumulator.add(truth[:2], prediction[:2])
    accumulator.add(truth[2:], prediction[2:])
    np.testing.assert_allclose(accumulator.per_lead_time(), energy[1] / energy[0], rtol=1e-12)
