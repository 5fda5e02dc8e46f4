"""Trains a network in a loop of your own, with Flax and Optax alone, on squares that move.

`STLight` is a Flax module: `init` returns the parameters and the statistics of the batch norms; with `train=True`, `apply`
also returns new statistics. `Predictor` then runs the trained network.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stlight_jax import Predictor, STLight, STLightConfig

STEPS = 150


def moving_squares(random: np.random.Generator, batch: int) -> np.ndarray:
    """Returns `[batch, 8, 16, 16, 1]` in [0, 1]: a square of four pixels that moves one pixel per frame, around the edges."""
    frames = np.zeros((batch, 8, 16, 16, 1), np.float32)
    for frame in frames:
        row, column = random.integers(0, 16, 2)
        down, right = random.integers(-1, 2, 2)
        for time in range(8):
            rows, columns = row + down * time + np.arange(4), column + right * time + np.arange(4)
            frame[time, rows[:, None] % 16, columns % 16] = 1
    return frames


config = STLightConfig(
    in_frames=4, out_frames=4, in_channels=1, out_channels=1, hidden_dim=32, depth=3, patch_size=2, shortcut="none"
)
model = STLight(config)
random = np.random.default_rng(0)
variables = jax.jit(model.init)(jax.random.key(0), moving_squares(random, 2)[:, :4])
params, batch_stats = variables["params"], variables["batch_stats"]
optimizer = optax.adamw(optax.cosine_decay_schedule(5e-3, STEPS))
optimizer_state = optimizer.init(params)


@jax.jit
def step(params, batch_stats, optimizer_state, frames):
    """Takes one step down the gradient of the mean squared error."""

    def loss(params):
        variables = {"params": params, "batch_stats": batch_stats}
        prediction, updates = model.apply(variables, frames[:, :4], train=True, mutable=["batch_stats"])
        return jnp.mean((prediction - frames[:, 4:]) ** 2), updates["batch_stats"]

    (value, batch_stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    changes, optimizer_state = optimizer.update(gradient, optimizer_state, params)
    return optax.apply_updates(params, changes), batch_stats, optimizer_state, value


for number in range(1, STEPS + 1):
    params, batch_stats, optimizer_state, value = step(params, batch_stats, optimizer_state, moving_squares(random, 16))
    if number % 50 == 0:
        print(f"step {number}: mean squared error {value:.4f}")

test = moving_squares(random, 64)
prediction = Predictor(config, {"params": params, "batch_stats": batch_stats})(test[:, :4])
repeated = np.repeat(test[:, 3:4], 4, axis=1)
for name, forecast in {"network": prediction, "last frame repeated": repeated}.items():
    print(f"test, {name}: mean squared error {np.mean((forecast - test[:, 4:]) ** 2):.4f}")
