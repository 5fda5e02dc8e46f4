"""The shortcut that is chosen before the first step, with its input, its copies and its share."""

import json
import re
import types

import numpy as np
import pytest

from stlight_jax.data.load import check_config
from stlight_jax.errors import InputError
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.training import setup, shortcut_choice, time_for_choices
from stlight_jax.training.loop import train
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shortcut_choice import Choice, choose_shortcut
from stlight_jax.training.time_for_choices import TimeForChoices
from tests.conftest import load_config

pytestmark = pytest.mark.compiled_fast


def test_auto_takes_the_better_kind_prints_the_table_and_is_not_asked_again(waves, tmp_path, capsys):
    waves.model.shortcut = waves.model.input = "auto"
    train(waves, tmp_path / "run")
    shown = capsys.readouterr().err
    assert "forecasts without a network, 40 validation windows" in " ".join(shown.split())
    assert "model.shortcut=linear (by the errors of forecasts without a network)" in shown
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["shortcut"] == "linear"
    assert (
        "model.input=changes (changes if shortcut=auto takes last or linear, frames_and_flow if the shortcut has a flow)"
        in shown
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["input"] == "changes"
    waves.train.epochs = 2
    train(waves, tmp_path / "run")
    shown = capsys.readouterr().err
    assert "is complete" in shown
    assert "forecasts without a network" not in shown


def test_frames_that_never_change_are_refused(tmp_path):
    np.save(tmp_path / "still.npy", np.repeat(np.random.default_rng(0).normal(size=(1, 8, 9)).astype(np.float32), 54, 0))
    config = load_config("tiny", "frames")
    config.data.update(root=str(tmp_path / "still.npy"), prepared=str(tmp_path / "kept"))
    with pytest.raises(InputError, match="shortcut last predicts all . validation windows without an error.*frames change"):
        TrainingSetup(config)


LINEAR = [Choice("linear", periods) for periods in ("", "24", "24,48")]


@pytest.mark.parametrize(
    ("deadline", "tried", "left_out"),
    [
        (60.0, 3, "flow_linear, linear, linear with data.periods=24"),
        (240.0, 4, "linear, linear with data.periods=24"),
        (3600.0, 6, ""),
        (None, 6, ""),
    ],
)
def test_the_search_takes_a_quarter_of_the_time_and_names_the_shortcuts_it_leaves_out(
    monkeypatch, capsys, deadline, tried, left_out
):
    """By a clock on which each look at it takes a minute; the best map of each simple kind is tried in any case."""
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(time_for_choices, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    last, flow, flow_linear = (Choice(kind, "") for kind in ("last", "flow", "flow_linear"))
    ordered = shortcut_choice._most_important_first([last, *LINEAR, flow, flow_linear])
    assert ordered == ([last, LINEAR[2], flow, flow_linear, *LINEAR[:2]], 3)
    assert list(shortcut_choice._in_time(*ordered, TimeForChoices(deadline))) == ordered[0][:tried]
    shown = " ".join(capsys.readouterr().err.split())
    assert shown == (f"the time of --minutes is too short to try all shortcuts; left out: {left_out}" if left_out else "")


@pytest.mark.parametrize(
    ("choices", "first"), [(LINEAR, LINEAR[2:]), ([Choice("flow_linear", "")], [Choice("flow_linear", "")])]
)
def test_a_search_among_few_kinds_has_its_most_important_choice_first(choices, first):
    ordered, always = shortcut_choice._most_important_first(choices)
    assert (ordered[:always], sorted(ordered)) == (first, sorted(choices))


def test_a_trial_without_copies_that_there_is_no_time_for_is_named(monkeypatch, capsys):
    monkeypatch.setattr(TimeForChoices, "is_over", lambda _: True)
    assert not list(shortcut_choice._in_time([Choice("linear", "12", copies=False)], 0, TimeForChoices(60.0)))
    assert "left out: linear, no copies with data.periods=12" in " ".join(capsys.readouterr().err.split())


def test_auto_has_no_shortcut_where_the_network_predicts_more_channels_than_it_sees(waves):
    waves.model.update(shortcut="auto", out_channels=2)
    assert choose_shortcut(check_config(waves), *[None] * 4).config.model.shortcut == "none"


@pytest.fixture
def without_forecasts(waves, monkeypatch):
    """Makes a function that chooses a shortcut by errors that are given for each trial in turn."""
    waves.model.shortcut = "auto"

    def fit(model, *_):
        shape = (model.shortcut_inputs, model.out_frames * model.out_channels)
        return {"kernel": np.full(shape, 3.0, np.float32), "bias": np.ones(shape[1], np.float32)}

    monkeypatch.setattr(shortcut_choice, "fitted_linear", fit)

    def choose(errors, least_gain=0.0, is_scales_open=False):
        trials = iter([{"values": 256.0, "mae": 1.0, **of_trial} for of_trial in errors])
        monkeypatch.setattr(shortcut_choice, "shortcut_errors", lambda *_: next(trials))
        opened = setup.open_training(None)
        chosen = choose_shortcut(check_config(waves), *opened, None, TimeForChoices(None), least_gain, is_scales_open)
        assert not list(trials)
        return chosen

    return choose


@pytest.mark.parametrize(
    ("mse", "least_gain", "best"),
    [
        ({"last": 4.0, "linear": 3.0, "flow": 5.0, "flow_linear": 2.95}, 0.0, "linear"),
        ({"last": 4.0, "linear": 3.0, "flow": 5.0, "flow_linear": 2.9}, 0.02, "flow_linear"),
        ({"last": 4.0, "linear": 3.9, "flow": 3.7, "flow_linear": 3.0}, 0.2, "flow"),
        ({"last": 4.0, "linear": 3.0, "flow": 5.0, "flow_linear": 2.95}, 0.2, "linear"),
        ({"last": 4.2, "linear": 2.6, "flow": 1.5, "flow_linear": 1.34}, 0.1, "flow_linear"),
        ({"last": 4.2, "linear": 2.6, "flow": 1.5, "flow_linear": 1.36}, 0.1, "flow"),
    ],
)
def test_a_shortcut_that_is_fitted_or_needs_more_must_be_better(without_forecasts, waves, mse, least_gain, best):
    waves.train.shortcut_share = 1.0
    chosen = without_forecasts([{"mse": value} for value in mse.values()], least_gain)
    assert chosen.config.model.shortcut == best
    assert chosen.linear is None or (chosen.linear["kernel"] == 3).all()


@pytest.mark.parametrize(
    ("mse", "halves", "best", "share"),
    [
        ((4.0, 4.5, 3.0, 2.6), (5.0, 2.93), "flow_linear", 0.5),  # 2 % below the flow
        ((4.0, 4.5, 3.0, 2.6), (5.0, 2.95), "flow", 1.0),
        ((4.0, 4.5, 3.0, 5.0), (2.9, 4.0), "linear", 0.5),  # a fit that is too large
        ((2.0, 1.2, 1.0, 1.3), (1.3, 0.85), "flow_linear", 0.5),  # and one that is not the best of the fits
        ((4.0, 3.0, 5.0, 2.99), (3.5, 2.95), "linear", 1.0),  # 2 % below the linear map, too
        ((4.0, 3.0, 9.0, 9.0), (2.93, 8.0), "linear", 0.5),
    ],
)
def test_a_half_of_a_fit_must_be_clearly_better_where_data_are_few(without_forecasts, waves, capsys, mse, halves, best, share):
    waves.train.shortcut_share = -1.0
    chosen = without_forecasts([{"mse": value} for value in (*mse, *halves)], 0.2)
    assert (chosen.config.model.shortcut, chosen.config.train.shortcut_share) == (best, share)
    shown = re.findall(r"│ 0.5 of (\w+) +│ +│ +([\d.]+)", capsys.readouterr().err)
    assert [(kind, float(value)) for kind, value in shown] == list(zip(("linear", "flow_linear"), halves, strict=True))
    if best == "flow":
        assert chosen.linear is None
        return
    bias, kernel = chosen.linear["bias"], chosen.linear["kernel"]
    copied = np.zeros(kernel.shape)  # 3 -> 2 frames: the last one twice, or the flow's two
    copied[[3, 4] if best == "flow_linear" else [2, 2], [0, 1]] = 1
    np.testing.assert_array_equal(kernel, copied + share * (3 - copied))
    np.testing.assert_array_equal(bias, [share, share])


@pytest.mark.parametrize(
    ("mse", "is_open", "scales"),
    [
        ((4.0, 3.0, 5.0, 9.0, 2.9), True, 0),
        ((4.0, 3.0, 5.0, 9.0, 3.1), True, 2),
        ((4.0, 3.0, 5.0, 9.0), False, 2),
        ((4.0, 5.0, 3.0, 9.0), True, 2),  # the flow is better
    ],
)
def test_a_linear_map_is_tried_without_copies_where_their_number_is_open(
    without_forecasts, waves, capsys, mse, is_open, scales
):
    waves.model.shortcut_scales, waves.train.shortcut_share = 2, 1.0
    chosen = without_forecasts([{"mse": value} for value in mse], is_scales_open=is_open)
    assert chosen.config.model.shortcut_scales == scales
    assert ("linear, no copies" in capsys.readouterr().err) == (len(mse) == 5)
    if chosen.linear is not None:
        assert chosen.linear["kernel"].shape == (3 * (1 + scales), 2)


@pytest.mark.parametrize(("key", "value"), [("shortcut_share", 0.25), ("init_from", "runs/old")])
def test_no_half_is_tried_where_the_share_or_the_weights_are_given(without_forecasts, waves, key, value):
    waves.train.shortcut_share = -1.0
    waves.train[key] = value
    chosen = without_forecasts([{"mse": value} for value in (9.0, 1.0, 9.0, 9.0)], 0.2)
    assert chosen.config.train.shortcut_share == (0.25 if key == "shortcut_share" else 1.0)
    assert chosen.linear["bias"].tolist() == [chosen.config.train.shortcut_share] * 2


@pytest.mark.parametrize("shortcut", ["none", "last", "linear"])
def test_an_open_share_of_a_given_shortcut_is_all(waves, shortcut):
    waves.model.shortcut = shortcut
    waves.train.shortcut_share = -1.0
    assert TrainingSetup(waves).config.train.shortcut_share == 1


def test_a_network_that_shall_see_the_flow_has_a_shortcut_with_one(waves, capsys):
    waves.model.update(shortcut="auto", input="frames_and_flow")
    chosen = choose_shortcut(check_config(waves), *setup.open_training(None), make_launcher("pmap"), TimeForChoices(None))
    assert chosen.config.model.shortcut in ("flow", "flow_linear")
    assert chosen.config.model.input == "frames_and_flow"
    tried = re.findall(r"│ (\w+) +│", capsys.readouterr().err)
    assert tried == ["flow", "flow_linear"]


@pytest.mark.parametrize(
    ("loss", "linear", "flow_linear", "values", "best"),
    [
        ("squared", (25.6, 128.0), (26.0, 64.0), 256, "linear"),
        ("both", (25.6, 128.0), (26.0, 64.0), 256, "flow_linear"),  # RMSE + MAE is 0.316 + 0.5, and 0.319 + 0.25
        ("both", (25.6, 65.0), (28.0, 64.0), 256, "linear"),  # 0.316 + 0.254, 0.331 + 0.25
        ("both", (1.0, 6.0), (1.3, 5.0), 256, "linear"),  # 0.063 + 0.023, 0.071 + 0.020
        ("both", (1.0, 6.0), (1.3, 5.0), 25, "flow_linear"),  # of few valid values: 0.2 + 0.24, 0.228 + 0.2
        ("absolute", (25.6, 65.0), (28.0, 64.0), 256, "flow_linear"),
    ],
)
def test_shortcuts_are_compared_by_the_loss_of_the_run(without_forecasts, waves, loss, linear, flow_linear, values, best):
    waves.train.loss = loss
    found = ((90.0, 200.0), linear, (90.0, 200.0), flow_linear)
    chosen = without_forecasts([{"mse": mse, "mae": mae, "values": values} for mse, mae in found])
    assert chosen.config.model.shortcut == best


def test_an_open_input_is_that_of_frames_beside_a_shortcut_that_is_given(waves):
    waves.model.update(shortcut="linear", input="auto")
    assert choose_shortcut(check_config(waves), *[None] * 4).config.model.input == "frames"


def test_an_open_input_is_a_frame_where_the_network_sees_a_single_one(waves):
    waves.model.update(shortcut="auto", input="auto", in_frames=1)
    setup = TrainingSetup(waves)
    assert setup.config.model.shortcut in ("last", "linear")
    assert setup.config.model.input == "frames"
