"""Training runs in processes of their own that meet full disks, jumping clocks and signals."""

import resource
import subprocess
import threading
import time

from stlight_jax.runs import checkpoint
from tests.conftest import ROOT, small_config
from tests.training.runs import alone, assert_same_state, command, losses, newest_step, raw_trees, run_to_end


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


def assert_goes_on_to_the_end(workdir, whole, start):
    """Run again, it resumes at `start` and ends with the parameters and losses of the run that nothing happened to."""
    result = run_to_end(command(workdir, run_config()))
    assert result.returncode == 0, result.stderr
    assert (f"resuming {workdir} at step {start} of 30" in result.stderr) == (start > 0), result.stderr
    assert_same_state(raw_trees(workdir, 30), raw_trees(whole, 30))
    assert losses(workdir) == losses(whole)


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
    assert [checkpoint.find_damage(workdir / "checkpoints" / str(step)) for step in found] == [None] * len(found)
    return found[-1]


def being_saved(workdir):
    return [path for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*") if path.exists()]
