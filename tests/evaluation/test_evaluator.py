"""Every number of an evaluation against NumPy on the whole set, with a filled-up last batch on eight devices."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.baselines import EvaluatedFrames, PeriodBaseline
from stlight_jax.evaluation.eval_steps import make_baseline_step, make_eval_step, make_given_step
from stlight_jax.evaluation.evaluator import BestConstantImage, EvaluationSteps, evaluate, evaluate_with_baselines
from stlight_jax.evaluation.samples import Samples
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.metrics.input_baselines import INPUT_BASELINES, copy_last_frame, mean_of_inputs
from stlight_jax.metrics.metric_sums import frame_metrics
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.parallel.launchers import PmapLauncher

SEEN, AHEAD = 3, 2
MODEL = STLight(
    STLightConfig(
        in_frames=SEEN, out_frames=AHEAD, in_channels=1, out_channels=1, hidden_dim=8, depth=2, patch_size=2, far_kernel=3
    )
)


class Stored:
    """Five windows of an array `[t, h, w, c]`."""

    def __init__(self, array, scaling):
        self.array, self.scaling = array, scaling
        self.shape = (SEEN + AHEAD, *array.shape[1:])
        self.description = {"name": "an array"}

    def __len__(self):
        return 5

    def frames(self, indices, epoch=0):
        return np.stack([self.array[20 + i : 20 + i + SEEN + AHEAD] for i in indices])

    def frames_before(self, indices, steps, epoch=0):
        wanted = 20 + SEEN + AHEAD - 1 + np.asarray(indices)[:, None] - np.asarray(steps)
        return self.array[np.maximum(wanted, 0)], wanted >= 0


def grey_step(scaling):
    """A "network" that predicts a grey of `variables` everywhere."""

    def step(variables, frames):
        targets, valid = scaling.to_network(frames[:, SEEN:])
        return frame_metrics(jnp.full(targets.shape, variables), targets, valid)

    return step


def run(source, models, cycle=0, frame_step=1):
    launcher = PmapLauncher()
    assert len(launcher.devices) == 8
    baselines = {baseline.key: baseline.predict for baseline in INPUT_BASELINES}
    steps = EvaluationSteps(
        launcher.compile_eval_step(grey_step(source.scaling)),
        {
            name: launcher.compile_eval_step(make_baseline_step(predict, MODEL, source.scaling))
            for name, predict in baselines.items()
        },
        launcher.compile_eval_step(make_given_step(MODEL, source.scaling)),
    )
    data = EvaluatedFrames(source, source.scaling, SEEN, 1, frame_step)
    periods = [PeriodBaseline(data, cycle, f"evaluation.cycle is {cycle}")] if cycle else []
    return evaluate_with_baselines(steps, launcher, models, data, 8, periods)


def test_every_row_equals_numpy():
    source = Stored(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1), dtype=np.uint8), Scaling())
    result = run(source, {"best": jnp.float32(0.5), "last": jnp.float32(0.25)}, cycle=22)
    scaled = source.frames(range(5)) / 255.0
    seen, targets = scaled[:, :SEEN], scaled[:, SEEN:]

    def squared(prediction, targets=targets):
        return np.square(prediction - targets).sum((2, 3, 4)).mean(0)

    assert result.models["best"].count == result.baselines["copy_last_frame"].sums.count == 5
    for sums, prediction in (
        (result.models["best"], 0.5),
        (result.models["last"], 0.25),
        (result.baselines["copy_last_frame"].sums, seen[:, -1:]),
        (result.baselines["mean_of_inputs"].sums, seen.mean(1, keepdims=True)),
    ):
        np.testing.assert_allclose(sums.per_lead_time()["mse"], squared(prediction), rtol=1e-5)
    np.testing.assert_allclose(result.best_constant_image_mse, squared(targets.mean((0, 1))), rtol=1e-9)
    np.testing.assert_allclose(result.sequence_mse, np.square(0.5 - targets).sum((2, 3, 4)).mean(1), rtol=1e-5)
    # 22 steps before the first target of window i is frame i + 1, so all are known; 24 steps before, the first one is unknown.
    assert result.baselines["period_22"].sums.count == 5
    before = np.stack([source.array[i + 1 : i + 1 + AHEAD] for i in range(5)]) / 255.0
    np.testing.assert_allclose(result.baselines["period_22"].sums.per_lead_time()["mse"], squared(before), rtol=1e-5)
    later = run(source, {"best": jnp.float32(0.5)}, cycle=24).baselines["period_24"]
    assert (later.sums.count, later.network.count) == (4, 4)
    before = np.stack([source.array[i - 1 : i - 1 + AHEAD] for i in range(1, 5)]) / 255.0
    np.testing.assert_allclose(later.sums.per_lead_time()["mse"], squared(before, targets[1:]), rtol=1e-5)
    np.testing.assert_allclose(later.network.per_lead_time()["mse"], squared(0.5, targets[1:]), rtol=1e-5)


def test_missing_values_count_nowhere():
    random = np.random.default_rng(1)
    array = random.uniform(5, 9, (30, 16, 16, 1)).astype(np.float32)
    array[:, :4, 3:] = np.nan
    array[24] = np.nan  # the second target of window 0, the first of window 1
    source = Stored(array, Scaling("float32", (5.0,), (9.0,), missing=True, filling=(0.5,)))
    result = run(source, {"best": jnp.float32(0.25)})
    targets = ((source.frames(range(5)) - 5) / 4)[:, SEEN:].astype(np.float64)
    judged = ~np.isnan(targets).all((2, 3, 4))
    assert judged.sum() == 8
    squared = np.nansum(np.square(0.25 - targets), (2, 3, 4))
    np.testing.assert_allclose(result.models["best"].per_lead_time()["mse"], squared.sum(0) / judged.sum(0), rtol=1e-5)
    constant = np.nanmean(targets, (0, 1))
    expected = np.nansum(np.square(constant - targets), (2, 3, 4)).sum(0) / judged.sum(0)
    np.testing.assert_allclose(result.best_constant_image_mse, expected, rtol=1e-9)
    assert np.isfinite(result.models["best"].overall()["ssim"])
    np.testing.assert_allclose(result.sequence_mse, squared.sum(1) / judged.sum(1), rtol=1e-5)
    np.testing.assert_allclose(result.sequence_error, np.nanmean(np.square(0.25 - targets), (1, 2, 3, 4)), rtol=1e-5)
    per_value = np.sqrt(np.nanmean(np.square(0.25 - targets)))
    assert result.models["best"].rmse_per_value() == pytest.approx(per_value, rel=1e-5)


def test_windows_without_inputs_or_targets_leave_the_metrics_finite():
    array = np.random.default_rng(1).uniform(5, 9, (30, 16, 16, 1)).astype(np.float32)
    array[20:23] = np.nan  # the inputs of window 0
    array[25:] = np.nan  # the targets of windows 2, 3 and 4
    source = Stored(array, Scaling("float32", (5.0,), (9.0,), missing=True, filling=(0.5,)))
    result = run(source, {"best": jnp.float32(0.25)})
    targets = ((source.frames(range(5)) - 5) / 4)[:, SEEN:].astype(np.float64)
    squares = np.nansum(np.square(0.25 - targets), (2, 3, 4))
    judged = ~np.isnan(targets).all((2, 3, 4))
    assert 0 < judged.sum() < judged.size
    assert result.models["best"].overall()["mse"] == pytest.approx(squares.sum() / judged.sum(), rel=1e-5)
    for sums in (*result.models.values(), *(baseline.sums for baseline in result.baselines.values())):
        assert np.isfinite(list(sums.overall().values())).all()
    np.testing.assert_array_equal(np.isnan(result.sequence_mse), ~judged.any(1))


def test_constant_channels_are_predicted_as_they_were():
    frames = np.random.default_rng(1).uniform(1, 9, (2, SEEN + AHEAD, 16, 16, 2)).astype(np.float32)
    frames[..., 1] = 4
    frames[1, SEEN:, ..., 1] = 5.5
    scaling = Scaling("float32", (1.0, 4.0), (9.0, 4.0))
    model = types.SimpleNamespace(
        config=dataclasses.replace(MODEL.config, in_channels=2, out_channels=2),
        apply=lambda _, seen, valid: jnp.ones((len(seen), AHEAD, *seen.shape[2:])),  # white everywhere
    )
    scores = make_eval_step(model, scaling)({}, jnp.asarray(frames))
    first = np.square((9 - frames[:, SEEN:, ..., 0].astype(np.float64)) / 8).sum((2, 3))
    np.testing.assert_allclose(scores["mse"], first + np.array([[0.0], [1.5**2 * 256]]), rtol=1e-5)


def test_metrics_are_of_values_transformed_back_and_clipped():
    """A network that predicts 2 in its range, sqrt(x) / 10: the value 400, clipped at 150; the last frame 25."""
    frames = np.random.default_rng(1).uniform(0, 100, (2, SEEN + AHEAD, 16, 16, 1)).astype(np.float32)
    frames[:, SEEN - 1] = 25
    scaling = Scaling("float32", (0.0,), (100.0,), transform="sqrt", clip_low=(30.0,), clip_high=(150.0,))
    seen_by_network = []

    def apply(_, seen, valid):
        seen_by_network.append(seen)
        return jnp.full((len(seen), AHEAD, *seen.shape[2:]), 2.0)

    model = types.SimpleNamespace(config=MODEL.config, apply=apply)
    scores = make_eval_step(model, scaling)({}, jnp.asarray(frames))
    np.testing.assert_allclose(seen_by_network[0], np.sqrt(frames[:, :SEEN]) / 10, rtol=1e-5)
    targets = frames[:, SEEN:].astype(np.float64)
    np.testing.assert_allclose(scores["mse"], np.square((150 - targets) / 100).sum((2, 3, 4)), rtol=1e-5)
    copied = make_baseline_step(lambda inputs, valid: inputs[:, -1:], model, scaling)({}, jnp.asarray(frames))
    np.testing.assert_allclose(copied["mse"], np.square((30 - targets) / 100).sum((2, 3, 4)), rtol=1e-5)


@pytest.mark.parametrize("tile", [16, 64])
def test_the_step_and_the_samples_are_of_the_forecasts_of_a_forecaster_in_tiles(grey, tile):
    """Four frames, of which the network predicts two at a time."""
    frames = np.random.default_rng(1).integers(0, 256, (2, SEEN + 4, 30, 41, 1), dtype=np.uint8)
    forecast = Forecaster(grey, tile=tile)(frames[:, :SEEN], horizon=4, dtype=np.float64)
    model = STLight(grey.config)
    scores = make_eval_step(model, grey.scaling, tile=tile)(grey.variables, jnp.asarray(frames))
    expected = np.square((forecast - frames[:, SEEN:]) / 255).sum((2, 3, 4))
    np.testing.assert_allclose(scores["mse"], expected, rtol=1e-4)
    source = types.SimpleNamespace(frames=lambda indices: frames[indices])
    sample = Samples(source, model, grey.variables, grey.scaling, tile).all(np.arange(2))
    np.testing.assert_allclose(sample.prediction, forecast / 255, rtol=1e-4, atol=1e-4 * np.abs(forecast / 255).max())


def test_baselines_use_the_valid_values():
    # The last frame lacks its left half, and one pixel is missing in all frames.
    array = np.random.default_rng(2).uniform(0, 1, (30, 16, 16, 1)).astype(np.float32)
    array[22 : 22 + 5, :, :8] = np.nan
    array[:, 3, 3] = np.nan
    source = Stored(array, Scaling("float32", (0.0,), (1.0,), missing=True, filling=(0.75,)))
    window = source.frames([0])  # frames 20 to 24: its inputs are 20, 21 and 22
    seen, targets = window[:, :SEEN], window[:, SEEN:]
    launcher = PmapLauncher()

    def mse(baseline):
        step = launcher.compile_eval_step(make_baseline_step(baseline, MODEL, source.scaling))
        return launcher.join(step(np.float32(0), launcher.split(np.repeat(window, 8, 0))))["mse"][0]

    last = np.where(np.isnan(seen[:, 2]), seen[:, 1], seen[:, 2])[:, None]
    np.testing.assert_allclose(mse(copy_last_frame), np.nansum(np.square(last - targets), (0, 2, 3, 4)), rtol=1e-5)
    mean = np.nanmean(seen, 1, keepdims=True)
    np.testing.assert_allclose(mse(mean_of_inputs), np.nansum(np.square(mean - targets), (0, 2, 3, 4)), rtol=1e-5)


def test_a_short_period_is_repeated_and_looks_at_no_future_frame():
    source = Stored(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1), dtype=np.uint8), Scaling())
    result = run(source, {"best": jnp.float32(0.5)}, cycle=1).baselines["period_1"]
    # Window i has the inputs 20 + i to 22 + i. One step before its first target is its last input; for the second target, that
    # is two steps before.
    copied = np.stack([source.array[22 + i] for i in range(5)])[:, None] / 255.0
    squared = np.square(copied - source.frames(range(5))[:, SEEN:] / 255.0).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(result.sums.per_lead_time()["mse"], squared, rtol=1e-5)


def test_an_evaluation_alone_and_abandoned():
    source = Stored(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 1), dtype=np.uint8), Scaling())
    launcher = PmapLauncher()
    step = launcher.compile_eval_step(grey_step(source.scaling))
    alone = evaluate(step, launcher, jnp.float32(0.5), source, 16, "testing")
    squared = np.square(0.5 - source.frames(range(5))[:, SEEN:] / 255.0).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(alone.per_lead_time()["mse"], squared, rtol=1e-5)
    assert evaluate(step, launcher, jnp.float32(0.5), source, 8, "testing", abandon=lambda: True) is None


def test_best_constant_image_equals_the_direct_search():
    targets = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 5, 2), dtype=np.uint8)
    constant = BestConstantImage()
    scaled = targets / 255.0
    constant.add(scaled[:4])
    constant.add(scaled[4:])
    image = scaled.mean((0, 1))
    expected = np.square(scaled - image).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(constant.mse_per_lead_time(), expected, rtol=1e-12)
