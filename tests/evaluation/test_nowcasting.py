"""The extrapolation by pysteps; skipped without pysteps."""

import sys

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation import nowcasting
from stlight_jax.evaluation.baselines import EvaluatedFrames
from tests.evaluation.windows import AHEAD, SCALING, SEEN, Windows


def test_rain_is_carried_on_and_missing_values_take_the_last_frame():
    pytest.importorskip("pysteps")
    pytest.importorskip("cv2")
    y, x = np.ogrid[:64, :64]
    blobs = [np.exp(-((y - 30 - t) ** 2 + (x - 25 - 2 * t) ** 2) / 50)[..., None] for t in range(8)]
    windows = Windows(np.stack(blobs).astype(np.float32) * 4 - 1)
    frames = windows.frames(np.arange(3))
    frames[:, :, :, 60:] = np.nan
    prediction, known = nowcasting.PystepsBaseline(EvaluatedFrames(windows, SCALING, SEEN, 1)).predict(np.arange(3), frames)
    assert known is None
    assert prediction.shape == (3, AHEAD, 64, 64, 1)
    assert np.isfinite(prediction).all()
    truth = np.stack([[blobs[i + 3], blobs[i + 4]] for i in range(3)])
    copied = np.stack([[blobs[i + 2]] * 2 for i in range(3)])
    errors, errors_of_copy = (np.square(each - truth)[..., :60, :].mean() for each in (prediction, copied))
    assert errors < 0.2 * errors_of_copy


def test_without_pysteps_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"evaluation.pysteps is True, but cv2 is not installed; .*\[nowcasting\]"):
        nowcasting.PystepsBaseline(EvaluatedFrames(None, Scaling(), SEEN, 1))
