"""Two runs in one folder of a bucket: refused while the first one lives, and no longer."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time

import pytest

from stlight_jax import InputError
from stlight_jax.errors import LockLostError
from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage import locks
from stlight_jax.training.saved_state import to_trees
from tests.fake_gcs import Refused
from tests.runs.checkpoints import make_state

pytestmark = pytest.mark.compiled_fast


def test_a_second_run_is_refused_while_the_first_one_lives(bucket_folder, quick_locks):
    first, second = Workdir(bucket_folder).locked(), Workdir(bucket_folder).locked()
    with first, pytest.raises(InputError, match=rf"in use by process {os.getpid()} on .*; wait for it, or"), second:
        pass
    assert not (bucket_folder / ".lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over(bucket_folder, quick_locks, caplog, monkeypatch, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = locks.socket.gethostname()
    here = {"host": host, "boot": locks._BOOT_ID.read_text().strip(), "processes": os.readlink("/proc/self/ns/pid")}
    at_once, when_stale = (0, 0.5), (0.5, 20)
    for process, machine, seconds in (
        (gone.pid, here, at_once),
        (os.getpid(), here, at_once),
        (1, {**here, "host": "elsewhere"}, when_stale),
        (gone.pid, {**here, "boot": "another machine of this name"}, when_stale),
        (gone.pid, {**here, "processes": "pid:[1]"}, when_stale),  # of a container that has the name of its machine
        (gone.pid, {"host": host}, when_stale),  # it does not say
    ):
        (bucket_folder / ".lock").write_text(json.dumps({"process": process, **machine, "id": "x", "beat": 3}))
        begun = time.monotonic()
        with Workdir(bucket_folder).locked():
            assert seconds[0] <= time.monotonic() - begun < seconds[1]
            assert f"process {process} on {machine['host']} ended without releasing its lock" in caplog.text
        caplog.clear()
    monkeypatch.setattr(locks, "_BOOT_ID", tmp_path / "nothing")  # nobody says
    assert locks._machine() == {}
    assert not locks._is_dead({"process": gone.pid, "host": host})
    (bucket_folder / ".lock").write_text("damaged")
    with Workdir(bucket_folder).locked():
        pass


def test_of_many_at_once_one_has_the_lock(bucket_folder, quick_locks):
    inside, most, refused = [], [], []

    def enter(_):
        try:
            with Workdir(bucket_folder).locked():
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


def test_who_loses_the_lock_knows_it_at_the_next_beat_or_when_he_asks_and_leaves_it(
    bucket_folder, quick_locks, monkeypatch, caplog
):
    theirs = json.dumps({"process": 7, "host": "elsewhere", "id": "x"})
    with Workdir(bucket_folder).locked() as lock:
        (bucket_folder / ".lock").write_text(theirs)
        time.sleep(0.5)
    assert f"another process has taken {bucket_folder} over" in caplog.text  # nobody has checked
    with pytest.raises(LockLostError, match=f"another run has taken {bucket_folder} over"):
        lock.check()
    assert (bucket_folder / ".lock").read_text() == theirs

    monkeypatch.setattr(locks, "_BEAT_SECONDS", 100)
    for change in (lambda: (bucket_folder / ".lock").write_text(theirs), (bucket_folder / ".lock").unlink):
        (bucket_folder / ".lock").unlink(missing_ok=True)
        caplog.clear()
        with Workdir(bucket_folder).locked() as lock:
            lock.check(refresh=True)
            change()
            lock.check()
            for refresh in (True, False):
                with pytest.raises(LockLostError):
                    lock.check(refresh)
        assert caplog.text == ""
        assert not (bucket_folder / ".lock").exists() or (bucket_folder / ".lock").read_text() == theirs


def test_a_bucket_that_does_not_answer_takes_no_lock_away(bucket_folder, quick_locks, refuse, caplog):
    with Workdir(bucket_folder).locked() as lock:
        with refuse("POST"):
            lock.check(refresh=True)
        assert f"{bucket_folder}/.lock could not be written: 403 POST" in caplog.text
        lock.check(refresh=True)
    assert not (bucket_folder / ".lock").exists()


def test_of_two_that_take_a_lock_over_the_slower_one_is_refused(bucket_folder, quick_locks, monkeypatch):
    (bucket_folder / ".lock").write_text(json.dumps({"process": 7, "host": "elsewhere", "id": "x", "beat": 3}))
    changes, theirs = locks._BucketLock._changes, json.dumps({"process": 8, "host": "faster", "id": "y", "beat": 0})

    def be_overtaken(self, generation):
        if changes(self, generation):
            return True
        (bucket_folder / ".lock").write_text(theirs)  # between our last look and our writing
        monkeypatch.setattr(locks._BucketLock, "_changes", lambda self, generation: True)
        return False

    monkeypatch.setattr(locks._BucketLock, "_changes", be_overtaken)
    with pytest.raises(InputError, match="in use by process 8 on faster"), Workdir(bucket_folder).locked():
        pass
    assert (bucket_folder / ".lock").read_text() == theirs  # not for a moment was it ours


def test_a_lock_whose_answers_are_lost_is_kept(bucket_folder, server, quick_locks, monkeypatch):
    put = server.put

    def put_and_fail(bucket, name, *more):
        put(bucket, name, *more)
        monkeypatch.setattr(server, "put", put)
        raise Refused(503, "written, but nobody is told")

    monkeypatch.setattr(server, "put", put_and_fail)
    with Workdir(bucket_folder).locked():
        monkeypatch.setattr(server, "put", put_and_fail)
        time.sleep(4)  # the client tries again after 1 to 2 seconds
        second = Workdir(bucket_folder).locked()
        with pytest.raises(InputError, match="in use"), second:
            pass
    assert not (bucket_folder / ".lock").exists()


@pytest.mark.parametrize("late", ["written", "sealed"])
def test_who_wakes_in_the_middle_of_a_save_seals_and_deletes_nothing_of_the_new_owners(
    bucket_folder, quick_locks, monkeypatch, late
):
    """The folder is taken over when the third checkpoint is written, or when it is sealed and the first one is to go."""
    directory, seal = bucket_folder / "checkpoints", checkpoint.write_seal

    def stand_still(path, lock):
        if path.name != "3":
            return seal(path, lock)
        if late == "sealed":
            seal(path, lock)
        (bucket_folder / ".lock").write_text(json.dumps({"process": 7, "host": "elsewhere", "id": "x"}))
        if late == "written":
            seal(path, lock)

    def save_three(lock):
        with checkpoint_writer.CheckpointWriter(directory, 2, lock) as writer:
            for step in (1, 2, 3):
                writer.save(step, to_trees(make_state(step)), {}, {"mse": 1.0 / step})

    monkeypatch.setattr(checkpoint_writer, "write_seal", stand_still)
    with (
        Workdir(bucket_folder).locked() as lock,
        pytest.raises(LockLostError, match=f"another run has taken {bucket_folder} over"),
    ):
        save_three(lock)
    assert checkpoint.steps(directory) == [1, 2, 3]
    faults = [checkpoint.find_damage(directory / str(step)) for step in (1, 2, 3)]
    assert faults == [None, None, None if late == "sealed" else "it is incomplete (it was never sealed)"]
