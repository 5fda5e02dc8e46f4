"""The metrics log of a run in a bucket: sent with checkpoints and regularly."""

import time

import pytest

from stlight_jax import InputError
from stlight_jax.runs.metrics_log import MetricsLog, read_metrics
from stlight_jax.storage import log_folder

pytestmark = pytest.mark.compiled_fast


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
