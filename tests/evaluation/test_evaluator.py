"""Every number of an evaluation against NumPy over the whole set at once, with a filled-up last batch on eight devices."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from stlight_jax.evaluation.evaluator import evaluate, evaluate_with_baselines
from stlight_jax.evaluation.metrics import frame_metrics
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.training.parallel import PmapLauncher
from stlight_jax.training.step import make_copy_step

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 5, 16, 16, 1), dtype=np.uint8)  # three seen, two to predict


@dataclasses.dataclass
class Stored:
    def __len__(self):
        return len(FRAMES)

    def frames(self, indices, epoch=0):
        return FRAMES[indices]


def half_step(variables, frames):
    """A "network" that predicts a grey of `variables` everywhere."""
    targets = frames[:, 3:].astype(jnp.float32) / 255
    return frame_metrics(jnp.full(targets.shape, variables), targets)


def test_all_three_rows_equal_numpy():
    config = STLightConfig(
        in_frames=3, out_frames=2, in_channels=1, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3
    )
    launcher = PmapLauncher()
    assert len(launcher.devices) == 8
    steps = (launcher.evaluate(half_step), launcher.evaluate(make_copy_step(STLight(config))))
    result = evaluate_with_baselines(*steps, launcher, jnp.float32(0.5), Stored(), 8, "testing")

    scaled = FRAMES / 255.0
    seen, targets = scaled[:, :3], scaled[:, 3:]
    assert result.model.count == result.copy_last_frame.count == 5
    squared = np.square(0.5 - targets).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(result.model.per_lead_time()["mse"], squared, rtol=1e-5)
    copied = np.abs(seen[:, -1:] - targets).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(result.copy_last_frame.per_lead_time()["mae"], copied, rtol=1e-5)
    image = targets.mean((0, 1))
    constant = np.square(image - targets).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(result.best_constant_image_mse, constant, rtol=1e-9)

    alone = evaluate(steps[0], launcher, jnp.float32(0.5), Stored(), 16, "testing")
    assert alone.count == 5
    np.testing.assert_allclose(alone.per_lead_time()["mse"], squared, rtol=1e-5)


def test_an_evaluation_can_be_abandoned():
    launcher = PmapLauncher()
    step = launcher.evaluate(half_step)
    assert evaluate(step, launcher, jnp.float32(0.5), Stored(), 8, "testing", abandon=lambda: True) is None
