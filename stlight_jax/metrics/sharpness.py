"""How sharp predictions are, beside the truth: what the squared error rewards least, and eyes see first."""

from __future__ import annotations

import numpy as np


class Sharpness:
    """Gradient energy of predictions relative to that of the truth, lead time by lead time.

    The gradient energy of a frame is the sum of squared differences between pixels that are next to each other, horizontally
    and vertically, in every channel. Sharpness at a lead time is that of all predictions over that of all true frames: 1 is as
    sharp as the truth; blur is less (an edge spread evenly over k pixels has 1/k of the energy, half the contrast a quarter),
    noise more. Being sharp is not being right: another sequence's frames have about 1. Predictions are taken as they are,
    not clipped. Pairs of which a true or a predicted value is missing count in neither sum.
    """

    def __init__(self) -> None:
        self._of_predictions: np.ndarray | float = 0.0
        self._of_truth: np.ndarray | float = 0.0

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Args: floats `[n, t, h, w, c]`, NaN where values are missing."""
        missing = np.isnan(truth) | np.isnan(prediction)
        self._of_truth = self._of_truth + _energy(np.where(missing, np.nan, truth))
        self._of_predictions = self._of_predictions + _energy(np.where(missing, np.nan, prediction))

    def per_lead_time(self) -> list[float]:
        """A ratio per lead time; NaN where the true frames have no gradient, or nothing of them is there."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self._of_truth > 0, np.divide(self._of_predictions, self._of_truth), np.nan)
        return ratio.tolist()


def _energy(frames: np.ndarray) -> np.ndarray:
    """float64 `[t]`, of `[n, t, h, w, c]`; a lead time after the other, so that large frames take little memory."""
    of_lead_times = (frames[:, lead].astype(np.float64) for lead in range(frames.shape[1]))
    return np.array([sum(np.nansum(np.square(np.diff(of, axis=axis))) for axis in (1, 2)) for of in of_lead_times])
