"""Runs whose folder is a bucket's: the same as on a disk, whatever happens to them."""

import json
import tempfile
import time

import pytest
from etils import epath

from stlight_jax import InputError
from stlight_jax.errors import TakenOverError
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import MetricsLog, read_metrics
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.storage import lease, mirror, paths
from stlight_jax.training import loop
from stlight_jax.training.loop import train
from tests.runs.test_checkpoint import assert_equal, make_state, write
from tests.training.runs import assert_same_state, check_evaluation, losses

pytestmark = pytest.mark.compiled_fast


def test_checkpoints_come_back_and_the_newest_and_the_best_are_kept(place, server):
    write(place, {10: 3.0, 20: 1.0, 30: 2.0, 40: None, 50: 2.5}, keep=2)
    assert checkpoint.steps(place) == [20, 40, 50]
    assert checkpoint.choose_step(place, "best") == 20
    assert checkpoint.locate(place / "50") == (place, 50)
    assert_equal(checkpoint.load_state(place, 50, make_state(0)), make_state(50))
    assert checkpoint.load_description(place, 50) == {"name": "step 50"}
    assert not [name for name in server.names("bucket") if name.startswith(f"{place.name}/30/")]
    checkpoint.save_variables(place / "alone", 3, make_state(3).variables, {"name": "brought in"})
    assert_equal(checkpoint.load_variables(place / "alone", 3, make_state(0).variables), make_state(3).variables)


def test_incomplete_and_damaged_ones_are_moved_out_of_the_way(place, server, caplog):
    write(place / "c", {1: 2.0, 2: 1.0, 3: 0.5}, keep=3)
    name = max((name for name in server.names("bucket") if f"{place.name}/c/2/model/" in name), key=lambda name: len(name))
    content = bytearray(server.data("bucket", name))
    content[len(content) // 2] ^= 4
    server.put("bucket", name, bytes(content), "", {})
    (place / "c" / "3" / "checksums.json").unlink()
    assert checkpoint.newest_sound_step(place / "c", place / "rejected") == 1
    assert "checkpoint 3 is not used: it is incomplete" in caplog.text
    assert "is damaged (its checksum differs)" in caplog.text
    assert checkpoint.steps(place / "c") == [1]
    assert [name.partition("-")[0] for name in paths.folders(place / "rejected")] == ["2", "3"]
    write(place / "c", {3: 0.4})  # its step can be written anew
    assert checkpoint.choose_step(place / "c", "best") == 3


@pytest.mark.long
def test_a_run_that_dies_resumes_bit_for_bit_and_is_evaluated(small_run, place, server, tmp_path, monkeypatch):
    expected = train(small_run, tmp_path / "local")
    validate = loop.Trainer._validate

    def die(self, state, done, *more):
        if done == 6:
            raise RuntimeError("dead")
        return validate(self, state, done, *more)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_validate", die)
        with pytest.raises(RuntimeError, match="dead"):
            train(small_run, place)
    assert checkpoint.steps(place / "checkpoints") == [2, 4]
    small_run.train.tensorboard = True
    assert_same_state(train(small_run, place), expected)
    assert [line["step"] for line in lines(place) if line["kind"] == "started"] == [0, 4]
    assert losses(place) == losses(tmp_path / "local")
    assert [(line["step"], line["mse"]) for line in read_metrics(place, "validation")] == [
        (line["step"], line["mse"]) for line in read_metrics(tmp_path / "local", "validation")
    ]
    assert json.loads((place / "config.json").read_text()) == json.loads(small_run.to_json())
    assert [path.stat().length > 100 for path in (place / "tensorboard").glob("events.*")] == [True]
    assert not (place / ".lock").exists()
    written = [request for request in server.requests if request.startswith("POST") and "metrics.jsonl" in request]
    assert len(written) <= 8  # not with every line

    check_evaluation(Sizes(place), evaluate_workdir(place))


@pytest.mark.parametrize("beat", [0.05, pytest.param(1000, marks=pytest.mark.long)])
def test_a_run_whose_folder_is_taken_over_stops_and_writes_no_more(
    small_run, place, server, tmp_path, monkeypatch, caplog, beat
):
    def contents():
        return {name: server.data("bucket", name) for name in server.names("bucket") if name.startswith(f"{place.name}/")}

    validate, theirs = loop.Trainer._validate, {}

    def lose(self, state, done, *more):
        if done == 4:
            deadline = time.monotonic() + 60
            while "2/checksums.json" not in " ".join(contents()) and time.monotonic() < deadline:
                time.sleep(0.05)
            for name in (".lock", "metrics.jsonl"):
                (place / name).write_text(json.dumps({"process": 7, "host": "elsewhere", "id": "x"}))
            theirs.update(contents())
            time.sleep(0.5)
        return validate(self, state, done, *more)

    monkeypatch.setattr(loop.Trainer, "_validate", lose)
    monkeypatch.setattr(lease, "_BEAT_SECONDS", beat)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(TakenOverError, match=f"another run has taken {place} over") as caught:
        train(small_run, place)
    assert caught.value.exit_status == 1
    assert contents() == theirs
    assert checkpoint.steps(place / "checkpoints") == [2]
    (kept,) = tmp_path.glob("stlight_log_*")
    assert f"not all of the log is in {place}; it is kept in {kept}" in caplog.text
    assert max(losses(kept)) == 4


@pytest.mark.long
def test_an_evaluation_in_a_bucket_is_that_on_a_disk(small_run, place, tmp_path):
    for run in (place, tmp_path):
        train(small_run, run)
    assert evaluate_workdir(place) == evaluate_workdir(tmp_path)
    for name in ("prediction.gif", "prediction.png", "table.txt"):
        assert (place / "eval" / name).read_bytes() == (tmp_path / "eval" / name).read_bytes()


class Sizes(type(epath.Path("gs://bucket"))):
    """What `check_evaluation` looks at, with the names that pathlib has for it."""

    def stat(self):
        class Found:
            st_size = super(Sizes, self).stat().length

        return Found


def lines(place):
    return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]


def test_the_log_is_sent_with_checkpoints_and_now_and_then_and_goes_on_after_a_kill(place, server, refuse, monkeypatch, caplog):
    log = MetricsLog(place, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})
    assert read_metrics(place, "train") == []
    log.keep()
    sent = len(server.requests)
    log.keep()
    assert len(server.requests) == sent  # nothing new
    assert [line["loss"] for line in read_metrics(place, "train")] == [1.0]
    with refuse("POST"):
        log.write(2, "train", {"loss": 2.0})
        log.keep()
    assert "metrics.jsonl could not be written, and will be later: Forbidden" in caplog.text
    log.keep()
    log.write(3, "train", {"loss": 3.0})
    log._mirror._ended.set()  # the process is killed here
    monkeypatch.setattr(mirror, "_SECONDS_BETWEEN", 0.05)
    again = MetricsLog(place, tensorboard=False)
    again.write(2, "started", {})
    again.write(3, "train", {"loss": 3.0})
    deadline = time.monotonic() + 20
    while len(read_metrics(place, "train")) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [line["loss"] for line in read_metrics(place, "train")] == [1.0, 2.0, 3.0]
    again.write(4, "train", {"loss": 4.0})
    again.close()
    assert [line["loss"] for line in read_metrics(place, "train")] == [1.0, 2.0, 3.0, 4.0]
    assert not again._mirror.folder.exists()


def test_a_log_that_could_not_be_sent_is_kept_here(place, refuse, caplog):
    log = MetricsLog(place, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})
    with refuse("POST"):
        log.close()
    kept = log._mirror.folder
    assert caplog.messages[-1] == f"not all of the log is in {place}; it is kept in {kept}"
    assert [line["loss"] for line in read_metrics(kept, "train")] == [1.0]


def test_a_log_whose_file_fails_to_close_is_sent_all_the_same(place, monkeypatch):
    log = MetricsLog(place, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})

    def fail():
        raise OSError("no space left")

    monkeypatch.setattr(log, "_file", type("", (), {"close": staticmethod(fail)}))
    with pytest.raises(InputError, match="could not be written: no space left"):
        log.close()
    assert [line["loss"] for line in read_metrics(place, "train")] == [1.0]
    assert not log._mirror.folder.exists()
