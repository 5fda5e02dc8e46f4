"""Earlier frames of a network with periods, in a forecaster and in an exported program."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference import export, trained
from stlight_jax.inference.frame_input import FrameInput
from stlight_jax.model.context import plan_context
from tests.periodic import BYTES, CONFIG, copying, frames_at, with_step

pytestmark = pytest.mark.compiled_fast


@pytest.mark.parametrize(("rollout", "horizon"), [("blocks", 2), ("blocks", 31), ("frames", 27)])
def test_a_periodic_sequence_is_continued_exactly(rollout, horizon):
    forecaster = Forecaster(copying(), rollout=rollout)
    count = forecaster.frames_needed(horizon)
    assert count == 25  # the last input frame is 24 steps after the first
    frames = frames_at(np.arange(count))
    np.testing.assert_array_equal(forecaster(frames, horizon), frames_at(count + np.arange(horizon)))
    batch = np.stack([frames_at(np.arange(7, 100)), frames_at(np.arange(9, 102))])
    expected = np.stack([frames_at(100 + np.arange(horizon)), frames_at(102 + np.arange(horizon))])
    np.testing.assert_array_equal(forecaster(batch, horizon), expected)


def test_history_and_input_frames_can_be_given_without_the_frames_between():
    forecaster = Forecaster(copying())
    times = [frame.time for frame in forecaster.history(5)]
    assert times == [-24, -23, -22, -21, -20, -19, -18]
    frames = frames_at([*times, -2, -1, 0])
    np.testing.assert_array_equal(forecaster(frames, 5, history_first=True), frames_at(np.arange(1, 6)))
    with pytest.raises(InputError, match="frames are 9; expected 7 of the history and 3"):
        forecaster(frames[1:], 5, history_first=True)


MEANS = dataclasses.replace(CONFIG, periods=(), mean_periods=(24,))  # copied by the shortcut


@pytest.mark.parametrize("kind", ["float", "integers", "masked"])
def test_means_are_those_of_all_given_frames_of_their_phase(kind):
    model, count = copying(MEANS), 24 * 3 + 20
    values = np.random.default_rng(4).integers(0, 250, (count, 8, 6, 1))
    missing = np.random.default_rng(5).random(values.shape) < 0.3
    missing[-3:] = False
    frames = {
        "float": np.where(missing, np.nan, values).astype(np.float32),
        "integers": np.where(missing, 255, values).astype(np.uint8),
        "masked": np.ma.MaskedArray(values, missing),
    }[kind]
    model.description["scaling"] = {**BYTES, "missing": True, "fill": 255.0, "filling": [0.5]}
    found = Forecaster(model)(frames, 5, dtype="float32")
    for lead in range(1, 6):
        of_phase = slice((count - 1 + lead) % 24, count, 24)
        valid = ~missing[of_phase]
        assert valid.any(0).mean() > 0.9
        total, number = (values[of_phase] * valid).sum(0), valid.sum(0)
        expected = np.where(number, total / np.maximum(number, 1), values[-1] if lead < 3 else np.nan)
        known = ~np.isnan(expected)
        np.testing.assert_allclose(found[lead - 1][known], expected[known], atol=1e-3)


def test_more_frames_than_means_need_are_used(capsys):
    forecaster = Forecaster(copying(MEANS))
    assert forecaster.frames_needed() == 25
    assert forecaster.history() == ((-24, 24), (-23, 24), (-22, 24))
    frames = np.random.default_rng(4).integers(0, 250, (800, 8, 6, 1)).astype(np.float32)
    expected = np.stack([frames[-24 * 30 + lead :: 24][:30].mean(0) for lead in (0, 1)])
    np.testing.assert_allclose(forecaster(frames), expected, atol=1e-3)
    assert "800 frames are given; the last 721 are used" in capsys.readouterr().err
    means = np.stack([frames[-24 * 30 + lead :: 24][:30].mean(0) for lead in (-1, 0, 1)])
    given = np.concatenate([means, frames[-3:]])
    np.testing.assert_allclose(forecaster(given, history_first=True), expected, atol=1e-3)


@pytest.mark.parametrize("periods", [{"periods": ()}, {"periods": (24,)}, {"periods": (), "mean_periods": (24,)}])
def test_frames_that_a_network_does_not_see_take_no_memory(periods):
    config = dataclasses.replace(CONFIG, **periods)
    frames = np.zeros((4000, 32, 32, 1), np.float32)  # 16 MB
    frames[0] = np.nan
    tracemalloc.start()
    given = FrameInput.from_array(frames, config, Scaling(), "the network", np.float32, plan_context(config, 2).history)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6
    assert (given.valid, given.count) == (None, 4000)


def test_means_of_frames_two_steps_apart_leave_out_the_frames_between():
    forecaster = Forecaster(copying(dataclasses.replace(MEANS, frame_step=2, mean_periods=(5,))))
    assert forecaster.history() == ((-5, 5), (-3, 5), (-1, 5))  # of these, every other frame lies on a step
    frames = np.random.default_rng(4).integers(0, 250, (40, 8, 6, 1)).astype(np.float32)
    times = np.arange(-78, 1, 2)
    expected = [frames[np.isin(times, np.arange(latest, -79, -10))].mean(0) for latest in (-8, -6)]
    np.testing.assert_allclose(forecaster(frames), expected, atol=1e-3)


def test_frames_two_steps_apart_show_the_history_that_lies_on_them():
    forecaster = Forecaster(copying(with_step(2)))
    times = np.arange(-2 * forecaster.frames_needed(4) + 2, 1, 2)
    assert times[0] == -24
    np.testing.assert_array_equal(forecaster(frames_at(times), 4), frames_at([2, 4, 6, 8]))


def test_earlier_frames_that_are_not_given_are_the_last_frame(capsys):
    forecaster = Forecaster(copying())
    frames = frames_at(np.arange(10))
    np.testing.assert_array_equal(forecaster(frames), np.repeat(frames[-1:], 2, 0))
    forecaster(frames)
    shown = " ".join(capsys.readouterr().err.split())
    sentence = (
        "3 of the 3 earlier frames that the copying network sees (data.periods=24) are not "
        "among the 10 frames and count as missing; give the last 25 frames"
    )
    assert shown.count(sentence) == 1


def test_a_pixel_without_input_values_stays_missing_although_the_history_has_it():
    frames = frames_at(np.arange(24)).astype(np.float32)
    frames[-3:, 1, 2] = np.nan
    frames[3, 4, 4] = np.nan
    prediction = Forecaster(copying())(frames)
    expected = frames_at([24, 25]).astype(np.float32)
    expected[:, 1, 2] = np.nan
    np.testing.assert_allclose(prediction, expected, atol=1e-4)
    with pytest.raises(InputError, match="all values are missing"):
        Forecaster(copying())(np.where(np.arange(24)[:, None, None, None] < 21, frames, np.nan))


def test_tiles_and_files_keep_the_context(tmp_path):
    model = dataclasses.replace(copying(), source="the file")
    trained.write(tmp_path / "weights.stlight", model)
    trained.write(tmp_path / "program.stlight", export.export_model(model, platforms=("cpu",)))
    frames, expected = frames_at(np.arange(24)), frames_at(np.arange(24, 29))
    for name in ("weights", "program"):
        forecaster = Forecaster.load(tmp_path / f"{name}.stlight", tile=4)
        assert forecaster.model.periods == CONFIG.periods
        np.testing.assert_array_equal(forecaster(frames, 5), expected)
