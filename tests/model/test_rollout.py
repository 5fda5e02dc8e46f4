"""Feeding predictions back, against OpenSTL's rule written out in NumPy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import InputError, STLightConfig
from stlight_jax.model.context import check_horizon
from stlight_jax.model.rollout import rollout

CONFIG = STLightConfig(
    in_frames=4, out_frames=4, in_channels=3, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3
)
FRAMES = np.random.default_rng(0).random((2, 4, 3, 3, 1)).astype(np.float32)


def network(out_frames, calls=None):
    """Frame k of its prediction is k + 1 times the first seen frame plus twice the last one."""

    def predict(seen):
        if calls is not None:
            calls.append(np.asarray(seen))
        return jnp.stack([(k + 1) * seen[:, 0] + 2 * seen[:, -1] for k in range(out_frames)], 1)

    return predict


@pytest.mark.parametrize("horizon", [1, 3, 4, 5, 8, 9, 13])
def test_equal_blocks_follow_openstl(horizon):
    # openstl/methods/simvp.py: whole predicted blocks are fed back, what is left over is cut from one more.
    blocks, seen = [], FRAMES
    for _ in range(horizon // 4):
        seen = np.asarray(network(4)(seen))
        blocks.append(seen)
    if horizon % 4:
        blocks.append(np.asarray(network(4)(seen))[:, : horizon % 4])
    np.testing.assert_array_equal(rollout(network(4), FRAMES, horizon, CONFIG), np.concatenate(blocks, 1))


@pytest.mark.parametrize(("out_frames", "horizon", "passes"), [(6, 12, 2), (1, 3, 3), (3, 3, 1), (6, 5, 1)])
def test_the_network_always_sees_the_last_frames(out_frames, horizon, passes):
    calls = []
    config = dataclasses.replace(CONFIG, out_frames=out_frames)
    result = np.asarray(rollout(network(out_frames, calls), FRAMES, horizon, config))
    assert result.shape == (2, horizon, 3, 3, 1)
    assert len(calls) == passes
    known = np.concatenate([FRAMES, result], 1)
    for number, seen in enumerate(calls):
        np.testing.assert_array_equal(seen, known[:, number * out_frames : number * out_frames + 4])


def test_fewer_channels_out_than_in_cannot_be_fed_back():
    check_horizon("evaluation.horizon", 4, CONFIG)
    with pytest.raises(
        InputError, match="evaluation.horizon is 5, more than model.out_frames 4.*predicts 1 channels and sees 3"
    ):
        check_horizon("evaluation.horizon", 5, CONFIG)
