"""The declared runs and their records: equal cost, resumption, failures, and the rule by which findings are derived."""

import dataclasses
import functools
import json
import math
import os
import types

import pytest

from benchmarks.study import cost, findings, page, runner, runs
from benchmarks.study.designs import DESIGNS, LINEAR, NETWORKS
from benchmarks.study.questions import QUESTIONS
from benchmarks.study.runs import Run
from benchmarks.study.tasks import TASKS
from stlight_jax.data.load import check_config, network_config
from stlight_jax.errors import InputError, NonFiniteLossError
from stlight_jax.storage.locks import locked
from stlight_jax.training.loop import train
from tests.conftest import small_config


def test_every_run_is_a_valid_config_of_its_task():
    for run in runs.all_runs().values():
        config = check_config(run.config("data"))
        assert (config.train.seed, config.train.steps, config.optimizer.learning_rate) == (run.seed, run.steps, run.rate)
        assert config.data.root == f"data/{TASKS[run.task].folder}"


def test_all_designs_of_a_question_see_equally_many_sequences():
    for question in QUESTIONS.values():
        configs = [run.config("") for design in question.designs for run in runs.runs_of(question, design)]
        assert len({config.train.steps * config.train.batch_size for config in configs}) == 1


def multiply_accumulates(design, task):
    run = Run("", design, task, 1e-3, 1)
    shape = network_config(check_config(run.config("")))
    return multiply_accumulates_of(DESIGNS[design].network, shape, run.config("").data.image_size)


@functools.cache
def multiply_accumulates_of(network, shape, side):
    return cost.multiply_accumulates(NETWORKS[network], shape, side, side)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, each in QUESTIONS.items() if each.task == "mnist32"])
def test_designs_of_equal_cost_have_equal_multiply_accumulates_within_3_percent(name):
    question = QUESTIONS[name]
    trained = [design for design in question.designs if DESIGNS[design].network != LINEAR]
    if question.equal_cost or name == "others":
        reference = multiply_accumulates(question.best, question.task)
        for design in trained:
            assert multiply_accumulates(design, question.task) == pytest.approx(reference, rel=0.03), design


def test_questions_share_the_runs_of_equal_designs():
    of_rates = {run.name for run in runs.runs_of(QUESTIONS["rate"], "rate_0.01")}
    assert of_rates < {run.name for run in runs.runs_of(QUESTIONS["others"], "stlight")}
    assert {run.name for run in runs.runs_of(QUESTIONS["skip"], "paper")} <= {
        run.name for run in runs.runs_of(QUESTIONS["others"], "stlight")
    }


def test_runs_are_chosen_by_question_or_by_name():
    chosen = {(run.design, run.seed) for run in runs.chosen_runs(["skip"])}
    assert chosen == {(design, seed) for design in ("paper", "no_skip", "wide_skip") for seed in (1, 2)}
    one = runs.chosen_runs(["mnist32-paper-0.003-seed1"])
    assert [(run.task, run.rate, run.seed) for run in one] == [("mnist32", 3e-3, 1)]
    with pytest.raises(InputError, match="--only: no question or run 'skipp'"):
        runs.chosen_runs(["skipp"])


@pytest.fixture
def two_runs():
    return list(runs.all_runs().values())[:2]


def test_a_run_that_has_ended_is_skipped_and_one_that_was_killed_starts_again(two_runs, tmp_path, monkeypatch):
    performed = []

    def killed(run, data, workdir):
        raise KeyboardInterrupt

    def done(run, data, workdir):
        performed.append(run.name)
        workdir.mkdir(parents=True)
        return {"state": runner.DONE, "metrics": {"mse": 1.23456789}}

    carry_out = functools.partial(runner.carry_out, two_runs, "data", tmp_path / "records", tmp_path / "workdirs", 0)
    monkeypatch.setattr(runner, "perform", killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out()
    started = runner.read_records(tmp_path / "records")
    assert {name: (each["state"], each["starts"]) for name, each in started.items()} == {two_runs[0].name: ("started", 1)}
    monkeypatch.setattr(runner, "perform", done)
    carry_out()
    carry_out()
    assert performed == [run.name for run in two_runs]
    records = runner.read_records(tmp_path / "records")
    assert [records[run.name]["starts"] for run in two_runs] == [2, 1]
    assert records[two_runs[0].name]["metrics"] == {"mse": 1.234568}
    assert {"learning_rate", "seed", "steps", "environment", "begun", "load"} <= records[two_runs[0].name].keys()
    assert not list((tmp_path / "workdirs").iterdir())


def test_a_run_of_another_process_is_passed_over(two_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "perform", lambda run, data, workdir: {"state": runner.DONE})
    (tmp_path / "workdirs" / two_runs[0].name).mkdir(parents=True)
    with locked(tmp_path / "workdirs" / two_runs[0].name, ""):
        runner.carry_out(two_runs, "data", tmp_path / "records", tmp_path / "workdirs", 0)
    assert list(runner.read_records(tmp_path / "records")) == [two_runs[1].name]
    assert f"{two_runs[0].name} is carried out by process {os.getpid()}" in capsys.readouterr().err


def test_no_run_starts_after_the_minutes_are_over(two_runs, tmp_path, monkeypatch, capsys):
    clock = iter([0.0, 30.0, 90.0])
    monkeypatch.setattr(runner, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(runner, "perform", lambda run, data, workdir: {"state": runner.DONE})
    runner.carry_out(two_runs, "data", tmp_path / "records", tmp_path, minutes=1)
    assert list(runner.read_records(tmp_path / "records")) == [two_runs[0].name]
    assert f"the time of 1 minutes is over; the next run is {two_runs[1].name}" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_a_run_and_is_recorded(two_runs, tmp_path, monkeypatch):
    def diverging(*args, **kwargs):
        raise NonFiniteLossError("step 7: the loss is nan")

    monkeypatch.setattr(runner, "train", diverging)
    result = runner.perform(two_runs[0], "data", tmp_path)
    assert (result["state"], result["message"]) == (runner.NOT_FINITE, "step 7: the loss is nan")
    assert findings.is_ended(result)
    assert math.isinf(findings.measured(result, "mse"))


def outcome(*values):
    return findings.Outcome("", 1e-3, tuple({} for _ in values), values, 0)


def test_deviations_of_seeds_are_pooled_as_in_an_analysis_of_variance():
    """Deviations of 10 % and 20 % on each side of the mean: the sum of squares 2 * (0.01 + 0.04), by two degrees of freedom."""
    deviation, freedom = findings.pooled_deviation([(9.0, 11.0), (80.0, 120.0), (5.0,), (1.0, math.inf)])
    assert (deviation, freedom) == (pytest.approx(0.05**0.5), 2)
    assert findings.pooled_deviation([(1.0,)])[1] == 0


def test_a_difference_counts_beyond_two_standard_errors():
    """With a deviation of 1 % and two seeds each, the standard error at 100 is 1: differences below 2 do not count."""
    compare = functools.partial(findings.compare, deviation=(0.01, 3))
    assert compare(outcome(97.0, 98.0), outcome(100.0, 100.0)) == "lower"
    assert compare(outcome(98.5, 98.1), outcome(100.0, 100.0)) == "open"
    assert compare(outcome(102.5, 102.1), outcome(100.0, 100.0)) == "higher"
    assert compare(outcome(97.8), outcome(100.0)) == "open"  # one seed each: the standard error is 1.4
    assert compare(outcome(math.inf), outcome(100.0)) == "higher"
    assert compare(outcome(), outcome(100.0)) == "open"
    assert findings.compare(outcome(50.0), outcome(100.0), (0.01, 2)) == "open"


@pytest.mark.parametrize(
    ("others", "expected"),
    [((110.0, 120.0), findings.HOLDS), ((110.0, 90.0), findings.FAILS), ((110.0, 100.0), findings.OPEN)],
)
def test_a_claim_holds_if_the_papers_choice_is_better_than_each_other_one(others, expected):
    question = dataclasses.replace(QUESTIONS["skip"], designs=("paper", "no_skip", "wide_skip"))
    outcomes = dict(zip(question.designs, map(outcome, (100.0, *others)), strict=True))
    assert findings.verdict(question, outcomes, (0.01, 3)) == expected


def record(run, mse, validation=32.0):
    environment = {"python": "3", "packages": {"jax": "1"}, "platform": "p", "cores": 2, "devices": ["cpu:cpu"]}
    return {
        "state": "done", "seed": run.seed, "starts": 1, "load": [1.0], "metrics": {"mse": mse}, "parameters": 1e6,
        "multiply_accumulates": 2e6, "validation": [[10, 40.0], [20, 35.0], [30, validation]], "environment": environment,
        "seconds": 60.0, "ended": "now",
    }  # fmt: skip


def test_the_learning_rate_is_the_best_one_on_the_validation_set():
    """Although another rate has a lower error on the test set."""
    question = QUESTIONS["others"]
    found = {run.rate: run for run in runs.runs_of(question, "tau") if run.seed == 1}
    records = {found[1e-3].name: record(found[1e-3], 20.0, 30.0), found[1e-2].name: record(found[1e-2], 25.0, 28.0)}
    chosen = findings.outcome(question, "tau", records)
    assert (chosen.rate, chosen.values, chosen.missing) == (1e-2, (25.0,), 4)


def test_further_seeds_of_a_design_count_for_every_question():
    question = QUESTIONS["kernels"]  # asks for one seed
    records = {run.name: record(run, 20.0 + run.seed) for run in runs.all_runs().values() if run.design == "paper"}
    assert findings.outcome(question, "paper", records).values == (21.0, 22.0)
    assert findings.outcome(question, "paper", records).missing == 0


def test_unsteadiness_is_the_standard_deviation_of_changes():
    found = record(runs.all_runs()["mnist32-paper-0.003-seed1"], 20.0, 32.0)
    assert findings.measured(found, "unsteadiness") == pytest.approx(2**0.5)  # of -5 and -3


def test_a_page_states_the_findings_and_lists_every_run():
    by_design = {"paper": 30.0, "no_skip": 31.5, "wide_skip": 33.0}
    records = {run.name: record(run, by_design[run.design] * (1 + 0.001 * run.seed)) for run in runs.chosen_runs(["skip"])}
    text = page.page(records)
    assert (
        "**Holds. Compared with the paper's design, worse: no long skip (+5.0%), long skip from 1/5 to 4/5 (+10.0%).**" in text
    )
    assert text.count("\n| mnist") + text.count("\n| taxi") + text.count("\n| radar") + text.count("\n| kth") == len(
        runs.all_runs()
    )
    assert f"6 of {len(runs.all_runs())} runs are done" in text
    assert "**Not yet run.**" in text


def test_the_page_of_the_documentation_is_that_of_the_records():
    """Otherwise: python -m benchmarks.study page."""
    assert page.PAGE.read_text() == page.load_page()


def test_records_are_small():
    assert all(path.stat().st_size < 8_000 for path in page.RECORDS.glob("*.json"))
    assert all(json.loads(path.read_text())["starts"] >= 1 for path in page.RECORDS.glob("*.json"))


@pytest.mark.long
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != LINEAR])
def test_the_librarys_loop_trains_every_network(network, tmp_path):
    config = small_config()
    config.model.update(hidden_dim=32, out_frames=3)
    state = train(config, tmp_path, network=NETWORKS[network])
    assert int(state.step) == 6


@pytest.mark.long
def test_a_run_is_carried_out_from_its_declaration_to_its_record(test_data, tmp_path):
    keys = {"train_steps": 4, "train_checkpoint_every": 2, "data_validation_sequences": 8, "data_test_sequences": 8}
    for design in ("paper", "linear"):
        run = Run("toy", design, "mnist32", 3e-3, 1)
        result = runner.perform(run, str(test_data), tmp_path / design, **keys)
        assert (result["state"], result["test_sequences"]) == (runner.DONE, 8)
        assert len(result["per_lead_time"]["mse"]) == 10
        assert sum(result["per_lead_time"]["mse"]) / 10 == pytest.approx(result["metrics"]["mse"])
    assert [step for step, _ in runner._curve(tmp_path / "paper")["validation"]] == [2, 4]
