"""The metrics of every frame in one compiled pass.

Definitions are OpenSTL's (`openstl/core/metrics.py`), slips included. Missing values count nowhere: MSE and MAE are sums over
the valid values, PSNR is a mean over them, SSIM a mean over the windows without a missing value, and a frame without a valid
value is left out.
"""

import chex
import jax
import jax.numpy as jnp

from stlight_jax.metrics import metric_list
from stlight_jax.metrics.metric import VALUES, FrameCount, FrameMetric, FramePair

_FRAMES_AT_A_TIME = 80

# Key of a metric or a count -> float32 [b, t]: its value for each sequence and frame.
FrameScores = dict[str, jax.Array]


def frame_metrics(prediction: jax.Array, target: jax.Array, valid: jax.Array | None = None) -> FrameScores:
    """Computes every `FrameMetric` of the list, and the counts they are averaged by.

    Args:
      prediction: float `[b, t, h, w, c]`, in [0, 1] except for overshoots.
      target: float `[b, t, h, w, c]`, in [0, 1].
      valid: bool `[b, t, h, w, c]`, False where values are missing; None if no value is missing.

    Returns:
      Key of each metric and each count -> float32 `[b, t]`.

    Raises:
      InputError: the frames are smaller than SSIM's 7 x 7 window.
    """
    chex.assert_rank(prediction, 5)
    arrays = (prediction, target) if valid is None else (prediction, target, valid)
    chex.assert_equal_shape(arrays)
    flat = tuple(array.reshape(-1, *array.shape[2:]) for array in arrays)  # [b*t, h, w, c]
    # As many frames at a time as caches hold with everything that is computed from them.
    scores = jax.lax.map(lambda frame: _score_frame(*frame), flat, batch_size=_FRAMES_AT_A_TIME)
    return jax.tree.map(lambda values: values.reshape(prediction.shape[:2]), scores)


def _score_frame(prediction: jax.Array, target: jax.Array, valid: jax.Array | None = None) -> FrameScores:
    if valid is not None:  # missing values are made equal, so that they add no error
        prediction = jnp.where(valid, prediction, target)
    frame = FramePair(prediction, target, valid)
    metrics = metric_list.metrics_of(FrameMetric)
    # A dict keeps the order, so that all processes compile the same program.
    counts = dict.fromkeys((VALUES, *(metric.counted_by for metric in metrics)))
    computed: tuple[FrameMetric | FrameCount, ...] = (*metrics, *counts)
    return {each.key: frame.once(each.compute) for each in computed}
