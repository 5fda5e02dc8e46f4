"""OpenSTL's golden test: arrays, and their metrics."""

import numpy as np

METRICS = {
    "mse": 2.595934,
    "mae": 20.701252,
    "rmse": 1.611190,
    "ssim": 0.9466934,
    "ssim_unit_range": 0.9458368,
    "psnr": 20.451086,
}


def frames():
    """Prediction and truth as OpenSTL saves them: float32 `[2, 3, 1, 16, 16]`, channels before rows."""
    random = np.random.default_rng(0)
    shape = (2, 3, 1, 16, 16)
    true = random.random(shape, dtype=np.float32)
    return np.float32(true + 0.1 * np.float32(random.standard_normal(shape))), true
