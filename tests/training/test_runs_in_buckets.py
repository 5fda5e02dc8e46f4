"""Runs whose workdir is in a bucket: as on a disk, whatever interrupts them."""

import json
import tempfile
import time

import pytest
from etils import epath

from stlight_jax.errors import LockLostError
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.storage import locks
from stlight_jax.training import loop
from stlight_jax.training.loop import train
from tests.training.runs import assert_same_state, check_evaluation, losses

pytestmark = pytest.mark.compiled_fast


@pytest.mark.long
def test_a_run_that_dies_resumes_bit_for_bit_and_is_evaluated(small_run, bucket_folder, server, tmp_path, monkeypatch):
    expected = train(small_run, tmp_path / "local")
    validate = loop.Trainer._validate

    def die(self, state, done, *more):
        if done == 6:
            raise RuntimeError("dead")
        return validate(self, state, done, *more)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_validate", die)
        with pytest.raises(RuntimeError, match="dead"):
            train(small_run, bucket_folder)
    assert checkpoint.steps(bucket_folder / "checkpoints") == [2, 4]
    small_run.train.tensorboard = True
    assert_same_state(train(small_run, bucket_folder), expected)
    assert [line["step"] for line in lines(bucket_folder) if line["kind"] == "started"] == [0, 4]
    assert losses(bucket_folder) == losses(tmp_path / "local")
    assert [(line["step"], line["mse"]) for line in read_metrics(bucket_folder, "validation")] == [
        (line["step"], line["mse"]) for line in read_metrics(tmp_path / "local", "validation")
    ]
    assert json.loads((bucket_folder / "config.json").read_text()) == json.loads(small_run.to_json())
    assert [path.stat().length > 100 for path in (bucket_folder / "tensorboard").glob("events.*")] == [True]
    assert not (bucket_folder / ".lock").exists()
    written = [request for request in server.requests if request.startswith("POST") and "metrics.jsonl" in request]
    assert len(written) <= 8  # not with every line

    check_evaluation(Sizes(bucket_folder), evaluate_workdir(bucket_folder))


@pytest.mark.parametrize("beat", [0.05, pytest.param(1000, marks=pytest.mark.long)])
def test_a_run_whose_folder_is_taken_over_stops_and_writes_no_more(
    small_run, bucket_folder, server, tmp_path, monkeypatch, caplog, beat
):
    def contents():
        return {
            name: server.data("bucket", name) for name in server.names("bucket") if name.startswith(f"{bucket_folder.name}/")
        }

    validate, theirs = loop.Trainer._validate, {}

    def lose(self, state, done, *more):
        if done == 4:
            deadline = time.monotonic() + 60
            while "2/checksums.json" not in " ".join(contents()) and time.monotonic() < deadline:
                time.sleep(0.05)
            for name in (".lock", "metrics.jsonl"):
                (bucket_folder / name).write_text(json.dumps({"process": 7, "host": "elsewhere", "id": "x"}))
            theirs.update(contents())
            time.sleep(0.5)
        return validate(self, state, done, *more)

    monkeypatch.setattr(loop.Trainer, "_validate", lose)
    monkeypatch.setattr(locks, "_BEAT_SECONDS", beat)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(LockLostError, match=f"another run has taken {bucket_folder} over") as caught:
        train(small_run, bucket_folder)
    assert caught.value.exit_status == 1
    assert contents() == theirs
    assert checkpoint.steps(bucket_folder / "checkpoints") == [2]
    (kept,) = tmp_path.glob("stlight_log_*")
    assert f"some of the files for {bucket_folder} could not be sent; they are kept in {kept}" in caplog.text
    assert max(losses(kept)) == 4


@pytest.mark.long
def test_an_evaluation_in_a_bucket_is_that_on_a_disk(small_run, bucket_folder, tmp_path):
    for run in (bucket_folder, tmp_path):
        train(small_run, run)
    assert evaluate_workdir(bucket_folder) == evaluate_workdir(tmp_path)
    for name in ("prediction.gif", "prediction.png", "table.txt"):
        assert (bucket_folder / "eval" / name).read_bytes() == (tmp_path / "eval" / name).read_bytes()


class Sizes(type(epath.Path("gs://bucket"))):
    """What `check_evaluation` looks at, with the names that pathlib has for it."""

    def stat(self):
        class Found:
            st_size = super(Sizes, self).stat().length

        return Found


def lines(bucket_folder):
    return [json.loads(line) for line in (bucket_folder / "metrics.jsonl").read_text().splitlines()]
