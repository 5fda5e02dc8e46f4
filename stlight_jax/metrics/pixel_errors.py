"""MSE, MAE and RMSE as OpenSTL defines them (`openstl/core/metrics.py`): of predictions as they are, not clipped."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from stlight_jax.metrics.metric import DerivedMetric, FrameMetric

_DEFINITION = "summed over pixels and channels, averaged over frames"

MSE = FrameMetric(
    key="mse",
    label="MSE",
    decimals=3,
    significant_digits=4,
    direction="lower",
    definition=_DEFINITION,
    compute=lambda frame: jnp.sum(jnp.square(frame.error)),
)

MAE = FrameMetric(
    key="mae",
    label="MAE",
    decimals=3,
    significant_digits=4,
    direction="lower",
    definition=_DEFINITION,
    compute=lambda frame: jnp.sum(jnp.abs(frame.error)),
)

RMSE = DerivedMetric(
    key="rmse",
    label="RMSE",
    decimals=3,
    significant_digits=4,
    direction="lower",
    charted=False,
    definition="the root of the MSE",
    base=MSE,
    derive=np.sqrt,
)
