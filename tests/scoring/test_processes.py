"""Two real processes evaluate together as one does, and refuse to if they differ."""

import functools
import json
import types

import jax
import jax.numpy as jnp
import pytest

from stlight_jax import InputError
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.runs import checkpoint_writer
from stlight_jax.scoring import evaluate, evaluation_files, run_to_evaluate
from stlight_jax.training.saved_state import to_trees
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.state import create_state, make_optimizer
from tests.parallel.processes import assert_told_of_a_loss, finish, start

pytestmark = pytest.mark.compiled_fast

# Everything that is refused; then an evaluation, and a death in the middle of the next one.
SCRIPT = """
import dataclasses
import json
import os
import signal
import sys

sys.path[0] = "."
from absl import flags
from etils import epath

from stlight_jax.commands.shared_flags import define_process_flags, join_processes
from stlight_jax.commands.run_command import run_script
from stlight_jax.parallel import agreement

flags.DEFINE_string("workdir", None, "")
flags.DEFINE_string("own", None, "")
define_process_flags(flags.FLAGS)
agreement._SECONDS_TO_APPEAR = 0.2


def main():
    join_processes(flags.FLAGS)
    import jax
    import ml_collections

    from stlight_jax import InputError
    from stlight_jax.scoring import evaluate, evaluation_files, run_to_evaluate
    from stlight_jax.runs import checkpoint, checkpoint_writer
    from stlight_jax.training import loop, setup

    evaluation_files._present = lambda *_: []  # pictures are one process's affair
    workdir, own, first = epath.Path(flags.FLAGS.workdir), epath.Path(flags.FLAGS.own), jax.process_index() == 0
    refused = []

    def attempt(function, *arguments, **options):
        try:
            function(*arguments, **options)
        except InputError as error:
            refused.append(str(error))

    mine = {"steps": {"best": 4, "last": 6}, "text": "sent"} if first else None
    received = [agreement.broadcast_from_first(value if first else "mine") for value in (mine, None, "x" * 1000)]
    own.mkdir()
    attempt(agreement.assert_shared_folder, own)
    attempt(agreement.assert_shared_folder, workdir)
    config = ml_collections.ConfigDict(checkpoint.load_description(workdir / "checkpoints", 3)["config"])
    attempt(loop.train, ml_collections.ConfigDict({**config, "train": {**config.train, "seed": 0 if first else 7}}), own)
    open_training = setup.open_training

    def open_others(config):
        training, validation = open_training(config)
        return training, validation if first else dataclasses.replace(validation, seed=1)

    setup.open_training = open_others
    attempt(loop.train, config, own)
    attempt(evaluate.evaluate_workdir, workdir, "2" if first else "3")
    attempt(evaluate.evaluate_workdir, workdir, horizon=4 if first else None)
    open_test, choose = evaluate.open_test, run_to_evaluate._choose
    evaluate.open_test = lambda config: open_test(config) if first else dataclasses.replace(open_test(config), seed=1)
    attempt(evaluate.evaluate_workdir, workdir)
    evaluate.open_test = open_test
    # The other process sees another moment of a training.
    run_to_evaluate._choose = lambda place, which: choose(place, which) if first else {"last": 2}
    results = evaluate.evaluate_workdir(workdir)
    written = {"received": received, "refused": refused, "checkpoints": results["checkpoints"]}
    (own / "results.json").write_text(json.dumps(written))
    evaluate.open_test = lambda config: open_test(config) if first else os.kill(os.getpid(), signal.SIGKILL)
    evaluate.evaluate_workdir(workdir)


run_script(main)
"""


@pytest.fixture
def trained(small_run, tmp_path, monkeypatch):
    """A workdir with two checkpoints, the first one the best; the weights make no difference."""
    monkeypatch.setattr(run_to_evaluate, "make_launcher", functools.partial(make_launcher, devices=jax.devices()[:1]))
    small_run.data.test_sequences = 13  # so that processes have unequal shares of the last batch
    monkeypatch.setattr(evaluation_files, "_present", lambda *_: [])
    of_run = TrainingSetup(small_run)
    with checkpoint_writer.CheckpointWriter(tmp_path / "run" / "checkpoints", 2) as writer:
        for step in (2, 3):
            state = create_state(of_run.model, make_optimizer(small_run.optimizer), step, of_run.training.shape[1:])
            writer.save(step, to_trees(state.replace(step=jnp.int32(step))), of_run.description, {"mse": float(step)})
    return tmp_path / "run"


def test_unequal_numbers_of_devices_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(process_index=i) for i in (0, 1, 1)])
    with pytest.raises(InputError, match="the processes have 1, 2 devices; .* all must have as many"):
        evaluate.evaluate_workdir(tmp_path)


def test_two_processes_agree_evaluate_as_one_and_end_together(trained, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    own = [tmp_path / "first", tmp_path / "second"]
    started = start(script, [f"--workdir={trained}"], 2, {i: [f"--own={own[i]}"] for i in range(2)})
    (status, _, error), (killed, _, _) = finish(started, 120)
    assert killed == -9
    assert_told_of_a_loss(status, error)
    written = [json.loads((folder / "results.json").read_text()) for folder in own]
    for process, found in enumerate(written):
        assert found["received"] == [{"steps": {"best": 4, "last": 6}, "text": "sent"}, None, "x" * 1000]
        shared, *others = found["refused"]
        assert shared.startswith(f"--workdir={own[process]} is not the same folder on all hosts: not on that of process 1. ")
        assert [text.split(" differs between")[0] for text in others] == [
            "the config", "the validation data", "--checkpoint", "--horizon", "the test data",
        ]  # fmt: skip
        assert others[0].endswith(": of those numbered 0 to 1, 1 disagree with the first; start all of them alike")
        assert [path.name for path in own[process].iterdir()] == ["results.json"]
    assert not list(trained.glob(".seen*"))

    together = json.loads((trained / "eval" / "metrics.json").read_text())
    alone = evaluate.evaluate_workdir(trained)
    assert [found["checkpoints"] for found in (*written, together, alone)] == [{"best": 2, "last": 3}] * 4
    for row in ("stlight", "copy_last_frame", "mean_of_inputs"):
        for metric, value in alone["overall"][row].items():
            assert together["overall"][row][metric] == pytest.approx(value, rel=1e-5), (row, metric)
    assert together["overall"]["best_constant_image"]["mse"] == pytest.approx(
        alone["overall"]["best_constant_image"]["mse"], rel=1e-9
    )
