"""Refused evaluations, and whole evaluations of unusual networks, on small files of own frames."""

import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.load import check_config, open_test
from stlight_jax.data.scaling import Scaling
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.runs import checkpoint
from stlight_jax.scoring import evaluate
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training.loop import train
from tests.conftest import ROOT, load_config

pytestmark = pytest.mark.compiled_fast


def make_run(folder, dtype=np.float64):
    """A config of six steps on two channels of 16 x 16 with different ranges, and its workdir."""
    random = np.random.default_rng(0)
    (folder / "raw").mkdir()
    for number in range(8):
        frames = random.random((14, 16, 16, 2)) * [1.0, 50.0]
        frames[:, 2, 3:5] = np.nan
        if dtype == np.uint16:
            frames = np.nan_to_num(frames * 1000, nan=65535)
        np.save(folder / "raw" / f"{number}.npy", frames.astype(dtype))
    config = load_config("tiny", "frames")
    config.model.update(in_frames=3, out_frames=2, hidden_dim=16, depth=2, patch_size=2, far_kernel=3)
    config.model.update(shortcut="none", input="frames")
    config.data.update(root=str(folder / "raw"), prepared=str(folder / "kept"), per_channel=True, clip="none")
    config.data.update(validation_fraction=0.1, test_fraction=0.2)
    config.train.update(ema_decay=0.0, batch_size=8, epochs=1, checkpoint_every=4, tensorboard=False)
    config.evaluation.update(batch_size=8, pictures=2)
    if dtype == np.uint16:
        config.data.fill_value = 65535.0
    return config, folder / "run"


@pytest.fixture
def run(tmp_path):
    """A run yet to be trained."""
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained run, on integers with a fill value; each test evaluates anew."""
    config, workdir = make_run(tmp_path_factory.mktemp("trained"), np.uint16)
    return config, workdir, train(config, workdir)


def predicted(config, workdir, state):
    """Predictions `[n, t, h, w, c]` for all test sequences, the truth, NaN where it is missing, and their MSE."""
    test = open_test(config)
    model = STLight(STLightConfig.from_section(check_config(config).model, test.shape[-1]))
    description = checkpoint.load_description(workdir / "checkpoints", int(state.step))
    frames, valid = Scaling.from_json(description["scaling"]).to_network(test.frames(np.arange(len(test))))
    prediction = np.asarray(jax.jit(model.apply)(jax.device_get(state.variables), frames[:, :3]), np.float64)
    truth = np.where(valid, frames, np.nan)[:, 3:, ..., : model.config.out_channels].astype(np.float64)
    return prediction, truth, np.nansum(np.square(prediction - truth), (2, 3, 4)).mean(1)


def test_fewer_channels_out_than_in_with_ranges_of_their_own_and_gaps(run):
    config, workdir = run
    config.model.out_channels = 1
    state = train(config, workdir)
    results = evaluate_workdir(workdir, "last", cycle=4)
    *_, mse = predicted(config, workdir, state)
    assert results["overall"]["stlight"]["mse"] == pytest.approx(mse.mean(), rel=1e-5)
    # One channel of 254 valid values; the constant image uses only these, too.
    assert 0 < results["overall"]["best_constant_image"]["mse"] < 254 / 4
    for name in ("stlight", "copy_last_frame", "mean_of_inputs", "climatology", "linear_fit", "pixel_ridge", "period_4"):
        assert np.isfinite(results["overall"][name]["mse"])
    assert results["baselines"]["period_4"]["sequences"] > 0
    assert "rmse_per_value" not in results


def test_the_page_on_the_folder_of_a_run_names_every_file_and_key(trained):
    _, workdir, _ = trained
    evaluate_workdir(workdir, "last", thresholds="400")
    page = (ROOT / "docs" / "reference" / "run_folder.md").read_text()
    named = {part for code in re.findall(r"`(.+?)`", page) for part in re.split("[/ ]", code)}
    folders = (workdir, workdir / "eval", next((workdir / "checkpoints").glob("[0-9]*")))
    assert {path.name for folder in folders for path in folder.iterdir()} <= named
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} <= named
    assert {key for line in lines if line["kind"] != "validation" for key in line} <= named
    assert json.loads((workdir / "eval" / "metrics.json").read_text()).keys() <= named


def test_the_page_and_the_metrics_know_single_sequences(trained):
    config, workdir, state = trained
    results = evaluate_workdir(workdir, "last", thresholds="400")
    kept = json.loads((workdir / "eval" / "metrics.json").read_text())
    assert kept["sequence_mse"] == results["sequence_mse"]
    prediction, truth, mse = predicted(config, workdir, state)
    assert len(mse) % 8  # the last batch is filled up
    order = np.argsort(mse)
    sequences = kept["sequence_mse"]
    assert [one["index"] for one in sequences["best"]] == order[:2].tolist()
    assert [one["index"] for one in sequences["worst"]] == order[::-1][:2].tolist()
    assert np.mean([one["mse"] for one in sequences["median"]]) == pytest.approx(np.median(mse[order[1:-1]]), rel=1e-2)
    for name, quantile in sequences["quantiles"].items():
        assert quantile == pytest.approx(np.quantile(mse, float(name)), rel=1e-5)
    assert kept["overall"]["stlight"]["mse"] == pytest.approx(mse.mean(), rel=1e-5)

    frames = open_test(config).frames(np.arange(len(mse))).astype(np.float64)
    true, copied = frames[:, 3:], frames[:, 2:3]
    valid = (true != 65535) & (copied != 65535)
    hits = (valid & (true >= 400) & (copied >= 400)).sum((0, 2, 3, 4))
    events = (valid & (true >= 400)).sum((0, 2, 3, 4))
    assert valid.sum() == (true != 65535).sum()  # missing in all frames alike
    np.testing.assert_allclose(kept["thresholds"]["400"]["per_lead_time"]["copy_last_frame"]["pod"], hits / events, rtol=1e-6)
    assert kept["thresholds"]["400"]["overall"].keys() == kept["baselines"].keys() | {"stlight"}
    assert kept["verdict"].startswith("Overall, STLight is")
    assert (workdir / "eval" / "table.txt").read_text().rstrip().endswith(kept["verdict"])

    def energy(frames):
        return sum(np.nansum(np.square(np.diff(frames, axis=axis)), (0, 2, 3, 4)) for axis in (2, 3))

    sharp = energy(np.where(np.isnan(truth), np.nan, prediction)) / energy(truth)
    np.testing.assert_allclose(kept["sharpness"]["per_lead_time"], sharp, rtol=1e-4)
    page = (workdir / "eval" / "report.html").read_text()
    assert f'<p class="verdict">{kept["verdict"]}</p>' in page
    for title in (f"Best: sequence {order[0]}", f"Best: sequence {order[1]}", f"Worst: sequence {order[-1]}"):
        assert page.count(f'"title":"{title}, channel 1"') == 1


def test_a_longer_horizon_is_rolled_out(trained, monkeypatch, capsys):
    _, workdir, _ = trained
    results = evaluate_workdir(workdir, "last", horizon=5)
    assert len(results["per_lead_time"]["stlight"]["mse"]) == 5
    assert len(results["sharpness"]["per_lead_time"]) == 5
    assert len(results["per_lead_time"]["pixel_ridge"]["mse"]) == 5

    def lost(config):
        raise InputError("the training frames are lost")

    monkeypatch.setattr(evaluate, "open_training", lost)
    results = evaluate_workdir(workdir, "last", horizon=5, cycle=4)
    assert len(results["per_lead_time"]["period_4"]["mse"]) == 5
    assert results["baselines"].keys() == {"copy_last_frame", "mean_of_inputs", "optical_flow", "period_4"}
    assert "no baselines from training data: the training frames are lost" in capsys.readouterr().err


def test_data_that_have_changed_are_refused_unless_they_are_named(trained):
    config, workdir, _ = trained
    another = pathlib.Path(config.data.root) / "8.npy"
    np.save(another, np.random.default_rng(1).integers(0, 1000, (14, 16, 16, 2), np.uint16))
    try:
        with pytest.raises(InputError, match="the data have changed since training, .* give --data_root"):
            evaluate_workdir(workdir)
        results = evaluate_workdir(workdir, data_root=config.data.root)
    finally:
        another.unlink()
    assert results["checkpoints"].keys() <= {"best", "last"}
    assert "trained on other data" in results["test_set"]["remark"]
    assert "trained on other data" in (workdir / "eval" / "table.txt").read_text()


def test_other_test_data_need_the_same_type(trained, tmp_path):
    _, workdir, _ = trained
    for name, frames in (
        ("other", np.random.default_rng(1).integers(0, 1000, (60, 16, 16, 2), np.uint16)),
        ("floats", np.random.default_rng(1).random((60, 16, 16, 2))),
    ):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", frames)
    # The same key, other files, without missing values.
    assert evaluate_workdir(workdir, data_root=str(tmp_path / "other"))["test_set"]["sequences"] == 8
    with pytest.raises(InputError, match="has dtype float32; the network was trained on dtype uint16"):
        evaluate_workdir(workdir, data_root=str(tmp_path / "floats"))


@pytest.mark.long
@pytest.mark.parametrize("size", [(5, 5), (1, 1)])
def test_frames_smaller_than_the_window_of_ssim_train_and_have_all_other_metrics(run, tmp_path, size):
    config, workdir = run
    for path in (tmp_path / "raw").iterdir():
        np.save(path, np.load(path)[:, : size[0], : size[1]])
    config.data.layout = "thwc"  # of frames of 1 x 1 with two channels, it is not guessed
    train(config, workdir)
    overall = evaluate_workdir(workdir)["overall"]["stlight"]
    assert overall["mse"] > 0
    assert overall["ssim"] is None or np.isnan(overall["ssim"])


def test_a_training_may_replace_the_checkpoint_while_it_is_evaluated(trained, tmp_path, monkeypatch):
    _, workdir, _ = trained
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    identity = checkpoint.fingerprint(copy / "checkpoints" / str(checkpoint.choose_step(copy / "checkpoints", "best")))
    load = evaluate.load_models

    def then_removed(*given):
        loaded = load(*given)
        shutil.rmtree(copy / "checkpoints")
        return loaded

    monkeypatch.setattr(evaluate, "load_models", then_removed)
    evaluate_workdir(copy, "best")
    assert f"SHA-256 {identity}" in (copy / "eval" / "report.html").read_text()


def test_a_checkpoint_that_is_replaced_before_it_is_read_is_a_clear_error(trained, tmp_path, monkeypatch):
    _, workdir, _ = trained
    shutil.copytree(workdir, tmp_path / "run")
    monkeypatch.setattr("stlight_jax.scoring.run_to_evaluate._choose", lambda *_: {"best": 1_000})
    with pytest.raises(InputError, match="1000.* was removed meanwhile: a training in .*run has replaced.*evaluate again"):
        evaluate_workdir(tmp_path / "run", "best")
