"""Runs whose folder is a bucket's: the same as on a disk, whatever happens to them."""

import json
import tempfile
import time

import pytest
from etils import epath

from stlight_jax import InputError
from stlight_jax.errors import LockLostError
from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.runs.metrics_log import MetricsLog, read_metrics
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.storage import bucket, locks, log_folder
from stlight_jax.training import loop
from stlight_jax.training.loop import train
from stlight_jax.training.saved_state import load_state
from tests.runs.checkpoints import assert_equal, make_state, write
from tests.training.runs import assert_same_state, check_evaluation, losses

pytestmark = pytest.mark.compiled_fast


def test_checkpoints_come_back_and_the_newest_and_the_best_are_kept(bucket_folder, server):
    write(bucket_folder, {10: 3.0, 20: 1.0, 30: 2.0, 40: None, 50: 2.5}, keep=2)
    assert checkpoint.steps(bucket_folder) == [20, 40, 50]
    assert checkpoint.choose_step(bucket_folder, "best") == 20
    assert checkpoint.locate(bucket_folder / "50") == (bucket_folder, 50)
    assert_equal(load_state(bucket_folder, 50, make_state(0)), make_state(50))
    assert checkpoint.load_description(bucket_folder, 50) == {"name": "step 50"}
    assert not [name for name in server.names("bucket") if name.startswith(f"{bucket_folder.name}/30/")]
    checkpoint_writer.save_variables(bucket_folder / "alone", 3, make_state(3).variables, {"name": "brought in"})
    assert_equal(checkpoint.load_variables(bucket_folder / "alone", 3, make_state(0).variables), make_state(3).variables)


def test_incomplete_and_damaged_ones_are_moved_out_of_the_way(bucket_folder, server, caplog):
    write(bucket_folder / "c", {1: 2.0, 2: 1.0, 3: 0.5}, keep=3)
    name = max(
        (name for name in server.names("bucket") if f"{bucket_folder.name}/c/2/model/" in name), key=lambda name: len(name)
    )
    content = bytearray(server.data("bucket", name))
    content[len(content) // 2] ^= 4
    server.put("bucket", name, bytes(content), "", {})
    (bucket_folder / "c" / "3" / "checksums.json").unlink()
    assert checkpoint.latest_valid_step(bucket_folder / "c", bucket_folder / "rejected") == 1
    assert "checkpoint 3 is not used: it is incomplete" in caplog.text
    assert "is damaged (its checksum differs)" in caplog.text
    assert checkpoint.steps(bucket_folder / "c") == [1]
    assert [name.partition("-")[0] for name in bucket.folders(bucket_folder / "rejected")] == ["2", "3"]
    write(bucket_folder / "c", {3: 0.4})  # its step can be written anew
    assert checkpoint.choose_step(bucket_folder / "c", "best") == 3


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


def test_the_log_is_sent_with_checkpoints_and_now_and_then_and_goes_on_after_a_kill(
    bucket_folder, server, refuse, monkeypatch, caplog
):
    log = MetricsLog(bucket_folder, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})
    assert read_metrics(bucket_folder, "train") == []
    log.send()
    sent = len(server.requests)
    log.send()
    assert len(server.requests) == sent  # nothing new
    assert [line["loss"] for line in read_metrics(bucket_folder, "train")] == [1.0]
    with refuse("POST"):
        log.write(2, "train", {"loss": 2.0})
        log.send()
    assert "metrics.jsonl could not be written, the next send tries again: Forbidden" in caplog.text
    log.send()
    log.write(3, "train", {"loss": 3.0})
    log._folder._ended.set()  # the process is killed here
    monkeypatch.setattr(log_folder, "_SECONDS_BETWEEN_SENDS", 0.05)
    again = MetricsLog(bucket_folder, tensorboard=False)
    again.write(2, "started", {})
    again.write(3, "train", {"loss": 3.0})
    deadline = time.monotonic() + 20
    while len(read_metrics(bucket_folder, "train")) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [line["loss"] for line in read_metrics(bucket_folder, "train")] == [1.0, 2.0, 3.0]
    again.write(4, "train", {"loss": 4.0})
    again.close()
    assert [line["loss"] for line in read_metrics(bucket_folder, "train")] == [1.0, 2.0, 3.0, 4.0]
    assert not again._folder.local.exists()


def test_a_log_that_could_not_be_sent_is_kept_here(bucket_folder, refuse, caplog):
    log = MetricsLog(bucket_folder, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})
    with refuse("POST"):
        log.close()
    kept = log._folder.local
    assert caplog.messages[-1] == f"some of the files for {bucket_folder} could not be sent; they are kept in {kept}"
    assert [line["loss"] for line in read_metrics(kept, "train")] == [1.0]


def test_a_log_whose_file_fails_to_close_is_sent_all_the_same(bucket_folder, monkeypatch):
    log = MetricsLog(bucket_folder, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})

    def fail():
        raise OSError("no space left")

    monkeypatch.setattr(log, "_file", type("", (), {"close": staticmethod(fail)}))
    with pytest.raises(InputError, match="could not be written: no space left"):
        log.close()
    assert [line["loss"] for line in read_metrics(bucket_folder, "train")] == [1.0]
    assert not log._folder.local.exists()
