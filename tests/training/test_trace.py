"""Traces of training steps: what is in the files, however the run ends."""

import collections
import gzip
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import jax
import ml_collections
import pytest

from stlight_jax.training import setup, trace
from stlight_jax.training.loop import train
from tests.conftest import ROOT
from tests.training.runs import command, losses

pytestmark = pytest.mark.compiled_fast


def events(folder):
    """{name: the complete events} of the one trace in a folder."""
    (path,) = pathlib.Path(folder).glob("plugins/profile/*/*.trace.json.gz")
    assert path.with_name(path.name.replace(".trace.json.gz", ".xplane.pb")).stat().st_size > 1000
    named = collections.defaultdict(list)
    for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        if event.get("ph") == "X":
            named[event["name"]].append(event)
    return named


def steps_in(folder):
    return [int(event["args"]["step_num"]) for event in events(folder)["train"]]


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(trace, "print_message", lines.append)
    return lines


def test_the_steps_asked_for_are_traced_to_their_end(small_run, tmp_path, said):
    small_run.train.checkpoint_every = 100
    small_run.profile.update(steps=3, first=1)
    train(small_run, tmp_path)
    assert steps_in(tmp_path / "profile") == [3, 4, 5]  # 1 compiles, and 2 is left out
    assert len(said) == 1
    assert f"the trace of steps 3 to 5 is in {tmp_path}/profile" in said[0]
    # Every operation of the compiled steps ran three times on each of eight devices: none of the last step's is missing.
    named = events(tmp_path / "profile")
    operations = [name for name in named if re.match(r"(psum|all-reduce|all_reduce)[.\d]*$", name)]
    assert operations
    assert {len(named[name]) for name in operations} == {3 * 8}


@pytest.mark.parametrize(
    ("steps", "first", "done", "total", "traced"),
    [
        (0, 5, 0, 100, []),
        (2, 0, 0, 100, [2, 3]),  # step 1 compiles
        (2, 5, 0, 100, [7, 8]),
        (2, 5, 40, 100, [47, 48]),  # a later start of the run
        (10, 5, 92, 100, [99, 100]),
        (0, 5, 99, 100, []),
    ],
)
def test_which_steps_are_traced(said, steps, first, done, total, traced):
    profile = ml_collections.ConfigDict({"steps": steps, "first": first})
    assert list(trace.steps_to_trace(profile, done, total)) == traced
    fewer = ["only 2 steps are traced instead of 10: the run ends at step 100"]
    assert said == (fewer if len(traced) < steps else [])


def test_a_trace_that_would_begin_after_the_end_is_said(said):
    profile = ml_collections.ConfigDict({"steps": 2, "first": 5})
    assert list(trace.steps_to_trace(profile, 94, 100)) == []
    assert said == ["no step is traced: profile.first is 5, and only 6 steps are left"]


def test_an_error_closes_the_trace(small_run, tmp_path, monkeypatch, said):
    small_run.profile.update(steps=100, first=0)
    training_batches = setup.training_batches

    def batches(*arguments):
        for number, batch in enumerate(training_batches(*arguments)):
            if number == 5:  # read two ahead: while the third step runs
                raise OSError("the disk is gone")
            yield batch

    monkeypatch.setattr(setup, "training_batches", batches)
    with pytest.raises(OSError, match="the disk is gone"):
        train(small_run, tmp_path / "broken")
    assert steps_in(tmp_path / "broken" / "profile") == [2, 3]
    with jax.profiler.trace(tmp_path / "next"):  # nothing is left open that would be in its way
        pass


@pytest.mark.long
def test_sigterm_closes_the_trace(small_run, tmp_path):
    small_run.train.update(epochs=100_000, checkpoint_every=1_000_000)
    small_run.profile.update(steps=100_000, first=0)
    process = subprocess.Popen(command(tmp_path, small_run), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 200
        while max(losses(tmp_path), default=0) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 75, errors
    saved = int(re.search(r"stopped on request at step (\d+), saved", errors).group(1))
    assert steps_in(tmp_path / "profile") == list(range(2, saved + 1))
    assert f"the trace of steps 2 to {saved} is in" in errors


def run_steps(directory, steps=range(2, 4)):
    with trace.StepClock(1, "") as clock, trace.StepTrace(steps, directory, clock) as tracer:
        for number in range(1, 6):
            with tracer.step(number):
                pass


def test_a_trace_that_cannot_be_had_stops_nothing(tmp_path, said):
    jax.profiler.start_trace(tmp_path / "another")
    try:
        run_steps(tmp_path / "profile")
    finally:
        jax.profiler.stop_trace()
    assert said[0].startswith("no step is traced, the profiler did not start: Profile has already been started.")
    (tmp_path / "file").write_text("")
    run_steps(tmp_path / "file")
    assert re.fullmatch(r"no step is traced, the profiler did not start: .*File exists.*", said[1])
    run_steps(tmp_path / "profile")
    assert steps_in(tmp_path / "profile") == [2, 3]


def test_a_trace_that_cannot_be_written_is_said(bucket_folder, refuse, said, caplog):
    with refuse("POST"):
        run_steps(bucket_folder)
    assert said[0] == f"the trace of steps 2 to 3 could not be written to {bucket_folder}"
    assert "could not be sent; they are kept in" in caplog.text


def test_a_missing_folder_for_temporary_files_stops_nothing(bucket_folder, tmp_path, monkeypatch, said):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    run_steps(bucket_folder)
    (line,) = said
    assert re.fullmatch(r"no step is traced, the profiler did not start: .*No such file or directory.*", line)


def test_a_trace_goes_to_a_bucket_by_way_of_a_local_folder(bucket_folder, server, monkeypatch, said):
    folders = []

    def start(folder, **options):
        folders.append(folder)
        start_trace(folder, **options)

    start_trace = jax.profiler.start_trace
    monkeypatch.setattr(jax.profiler, "start_trace", start)
    run_steps(bucket_folder / "profile")
    assert [name.endswith(".trace.json.gz") for name in server.names("bucket") if bucket_folder.name in name].count(True) == 1
    assert f"the trace of steps 2 to 3 is in {bucket_folder}/profile" in said[0]
    assert not folders[0].exists()
