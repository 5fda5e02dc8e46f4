"""Two runs in one folder of a bucket: refused while the first one lives, and no longer."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time

import pytest

from stlight_jax import InputError
from stlight_jax.errors import TakenOverError
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage import lease
from tests.fake_gcs import Refused
from tests.runs.test_checkpoint import make_state

pytestmark = pytest.mark.compiled_fast


def test_a_second_run_is_refused_while_the_first_one_lives(place, quick):
    first, second = Workdir(place).locked(), Workdir(place).locked()
    with first, pytest.raises(InputError, match=rf"in use by process {os.getpid()} on .*; wait for it, or"), second:
        pass
    assert not (place / ".lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over(place, quick, caplog, monkeypatch, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = lease.socket.gethostname()
    here = {"host": host, "boot": lease._BOOT_ID.read_text().strip(), "processes": os.readlink("/proc/self/ns/pid")}
    at_once, when_stale = (0, 0.5), (0.5, 20)
    for process, machine, seconds in (
        (gone.pid, here, at_once),
        (os.getpid(), here, at_once),
        (1, {**here, "host": "elsewhere"}, when_stale),
        (gone.pid, {**here, "boot": "another machine of this name"}, when_stale),
        (gone.pid, {**here, "processes": "pid:[1]"}, when_stale),  # of a container that has the name of its machine
        (gone.pid, {"host": host}, when_stale),  # it does not say
    ):
        (place / ".lock").write_text(json.dumps({"process": process, **machine, "id": "x", "beat": 3}))
        begun = time.monotonic()
        with Workdir(place).locked():
            assert seconds[0] <= time.monotonic() - begun < seconds[1]
            assert f"process {process} on {machine['host']} ended without a word" in caplog.text
        caplog.clear()
    monkeypatch.setattr(lease, "_BOOT_ID", tmp_path / "nothing")  # nobody says
    assert lease._machine() == {}
    assert not lease._is_dead({"process": gone.pid, "host": host})
    (place / ".lock").write_text("damaged")
    with Workdir(place).locked():
        pass


def test_of_many_at_once_one_has_the_lock(place, quick):
    inside, most, refused = [], [], []

    def enter(_):
        try:
            with Workdir(place).locked():
                inside.append(1)
                most.append(len(inside))
                time.sleep(1.5)
                inside.pop()
        except InputError:
            refused.append(1)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(enter, range(6)))
    assert most == [1]
    assert len(refused) == 5


def test_who_loses_the_lock_knows_it_at_the_next_beat_or_when_he_asks_and_leaves_it(place, quick, monkeypatch, caplog):
    theirs = json.dumps({"process": 7, "host": "elsewhere", "id": "x"})
    with Workdir(place).locked() as lock:
        (place / ".lock").write_text(theirs)
        time.sleep(0.5)
    assert f"another process has taken {place} over" in caplog.text  # nobody has checked
    with pytest.raises(TakenOverError, match=f"another run has taken {place} over"):
        lock.check()
    assert (place / ".lock").read_text() == theirs

    monkeypatch.setattr(lease, "_BEAT_SECONDS", 100)
    for change in (lambda: (place / ".lock").write_text(theirs), (place / ".lock").unlink):
        (place / ".lock").unlink(missing_ok=True)
        caplog.clear()
        with Workdir(place).locked() as lock:
            lock.check(ask=True)
            change()
            lock.check()
            for ask in (True, False):
                with pytest.raises(TakenOverError):
                    lock.check(ask)
        assert caplog.text == ""
        assert not (place / ".lock").exists() or (place / ".lock").read_text() == theirs


def test_a_bucket_that_does_not_answer_takes_no_lock_away(place, quick, refuse, caplog):
    with Workdir(place).locked() as lock:
        with refuse("POST"):
            lock.check(ask=True)
        assert f"{place}/.lock could not be written: Forbidden" in caplog.text
        lock.check(ask=True)
    assert not (place / ".lock").exists()


def test_of_two_that_take_a_lock_over_the_slower_one_is_refused(place, quick, monkeypatch):
    (place / ".lock").write_text(json.dumps({"process": 7, "host": "elsewhere", "id": "x", "beat": 3}))
    look, theirs = lease._changed, json.dumps({"process": 8, "host": "faster", "id": "y", "beat": 0})

    def be_overtaken(path, version):
        if look(path, version):
            return True
        (place / ".lock").write_text(theirs)  # between our last look and our writing
        monkeypatch.setattr(lease, "_changed", lambda path, version: True)
        return False

    monkeypatch.setattr(lease, "_changed", be_overtaken)
    with pytest.raises(InputError, match="in use by process 8 on faster"), Workdir(place).locked():
        pass
    assert (place / ".lock").read_text() == theirs  # not for a moment was it ours


def test_a_lock_whose_answers_are_lost_is_kept(place, server, quick, monkeypatch):
    put = server.put

    def put_and_fail(bucket, name, *more):
        put(bucket, name, *more)
        monkeypatch.setattr(server, "put", put)
        raise Refused(503, "written, but nobody is told")

    monkeypatch.setattr(server, "put", put_and_fail)
    with Workdir(place).locked():
        monkeypatch.setattr(server, "put", put_and_fail)
        time.sleep(4)  # gcsfs tries again after 1 to 2 seconds
        second = Workdir(place).locked()
        with pytest.raises(InputError, match="in use"), second:
            pass
    assert not (place / ".lock").exists()


@pytest.mark.parametrize("late", ["written", "sealed"])
def test_who_wakes_in_the_middle_of_a_save_seals_and_deletes_nothing_of_the_new_owners(place, quick, monkeypatch, late):
    """The folder is taken over when the third checkpoint is written, or when it is sealed and the first one is to go."""
    directory, seal = place / "checkpoints", checkpoint.write_checksums

    def stand_still(path, lock):
        if path.name != "3":
            return seal(path, lock)
        if late == "sealed":
            seal(path, lock)
        (place / ".lock").write_text(json.dumps({"process": 7, "host": "elsewhere", "id": "x"}))
        if late == "written":
            seal(path, lock)

    def save_three(lock):
        with checkpoint.CheckpointWriter(directory, 2, lock) as writer:
            for step in (1, 2, 3):
                writer.save(make_state(step), {}, {"mse": 1.0 / step})

    monkeypatch.setattr(checkpoint, "write_checksums", stand_still)
    with Workdir(place).locked() as lock, pytest.raises(TakenOverError, match=f"another run has taken {place} over"):
        save_three(lock)
    assert checkpoint.steps(directory) == [1, 2, 3]
    faults = [checkpoint.fault(directory / str(step)) for step in (1, 2, 3)]
    assert faults == [None, None, None if late == "sealed" else "it is incomplete (it was never sealed)"]
