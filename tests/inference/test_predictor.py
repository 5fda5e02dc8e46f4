"""The fast path predicts what the network predicts."""

import jax
import numpy as np
import pytest

from stlight_jax import InputError, STLight
from stlight_jax.inference import predictor as module
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.stlight import init_variables


@pytest.fixture
def trained(small_model):
    """Variables whose running statistics have moved."""
    model = STLight(small_model)
    variables = init_variables(model, 0, (8, 12, 2))
    frames = np.random.default_rng(0).random((4, 3, 8, 12, 2), np.float32)
    train = jax.jit(lambda v: model.apply(v, frames, train=True, mutable=["batch_stats"]))
    for _ in range(20):
        _, updates = train(variables)
        variables = {**variables, **updates}
    return variables


def test_equals_the_network(small_model, trained):
    frames = np.random.default_rng(1).integers(0, 256, (2, 3, 8, 12, 2), np.uint8)
    expected = jax.jit(STLight(small_model).apply)(trained, frames / np.float32(255))
    predict = Predictor(small_model, trained)
    np.testing.assert_allclose(predict(frames), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(predict(frames / np.float32(255)), expected, rtol=1e-5, atol=1e-5)


def test_compiles_once_per_shape(small_model, trained, monkeypatch):
    traces = []
    scale = module.to_unit_range
    monkeypatch.setattr(module, "to_unit_range", lambda frames: traces.append(frames.shape) or scale(frames))
    predict = Predictor(small_model, trained)
    for batch in (1, 2, 1, 2, 1):
        predict(np.zeros((batch, 3, 8, 12, 2), np.uint8))
    assert [shape[0] for shape in traces] == [1, 2]


def test_refuses_what_the_network_does_not_take(small_model, trained):
    predict = Predictor(small_model, trained)
    with pytest.raises(InputError, match="frames have shape"):
        predict(np.zeros((3, 8, 12, 2), np.uint8))
    with pytest.raises(InputError, match="frames are int32"):
        predict(np.zeros((1, 3, 8, 12, 2), np.int32))
