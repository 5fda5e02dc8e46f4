"""Baselines without training data against NumPy."""

import numpy as np

from stlight_jax.evaluation.baselines import EvaluatedFrames, FlowBaseline, PeriodBaseline
from tests.evaluation.windows import SCALING, SEEN, Windows, seasonal


def test_frames_of_earlier_periods_are_the_latest_that_are_known():
    test = Windows(seasonal(30, seed=2))
    data = EvaluatedFrames(test, SCALING, SEEN, out_channels=1)
    scaled = (test.array[..., :1] + 1) / 4
    # A period of one step: one before the first target, two before the second.
    prediction, known = PeriodBaseline(data, 1, "data.periods is 1").predict(np.array([0, 4]), test.frames([0, 4]))
    assert known.all()
    np.testing.assert_allclose(prediction, np.stack([scaled[[2, 2]], scaled[[6, 6]]]), rtol=1e-5)
    prediction, known = PeriodBaseline(data, 5, "data.periods is 5").predict(np.array([1, 2]), test.frames([1, 2]))
    assert known.tolist() == [False, True]
    np.testing.assert_allclose(prediction[1], scaled[0:2], rtol=1e-5)
    test.array[1, 3, 3] = np.nan  # then the last input value stands there
    prediction, known = PeriodBaseline(data, 5, "data.periods is 5").predict(np.array([2]), test.frames([2]))
    assert known.tolist() == [True]
    np.testing.assert_allclose(prediction[0, 1, 3, 3], scaled[4, 3, 3], rtol=1e-5)


def test_optical_flow_carries_a_moving_blob_on():
    y, x = np.ogrid[:32, :32]
    blob = lambda time: np.exp(-((y - 10 - time) ** 2 + (x - 8 - 1.5 * time) ** 2) / 18)[..., None]  # noqa: E731
    windows = Windows(np.stack([blob(time) for time in range(10)]).astype(np.float32) * 4 - 1)
    baseline = FlowBaseline(EvaluatedFrames(windows, SCALING, SEEN, out_channels=1))
    frames = windows.frames(np.arange(6))
    frames[1, 1, 20:, 20:] = np.nan
    prediction, known = baseline.predict(np.arange(6), frames)
    assert known is None
    expected = np.stack([[blob(i + 3), blob(i + 4)] for i in range(6)])
    copied = np.stack([[blob(i + 2)] * 2 for i in range(6)])
    assert np.square(prediction - expected).mean() < 0.02 * np.square(copied - expected).mean()
