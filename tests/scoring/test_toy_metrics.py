"""A metric or a baseline is one object and one line in its list: every result and report then has it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax.data.scaling import Scaling
from stlight_jax.metrics import input_baselines, metric_list
from stlight_jax.metrics.input_baselines import InputBaseline
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.reports import comparison
from stlight_jax.reports.results_text import results_text
from stlight_jax.runs.checkpoint_writer import CheckpointWriter
from stlight_jax.scoring import evaluate, run_to_evaluate
from stlight_jax.scoring.score import score_files
from stlight_jax.training.saved_state import to_trees
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.state import create_state, make_optimizer
from tests.forecasting.line import Line, run, saved
from tests.scoring.toy_metrics import BRIGHTNESS, LARGEST

pytestmark = pytest.mark.compiled_fast


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    monkeypatch.setattr(metric_list, "METRICS", (*metric_list.METRICS, LARGEST, BRIGHTNESS))
    first = InputBaseline("first_frame", "the first frame", lambda inputs, valid: inputs[:, :1])
    monkeypatch.setattr(input_baselines, "INPUT_BASELINES", (*input_baselines.INPUT_BASELINES, first))


def largest(prediction, truth):
    """By NumPy: of frames `[n, t, h, w, c]` in [0, 1], `[t]`."""
    return 255 * np.abs(prediction - truth).max((2, 3, 4)).mean(0)


def assert_shown(table, page):
    assert "Largest" in table
    assert "Largest: the largest error of a pixel." in table
    assert '<th scope="col">Largest</th>' in page
    assert "Brightness: the mean of all predicted values. Measured on" in page
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert "Largest (grey levels)" in [view["name"] for view in data["charts"][0]["views"]]
    assert "Brightness against lead time" in [chart["title"] for chart in data["charts"]]


def test_an_evaluation_has_the_metric_in_json_tables_and_page(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_to_evaluate, "make_launcher", functools.partial(make_launcher, devices=jax.devices()[:1]))
    monkeypatch.setenv("COLUMNS", "120")
    setup = TrainingSetup(small_run)
    with CheckpointWriter(tmp_path / "run" / "checkpoints", 1) as writer:
        state = create_state(setup.model, make_optimizer(small_run.optimizer), 0, setup.training.shape[1:])
        writer.save(2, to_trees(state.replace(step=jnp.int32(2))), setup.description, {"mse": 1.0})
    results = evaluate.evaluate_workdir(tmp_path / "run", "last")
    frames = evaluate.open_test(setup.config).frames(np.arange(5)) / 255.0
    expected = largest(frames[:, 2:3], frames[:, 3:])
    np.testing.assert_allclose(results["per_lead_time"]["copy_last_frame"]["largest"], expected, rtol=1e-5)
    assert results["overall"]["copy_last_frame"]["largest"] == pytest.approx(expected.mean(), rel=1e-5)
    squares = np.square(frames[:, :1] - frames[:, 3:]).sum((2, 3, 4)).mean()
    assert results["overall"]["first_frame"]["mse"] == pytest.approx(squares, rel=1e-5)
    kept = json.loads((tmp_path / "run" / "eval" / "metrics.json").read_text())
    assert kept["per_lead_time"]["stlight"]["largest"] == results["per_lead_time"]["stlight"]["largest"]
    assert kept["brightness"] == results["brightness"]
    assert kept["brightness"]["sequences"] == 5
    table = (tmp_path / "run" / "eval" / "table.txt").read_text()
    assert "the first frame" in table
    assert f"{expected.mean():.5f}"[:6] in table
    shown = capsys.readouterr().out
    assert f"all tables, and their definitions: {tmp_path}/run/eval/table.txt" in shown
    assert "SSIM per lead time" in table
    assert "SSIM per lead time" not in shown
    assert len(shown.splitlines()) < 45 < len(table.splitlines())
    assert_shown(table, (tmp_path / "run" / "eval" / "report.html").read_text())


def test_the_comparison_has_the_metric_where_it_is_published():
    published = {"name": "STLight-X", "parameters": 1.5, "flops": 2.5, "note": "", "largest": 12.125}
    table = {
        "dataset": "moving_mnist", "title": "X", "source": "a paper", "recipe": "100 epochs", "metrics": ["mse", "largest"],
        "rows": [published], "this_size": "STLight-X", "network": {"parameters": 1.5, "flops": 2.5}, "differences": [],
        "chosen_on_test_set": False, "comparable": True,
    }  # fmt: skip
    assert comparison.paper_result(table) == {"largest": 12.125}
    text = comparison.as_text(table, {"STLight, best": {"mse": 1.0, "largest": 13.5}})
    for shown in ("Largest", "12.125", "13.500"):
        assert shown in text


def test_a_forecast_with_truth_has_the_metric_in_json_tables_and_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (12, 19, 17, 1)).astype(np.float32)
    model = Line(scaling=Scaling("float32", (0.0,), (255.0,)))
    results = run(saved(tmp_path / "a.npy", frames), model, start=-2, out="b.npy", report="b.html", json="b.json")
    expected = largest(model.of(frames[None, 7:10], 2) / 255, frames[None, 10:] / 255)
    np.testing.assert_allclose(results["per_lead_time"]["stlight"]["largest"], expected, rtol=1e-5)
    kept = json.loads((tmp_path / "b.json").read_text())
    assert kept["overall"]["stlight"]["largest"] == pytest.approx(expected.mean(), rel=1e-5)
    np.testing.assert_allclose(kept["brightness"]["per_lead_time"], np.load(tmp_path / "b.npy").mean((1, 2)) / 255, rtol=1e-5)
    assert_shown(results_text(results), (tmp_path / "b.html").read_text())
    shown = capsys.readouterr().out
    assert "all tables, and their definitions: b.html" in shown
    assert "SSIM per lead time" not in shown


def test_scores_of_saved_predictions_have_the_metric(tmp_path, capsys):
    prediction, truth = np.random.default_rng(0).random((2, 3, 2, 18, 15, 1)).astype(np.float32)
    for name, frames in (("a", prediction), ("b", truth)):
        np.save(tmp_path / f"{name}.npy", frames)
    score_files(tmp_path / "a.npy", tmp_path / "b.npy", json=tmp_path / "c.json")
    kept = json.loads((tmp_path / "c.json").read_text())
    np.testing.assert_allclose(kept["per_lead_time"]["largest"], largest(prediction, truth), rtol=1e-5)
    assert "Largest" in capsys.readouterr().out
