"""Disks that fill up, folders that vanish, clocks that jump, signals at bad moments: one line, a right status, nothing lost."""

import functools
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import threading
import time

import jax
import pytest
import rich.console

from stlight_jax import InputError
from stlight_jax.console import messages
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.runs import checkpoint, checkpoint_writer, seals
from stlight_jax.runs.metrics_log import MetricsLog, read_metrics
from stlight_jax.training import loop, setup
from stlight_jax.training.saved_state import to_trees
from tests.conftest import ROOT, small_config
from tests.runs.checkpoints import damage, make_state
from tests.training.runs import alone, assert_same_state, command, losses, newest_step, raw_trees, run_to_end

pytestmark = pytest.mark.compiled_fast


class Started:
    """A train.py that is under way."""

    def __init__(self, config, workdir, environment=None):
        self.workdir = workdir
        arguments = command(workdir, config)
        self._process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment or alone(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.pid, self.signal = self._process.pid, self._process.send_signal
        self._lines = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(iter(self._process.stderr.readline, "")))
        self._reader.start()

    @property
    def said(self):
        return "".join(self._lines)

    def until(self, condition):
        """Returns as soon as `condition` holds."""
        deadline = time.monotonic() + 200
        while not condition():
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.005)

    def until_step(self, step):
        self.until(lambda: newest_step(self.workdir) >= step)

    def until_said(self, text):
        self.until(lambda: text in self.said)

    def end(self):
        """Its status. It must come to its end by itself, without a traceback."""
        try:
            status = self._process.wait(150)
        finally:
            self._process.kill()
            self._reader.join()
        assert "Traceback" not in self.said, self.said
        return status

    def error(self):
        """The one line of a run that ended with status 2."""
        assert self.end() == 2, self.said
        (line,) = [line for line in self.said.splitlines() if line.startswith("error: ")]
        assert "ERROR" not in self.said
        return line


def run_config():
    """Thirty steps that are saved one by one."""
    config = small_config()
    config.train.update(epochs=10, checkpoint_every=1, keep_checkpoints=3)
    config.data.validation_sequences = 2
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    result = run_to_end(command(folder, run_config()))
    assert result.returncode == 0, result.stderr
    return folder


def assert_goes_on_to_the_end(workdir, whole, start):
    """Run again, it resumes at `start` and ends with the parameters and losses of the run that nothing happened to."""
    result = run_to_end(command(workdir, run_config()))
    assert result.returncode == 0, result.stderr
    assert (f"resuming {workdir} at step {start} of 30" in result.stderr) == (start > 0), result.stderr
    assert_same_state(raw_trees(workdir, 30), raw_trees(whole, 30))
    assert losses(workdir) == losses(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Takes all space that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 12))
        except OSError:
            return path


def limit_files(pid, size):
    """No file of a process can grow beyond so many bytes: to the process a full disk that no other one sees."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def size_of_log(workdir):
    return (workdir / "metrics.jsonl").stat().st_size


def assert_checkpoints_are_sound(workdir):
    """Returns the newest one's step."""
    found = checkpoint.steps(workdir / "checkpoints")
    assert found
    assert [seals.find_damage(workdir / "checkpoints" / str(step)) for step in found] == [None] * len(found)
    return found[-1]


@pytest.fixture
def limited():
    """Limits the size of this process's files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_finds_the_disk_full_is_told_and_the_one_before_stays(limited, tmp_path):
    def save_two():
        with checkpoint_writer.CheckpointWriter(tmp_path / "checkpoints", 2) as writer:
            writer.save(1, to_trees(make_state(1)), {}, {"mse": 1.0})
            writer.wait()
            limited(100)
            writer.save(2, to_trees(make_state(2)), {}, {"mse": 0.5})

    with pytest.raises(InputError, match=r"the checkpoint in .*/checkpoints could not be written: .*File too large"):
        save_two()
    limited(resource.RLIM_INFINITY)
    assert assert_checkpoints_are_sound(tmp_path) == 1


@pytest.mark.long
def test_a_full_disk_ends_the_run_and_leaves_what_was_saved(small_run, tmp_path, limited, monkeypatch, caplog):
    """In one process: the third save fails, and the run, which knows of it at the next step, does not go on to the fourth."""
    small_run.train.update(epochs=2, checkpoint_every=1)
    monkeypatch.setattr(setup, "make_launcher", functools.partial(make_launcher, devices=jax.devices()[:1]))
    original = checkpoint_writer.CheckpointWriter.save

    def save(writer, state, *rest):
        if int(state.step) == 3:
            writer.wait()
            limited(10_000)
        return original(writer, state, *rest)

    message = r"the checkpoint in .*/cut/checkpoints could not be written: .*File too large"
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_writer.CheckpointWriter, "save", save)
        with pytest.raises(InputError, match=message):
            loop.train(small_run, tmp_path / "cut")
    limited(resource.RLIM_INFINITY)
    assert caplog.text == ""
    assert assert_checkpoints_are_sound(tmp_path / "cut") == 2
    assert max(losses(tmp_path / "cut")) <= 4
    for place in ("cut", "whole"):
        loop.train(small_run, tmp_path / place)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_line_that_finds_no_space_does_not_end_a_run(tmp_path, limited, monkeypatch):
    """`train.py 2> on_the_full_disk`: the line is printed with the next one for which there is space."""
    with (tmp_path / "said").open("w") as file:
        monkeypatch.setattr(messages, "console", rich.console.Console(file=file))
        limited(10)
        messages.print_message("step one")
        messages.print_message("step two")
        limited(resource.RLIM_INFINITY)
        messages.print_message("step three")
    assert (tmp_path / "said").read_text().endswith("step two\nstep three\n")


def test_a_log_that_cannot_be_written_is_told_in_one_line(tmp_path, limited):
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})
    limited((tmp_path / "metrics.jsonl").stat().st_size + 10)
    with pytest.raises(InputError, match=r"metrics.jsonl could not be written: .*File too large"):
        log.write(2, "train", {"loss": 2.0})
    limited(resource.RLIM_INFINITY)
    log.close()
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, "started", {})
    log.write(2, "train", {"loss": 3.0})
    log.close()
    assert [line["loss"] for line in read_metrics(tmp_path, "train")] == [1.0, 3.0]


@pytest.mark.parametrize("jump", [86_400, -365 * 86_400])
def test_saves_do_not_mind_the_clock(tmp_path, monkeypatch, jump):
    """Put forward or back at any of the hundreds of moments at which Orbax looks at it."""
    real = time.time
    looks = 0

    def clock():
        nonlocal looks
        looks += 1
        return real() + (jump if looks >= at else 0)

    at = float("inf")
    monkeypatch.setattr(time, "time", clock)
    with checkpoint_writer.CheckpointWriter(tmp_path, 2) as writer:
        for step in range(1, 13):
            at = looks + 10 * step
            writer.save(step, to_trees(make_state(step)), {}, {"mse": float(step)})
            writer.wait()
            assert looks > at
            at = float("inf")
    assert checkpoint.steps(tmp_path) == [1, 11, 12]  # the best and the last two
    assert [seals.find_damage(tmp_path / str(step)) for step in (1, 11, 12)] == [None, None, None]


def test_a_workdir_that_cannot_be_made_is_told_in_one_line(small_run, tmp_path):
    (tmp_path / "file").write_text("")
    workdir = tmp_path / "file" / "run"
    error = Started(small_run, workdir).error()
    assert error == f"error: {workdir} cannot be written to: [Errno 20] Not a directory: '{workdir}'"


def test_sigterm_before_the_first_step_ends_the_run_with_its_status(small_run, tmp_path):
    started = Started(small_run, tmp_path / "run")
    started.until_said("loading libraries")
    started.signal(signal.SIGTERM)
    assert started.end() == 75
    assert "stopped before the first step, so nothing had to be saved; run the same command" in started.said
    assert newest_step(tmp_path / "run") == 0


@pytest.mark.long
@pytest.mark.parametrize("how", ["disk", "limit"])
def test_a_disk_that_is_full_when_a_checkpoint_is_saved(whole, request, tmp_path, how):
    folder = request.getfixturevalue("small_disk") if how == "disk" else tmp_path
    workdir = folder / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    if how == "disk":
        filler = fill(folder)
        message = "No space left on device"
    else:
        limit_files(started.pid, size_of_log(workdir) + 3000)  # less than a checkpoint's arrays
        message = "File too large"
    error = started.error()
    # The log is written to in between, and may be what meets the full disk.
    assert re.search(f"{workdir}/(checkpoints|metrics.jsonl) could not be written: ", error)
    assert message in error
    if how == "disk":
        again = Started(run_config(), workdir)
        assert "No space left on device" in again.error()
        filler.unlink()
    saved = assert_checkpoints_are_sound(workdir)
    assert 5 <= saved < 30
    assert_goes_on_to_the_end(workdir, whole, saved)


@pytest.mark.long
@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_disk_that_is_full_when_the_log_is_written(whole, tmp_path, tensorboard):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text('{"step": 0, "kind": "filler"}\n' * 40_000)  # more than a checkpoint's files
    config = run_config()
    config.train.tensorboard = tensorboard
    started = Started(config, workdir)
    started.until_step(5)
    limit_files(started.pid, size_of_log(workdir) + 1000)
    assert f"error: {workdir}/metrics.jsonl could not be written: [Errno 27] File too large" in started.error()
    assert_goes_on_to_the_end(workdir, whole, assert_checkpoints_are_sound(workdir))


@pytest.mark.long
def test_a_disk_that_is_full_at_the_start(whole, tmp_path):
    started = Started(run_config(), tmp_path / "run")
    limit_files(started.pid, 100)
    assert f"error: {tmp_path}/run/config.json could not be written: [Errno 27] File too large" in started.error()
    assert_goes_on_to_the_end(tmp_path / "run", whole, 0)


@pytest.mark.long
def test_tensorboard_events_that_find_the_disk_full(tmp_path, small_disk):
    config = run_config()
    config.train.update(tensorboard=True, checkpoint_every=1000)
    workdir = small_disk / "run"
    elsewhere = tmp_path / "metrics.jsonl"  # only the events meet the full disk
    workdir.mkdir()
    elsewhere.touch()
    (workdir / "metrics.jsonl").symlink_to(elsewhere)
    config.train.epochs = 100_000
    started = Started(config, workdir)
    started.until(lambda: len(losses(workdir)) > 5)
    fill(small_disk)
    assert f"{workdir}/tensorboard could not be written: " in started.error()


@pytest.fixture
def immutable():
    """Makes folders that even root cannot write to."""
    made = []

    def make(folder):
        done = shutil.which("chattr") and subprocess.run(["chattr", "+i", folder], capture_output=True, check=False)
        if not done or done.returncode:
            pytest.skip("no folder can be made immutable here")
        made.append(folder)

    yield make
    for folder in made:
        subprocess.run(["chattr", "-i", folder], check=True)


@pytest.mark.long
def test_a_folder_that_is_not_or_no_longer_writable(whole, tmp_path, immutable):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    immutable(workdir / "checkpoints")
    assert f"the checkpoint in {workdir}/checkpoints could not be written: " in started.error()
    immutable(workdir)
    assert f"error: {workdir} cannot be written to: [Errno 1] Operation not permitted" in Started(run_config(), workdir).error()
    for folder in (workdir, workdir / "checkpoints"):
        subprocess.run(["chattr", "-i", folder], check=True)
    # An old one may have been on its way out: emptied, but not removed.
    assert_goes_on_to_the_end(workdir, whole, checkpoint.latest_valid_step(workdir / "checkpoints"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["checkpoints", "."])
def test_a_folder_that_vanishes(whole, tmp_path, name):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    (workdir / name).resolve().rename(tmp_path / "gone")
    error = started.error()
    assert f"{workdir}/checkpoints is gone; checkpoints cannot be written, training stops at step" in error or (
        f"the checkpoint in {workdir}/checkpoints could not be written: " in error
    )
    checkpoints = tmp_path / "gone" / ("checkpoints" if name == "." else "")
    assert checkpoint.latest_valid_step(checkpoints) >= 4  # the fifth was there, but maybe not sealed yet
    assert_goes_on_to_the_end(workdir, whole, 0)


@pytest.mark.long
def test_training_does_not_mind_the_clock(small_run, tmp_path, monkeypatch):
    """It jumps to and fro all the while."""
    small_run.train.update(epochs=10, checkpoint_every=1, keep_checkpoints=40)
    loop.train(small_run, tmp_path / "whole")
    real, looks = time.time, 0

    def clock():
        nonlocal looks
        looks += 1
        return real() + (0, 86_400, -86_400, 365 * 86_400, -365 * 86_400)[looks // 40 % 5]

    monkeypatch.setattr(time, "time", clock)
    state = loop.train(small_run, tmp_path / "jumping")
    assert looks > 1000
    assert losses(tmp_path / "jumping") == losses(tmp_path / "whole")
    assert checkpoint.steps(tmp_path / "jumping" / "checkpoints") == list(range(1, 31))
    assert_checkpoints_are_sound(tmp_path / "jumping")
    assert_same_state(loop.train(small_run, tmp_path / "jumping"), state)


@pytest.mark.long
def test_a_whole_process_does_not_mind_the_clock(whole, tmp_path):
    """All of it, also what is written in C++, sees the clock of libfaketime."""
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    setting = tmp_path / "setting"
    setting.write_text("+0")
    environment = {
        **alone(),
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    started = Started(run_config(), tmp_path / "run", environment)
    for step, jump in ((4, "+1d"), (9, "-1d"), (14, "+365d"), (19, "-365d")):
        started.until_step(step)
        setting.write_text(jump)
    assert started.end() == 0
    stamps = [line["time"] for line in read_metrics(tmp_path / "run", "train")]
    assert max(stamps) - min(stamps) > 600 * 86_400  # it did jump
    assert_same_state(raw_trees(tmp_path / "run", 30), raw_trees(whole, 30))
    assert losses(tmp_path / "run") == losses(whole)


def being_saved(workdir):
    return [path for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*") if path.exists()]


@pytest.mark.long
def test_sigterm_during_a_save(whole, tmp_path):
    workdir, before = tmp_path / "run", 0
    for _ in range(5):
        started = Started(run_config(), workdir)
        started.until(lambda before=before: newest_step(workdir) > before and being_saved(workdir))
        started.signal(signal.SIGTERM)
        assert started.end() == 75, started.said
        before = assert_checkpoints_are_sound(workdir)
        assert f"stopped on request at step {before}, saved; run the same command to continue" in started.said
        assert not being_saved(workdir)
    assert_goes_on_to_the_end(workdir, whole, before)


@pytest.mark.long
def test_a_second_sigterm_ends_the_run_at_once(whole, tmp_path):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    started.signal(signal.SIGTERM)
    started.until_said("stop requested")
    started.signal(signal.SIGTERM)
    assert started.end() in (-signal.SIGTERM, 75)  # the save may have been quicker
    assert_goes_on_to_the_end(workdir, whole, checkpoint.latest_valid_step(workdir / "checkpoints"))


@pytest.mark.long
@pytest.mark.parametrize("line", ["compiling the training step", "first step"])
def test_sigterm_during_compilation_and_after_the_first_step(whole, tmp_path, line):
    environment = {**alone(), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    started = Started(run_config(), tmp_path / "run", environment)
    started.until_said(line)
    started.signal(signal.SIGTERM)
    assert started.end() == 75, started.said
    saved = assert_checkpoints_are_sound(tmp_path / "run")
    assert f"stopped on request at step {saved}, saved" in started.said
    if line.startswith("compiling"):
        assert saved == 1
    assert_goes_on_to_the_end(tmp_path / "run", whole, saved)


@pytest.mark.long
def test_sigterm_at_random_moments_of_the_start(whole, tmp_path):
    """75 each time, and what is there can be gone on with."""
    workdir = tmp_path / "run"
    run_to_end(command(workdir, run_config()))  # in the caches from now on
    shutil.rmtree(workdir)
    for tenths in range(2, 60, 7):
        started = Started(run_config(), workdir)
        started.until_said("loading libraries")
        time.sleep(tenths / 10)
        started.signal(signal.SIGTERM)
        assert started.end() == 75, (tenths, started.said)
        assert re.search("stopped (as asked|on request)", started.said)
        if newest_step(workdir) == 30:
            break
    assert_goes_on_to_the_end(workdir, whole, newest_step(workdir))


@pytest.mark.long
def test_sigterm_during_validation(tmp_path):
    config = run_config()
    config.data.validation_sequences = 20_000
    started = Started(config, tmp_path / "run")
    started.until(lambda: losses(tmp_path / "run"))
    time.sleep(0.5)
    begun = time.monotonic()
    started.signal(signal.SIGTERM)
    assert started.end() == 75, started.said
    assert time.monotonic() - begun < 20
    assert "stopped on request at step 1, saved" in started.said
    assert read_metrics(tmp_path / "run", "validation") == []
    assert assert_checkpoints_are_sound(tmp_path / "run") == 1


@pytest.mark.long
def test_damaged_checkpoints_at_the_start(whole, tmp_path):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    started.signal(signal.SIGKILL)
    assert started.end() == -signal.SIGKILL
    newest = checkpoint.latest_valid_step(workdir / "checkpoints")
    damage(workdir / "checkpoints" / str(newest))
    before = checkpoint.latest_valid_step(workdir / "checkpoints")
    assert before < newest
    (workdir / "config.json").write_text('{"model": {"dep')  # half written, as is its successor
    (workdir / "config.json.tmp").write_text("{")
    (workdir / "metrics.jsonl").write_bytes((workdir / "metrics.jsonl").read_bytes()[:-20])
    shutil.copytree(workdir, tmp_path / "copy")
    assert_goes_on_to_the_end(workdir, whole, before)
    assert [path.name for path in (workdir / "rejected_checkpoints").iterdir() if path.name.startswith(f"{newest}-")]

    workdir = tmp_path / "copy"
    kept = checkpoint.steps(workdir / "checkpoints")
    for step in set(kept) - {newest}:
        damage(workdir / "checkpoints" / str(step))
    for _ in range(2):  # nor does the second start take the run for a new one
        error = Started(run_config(), workdir).error()
        assert f"{workdir}/checkpoints: no valid checkpoint is left (faulty: " in error
        assert "choose another --workdir to start anew" in error
    assert checkpoint.steps(workdir / "checkpoints") == kept
