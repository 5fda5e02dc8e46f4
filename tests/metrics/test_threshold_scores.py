"""Forecasters' scores against pysteps 1.21.5 (`det_cat_fct_*` and `fss_*`), whose numbers are written here."""

import functools

import jax
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.eval_steps import threshold_scores
from stlight_jax.metrics.metric_sums import MetricSums, frame_metrics
from stlight_jax.metrics.threshold_scores import ThresholdScores, parse_thresholds

# (missing values, threshold, window) -> CSI, POD, FAR, bias and FSS of the three lead times, and of all of them.
PYSTEPS = {
    (False, 1.0, 1): [
        [0.5785124, 0.64516129, 0.15151515, 0.76036866, 0.73298429],
        [0.67298578, 0.73958333, 0.11801242, 0.83854167, 0.80453258],
        [0.62100457, 0.66995074, 0.10526316, 0.74876847, 0.76619718],
        [0.62202381, 0.68300654, 0.12552301, 0.78104575, 0.76697248],
    ],
    (False, 1.0, 4): [
        [0.5785124, 0.64516129, 0.15151515, 0.76036866, 0.93732468],
        [0.67298578, 0.73958333, 0.11801242, 0.83854167, 0.97097218],
        [0.62100457, 0.66995074, 0.10526316, 0.74876847, 0.92772654],
        [0.62202381, 0.68300654, 0.12552301, 0.78104575, 0.94420826],
    ],
    (True, 1.0, 5): [
        [0.58878505, 0.64948454, 0.1369863, 0.75257732, 0.93734653],
        [0.68085106, 0.74853801, 0.11724138, 0.84795322, 0.97867905],
        [0.6119403, 0.66129032, 0.10869565, 0.74193548, 0.92994113],
        [0.6252073, 0.68421053, 0.12121212, 0.77858439, 0.94705463],
    ],
    (True, 5.0, 4): [
        [0.35555556, 0.59259259, 0.52941176, 1.25925926, 0.82087912],
        [0.23809524, 0.45454545, 0.66666667, 1.36363636, 0.65023847],
        [0.40816327, 0.625, 0.45945946, 1.15625, 0.80173244],
        [0.33823529, 0.56790123, 0.54455446, 1.24691358, 0.77152832],
    ],
}
LOW, SPAN = -3.0, 20.0


def fields():
    """Predicted and true rain, `[n, t, h, w]` in mm/h, and where it is missing."""
    random = np.random.RandomState(0)  # its streams never change
    predicted = random.gamma(0.5, 4, (2, 3, 12, 14))
    true = 0.5 * predicted + random.gamma(0.5, 2, predicted.shape)
    missing = random.random_sample(true.shape) < 0.1
    return predicted.astype(np.float32), true.astype(np.float32), missing


@pytest.mark.parametrize("case", PYSTEPS, ids=str)
def test_scores_are_those_of_pysteps_for_single_lead_times_and_for_all(case):
    has_missing, threshold, window = case
    predicted, true, missing = fields()
    scores = ThresholdScores(threshold, ((threshold - LOW) / SPAN,), window)
    scaled = ((each[..., None] - LOW) / SPAN for each in (predicted, true))
    computed = jax.jit(functools.partial(frame_metrics, metrics=(), parts=scores.parts))(
        *scaled, *([~missing[..., None]] if has_missing else [])
    )
    # In two parts, as on two devices; a filler counts in neither.
    parts = [MetricSums.from_batch(computed, np.array(mask)) for mask in ([True, False], [False, True])]
    sums = parts[0] + parts[1]
    assert list(scores.values(sums.parts)) == ["csi", "pod", "far", "frequency_bias", "fss"]
    for own, expected in ((sums, PYSTEPS[case][:3]), (sums.total(), PYSTEPS[case][3:])):
        np.testing.assert_allclose(np.array(list(scores.values(own.parts).values())).T, expected, rtol=0, atol=1e-6)


def test_channels_have_levels_of_their_own_and_scores_without_events_are_undefined():
    frame = np.zeros((1, 1, 7, 7, 2), np.float32)
    frame[..., 1] = 0.25
    for levels, csi in (((0.5, 0.2), 1.0), ((0.5, 0.3), np.nan)):
        scores = ThresholdScores(1.0, levels, 3)
        sums = MetricSums.from_batch(frame_metrics(frame, frame, metrics=(), parts=scores.parts), np.ones(1, bool))
        np.testing.assert_array_equal(scores.values(sums.parts)["csi"], [csi])


@pytest.mark.parametrize(
    ("dtype", "low", "high", "step"),
    [("int16", 0.0, 143.0, 1.0), ("float32", 0.0, 14.3, 0.1), ("float32", 241.7, 313.2, 0.1)],
)
def test_a_value_that_equals_the_threshold_is_an_event(dtype, low, high, step):
    scaling = Scaling(dtype, (low,), (high,))
    values = low + step * np.arange(1, round((high - low) / step))
    thresholds = threshold_scores(",".join(f"{value:.8g}" for value in values), 1, scaling)
    levels = np.array([scores.levels[0] for scores in thresholds], np.float32)
    stored = np.concatenate([values, values - 0.01 * step])[:, None]
    scaled, _ = jax.jit(scaling.to_network)((np.round(stored) if dtype == "int16" else stored).astype(dtype))
    equal, below = np.asarray(scaled).reshape(2, -1)
    assert (equal >= levels).all()
    assert dtype == "int16" or (below < levels).all()


def test_thresholds_are_numbers_separated_by_commas():
    assert parse_thresholds("") == ()
    assert parse_thresholds(" 5, 0.1,1,5") == (0.1, 1.0, 5.0)
    for text in ("a", "1,,2", "nan", "1;2"):
        with pytest.raises(InputError, match="expected numbers in the data's units, such as 0.1,1,5"):
            parse_thresholds(text)
