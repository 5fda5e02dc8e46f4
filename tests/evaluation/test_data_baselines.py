"""Baselines that need more than the input frames."""

import numpy as np

from stlight_jax.evaluation.evaluator import BestConstantImage


def test_best_constant_image_equals_the_direct_search():
    targets = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 5, 2), dtype=np.uint8)
    constant = BestConstantImage()
    scaled = targets / 255.0
    constant.add(scaled[:4])
    constant.add(scaled[4:])
    image = scaled.mean((0, 1))
    expected = np.square(scaled - image).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(constant.mse_per_lead_time(), expected, rtol=1e-12)
