"""Sharpness: the gradient energy of predictions relative to that of the true frames.

The squared error rewards sharpness least, and viewers notice it first.
"""

import numpy as np

from stlight_jax.metrics.metric import SampledMetric


class Sharpness:
    """Accumulates the gradient energies of predictions and of true frames, lead time by lead time.

    The gradient energy of a frame is the sum of squared differences between horizontal and vertical neighbours, over all
    channels. Sharpness is the energy of all predictions over that of all true frames: 1 is as sharp as the truth; blur is
    less (an edge spread evenly over k pixels has 1/k of the energy, half the contrast a quarter), noise is more. A sharp
    prediction need not be right: frames of another sequence have about 1. Predictions are not clipped. A pair with a
    missing value, true or predicted, counts in neither sum.
    """

    def __init__(self) -> None:
        self._predicted: np.ndarray | float = 0.0
        self._true: np.ndarray | float = 0.0

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Takes in floats `[n, t, h, w, c]`, NaN where values are missing."""
        missing = np.isnan(truth) | np.isnan(prediction)
        self._true = self._true + _energy(np.where(missing, np.nan, truth))
        self._predicted = self._predicted + _energy(np.where(missing, np.nan, prediction))

    def per_lead_time(self) -> list[float]:
        """Returns a ratio per lead time, NaN where the true frames have no gradient or no value."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self._true > 0, np.divide(self._predicted, self._true), np.nan)
        return ratio.tolist()


def _energy(frames: np.ndarray) -> np.ndarray:
    """Gradient energy of `[n, t, h, w, c]`, float64 `[t]`; one lead time after the other, to save memory."""
    leads = (frames[:, lead].astype(np.float64) for lead in range(frames.shape[1]))
    return np.array([sum(np.nansum(np.square(np.diff(lead, axis=axis))) for axis in (1, 2)) for lead in leads])


_DEFINITION = (
    "the sum of squared differences between neighbouring pixels of the predictions, over that of the true frames. 1 is as "
    "sharp as the truth, blur is less, noise is more. A sharp prediction need not be right"
)
_REFERENCE = (1.0, "as sharp as the truth")

SHARPNESS = SampledMetric(
    "sharpness", "Sharpness", direction="reference", reference=_REFERENCE, definition=_DEFINITION, accumulator=Sharpness
)
