"""Which sequences are looked at, and that their predictions are the network's."""

import jax
import numpy as np
import pytest

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.samples import Samples, best_median_worst, evenly_spaced
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables

pytestmark = pytest.mark.compiled_fast


@pytest.mark.parametrize(
    ("mse", "expected"),
    [
        ([5, 1, 4, 2, 3, 7, 6], {"best": [1, 3], "median": [4, 2], "worst": [5, 6]}),
        ([3, np.nan, 1, 2], {"best": [2], "median": [3], "worst": [0]}),
        ([2, 1], {"best": [1], "median": [1], "worst": [0]}),
        ([np.nan], {"best": [], "median": [], "worst": []}),
    ],
)
def test_best_median_and_worst_by_hand(mse, expected):
    assert best_median_worst(np.array(mse, np.float64)) == expected


def test_the_median_is_numpys():
    mse = np.random.default_rng(0).random(101)
    assert mse[best_median_worst(mse, 1)["median"][0]] == np.median(mse)
    even = best_median_worst(mse[:100])["median"]
    assert mse[even].mean() == pytest.approx(np.median(mse[:100]))


def test_samples_are_the_networks_predictions_in_the_order_asked_for():
    config = STLightConfig(
        in_frames=3, out_frames=2, in_channels=2, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3
    )
    model = STLight(config)
    variables = init_variables(model, 0, (16, 16, 2))
    array = np.random.default_rng(0).uniform(5, 9, (20, 5, 16, 16, 2)).astype(np.float32)
    array[:, :, :2] = np.nan

    class Source:
        shape = array.shape[1:]

        def frames(self, indices, epoch=0):
            return array[indices]

    scaling = Scaling("float32", (5.0,), (9.0,), missing=True, filling=(0.5,))
    indices = np.array([19, 0, 3, 4, 5, 6, 7, 8, 9, 11])
    sample = Samples(Source(), model, variables, scaling).all(indices)
    scaled = (array[indices] - 5) / 4
    np.testing.assert_allclose(sample.inputs, scaled[:, :3], atol=1e-6)
    np.testing.assert_allclose(sample.truth, scaled[:, 3:, ..., :1], atol=1e-6)
    expected = np.array(jax.jit(model.apply)(variables, np.nan_to_num(scaled[:, :3], nan=0.5)))
    expected[:, :, :2] = np.nan
    np.testing.assert_allclose(sample.prediction, expected, atol=1e-5)


def test_evenly_spaced_indices_reach_both_ends():
    assert evenly_spaced(100, 4).tolist() == [0, 33, 66, 99]
    assert evenly_spaced(3, 64).tolist() == [0, 1, 2]
    assert evenly_spaced(5, 1).tolist() == [0]
