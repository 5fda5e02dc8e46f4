"""Fine-tunes a shipped network on new frames: rain radar instead of digits.

`trained.load` gives the weights and the shape of a network by the same names as `Forecaster.load`. To continue from a run of
your own, no loop is needed: `stlight train ... --config.train.init_from=runs/mine`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stlight_jax import Predictor, STLight
from stlight_jax.inference import trained

STEPS, CROP = 100, 32
shipped = trained.load("tiny").without_program()
seen = shipped.config.in_frames
length = seen + shipped.config.out_frames
model = STLight(shipped.config)

rain = np.load("examples/data/knmi_radar.npz")["precip"]  # [92, 104, 104], uint16 in 0.01 mm; 65535 is missing
frames = np.where(rain == 65535, 0, np.minimum(rain, 100)).astype(np.float32)[..., None] / 100  # [92, 104, 104, 1] in [0, 1]
train, test = frames[:-length], frames[None, -length:]


def crops(random: np.random.Generator, batch: int) -> np.ndarray:
    """Returns random windows of random parts of the frames, `[batch, length, CROP, CROP, 1]`."""
    corners = random.integers(0, [len(train) - length + 1, *(side - CROP + 1 for side in train.shape[1:3])], (batch, 3))
    return np.stack([train[t : t + length, y : y + CROP, x : x + CROP] for t, y, x in corners])


def test_error(params) -> float:
    """Returns the mean squared error of the last frames of the night, whole."""
    predict = Predictor(shipped.config, {"params": params, "batch_stats": batch_stats})
    return float(np.mean((predict(test[:, :seen]) - test[:, seen:]) ** 2))


@jax.jit
def step(params, optimizer_state, batch):
    """Takes one step down the gradient of the mean squared error; the statistics of the batch norms stay as shipped."""

    def loss(params):
        prediction = model.apply({"params": params, "batch_stats": batch_stats}, batch[:, :seen])
        return jnp.mean((prediction - batch[:, seen:]) ** 2)

    changes, optimizer_state = optimizer.update(jax.grad(loss)(params), optimizer_state, params)
    return optax.apply_updates(params, changes), optimizer_state


params, batch_stats = shipped.variables["params"], shipped.variables["batch_stats"]
optimizer = optax.adam(optax.cosine_decay_schedule(3e-4, STEPS))
optimizer_state = optimizer.init(params)
random = np.random.default_rng(0)
print(f"as shipped: mean squared error {test_error(params):.5f}")
for _ in range(STEPS):
    params, optimizer_state = step(params, optimizer_state, crops(random, 8))
print(f"fine-tuned: mean squared error {test_error(params):.5f}")
