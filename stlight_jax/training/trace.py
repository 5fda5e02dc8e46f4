"""A trace of some training steps by JAX's profiler: what the devices and the host did when."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

import jax
import ml_collections
from etils import epath

from stlight_jax.console.messages import say
from stlight_jax.storage import paths
from stlight_jax.training.clock import StepClock


def steps_to_trace(profile: ml_collections.ConfigDict, done: int, total: int) -> range:
    """The numbers of the steps that the section `profile` asks for, of those after step `done` up to step `total`."""
    first = done + 1 + profile.first + 1  # the very first step compiles
    if profile.steps and first > total:
        say(f"no step is traced: profile.first is {profile.first}, and {total - done} steps are left")
    elif profile.steps and first + profile.steps > total + 1:
        say(f"only {total + 1 - first} steps are traced instead of {profile.steps}: the run ends at step {total}")
    return range(first, min(first + profile.steps, total + 1))


class StepTrace:
    """Traces the steps of a range; a context manager that closes a trace under way.

    One process of a run does so: the steps of all are the same, and the processes of one host would write the same files.
    Where a trace cannot be had, a line says so, and training goes on.

    Args:
      steps: their numbers, as in `metrics.jsonl`; empty for none.
      directory: where traces go, each into a folder of its own; local or remote.
      clock: of the run. Starting and writing a trace are pauses, "profile".
    """

    def __init__(self, steps: range, directory: epath.PathLike, clock: StepClock):
        self._steps, self._directory, self._clock = steps, epath.Path(directory), clock
        self._opened = contextlib.ExitStack()  # what ends with the trace
        self._begun_at = self._last = 0

    def __enter__(self) -> StepTrace:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around the launching of step `number`, of which the clock is told. Begins the trace and ends it, in its time."""
        if self._steps and number == self._steps[0]:
            self._start(number)
        self._last = number
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield
        if self._steps and number == self._steps[-1]:
            self._stop()

    def _start(self, number: int) -> None:
        with self._clock.paused("profile"):
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # to note every call in Python would make the host slower than it is
            try:
                local = self._directory
                if paths.is_remote(local):  # the profiler writes to local disks
                    local = epath.Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="stlight_profile_")))
                local.mkdir(parents=True, exist_ok=True)
                jax.profiler.start_trace(local, profiler_options=options)
            except (OSError, RuntimeError) as error:
                self._opened.close()
                say(f"no step is traced, the profiler did not start: {_first_line(error)}")
                return
        self._local, self._begun_at = local, number

    def _stop(self) -> None:
        if not self._begun_at:
            return
        first, self._begun_at = self._begun_at, 0
        # Waits for the last step, so that all of its work is in the trace.
        with self._clock.paused("profile"), self._opened:
            try:
                jax.profiler.stop_trace()
                if self._local != self._directory:
                    _copy(self._local, self._directory)
            except Exception as error:  # buckets have errors of their own; none is worth a training
                say(f"the trace of steps {first} to {self._last} could not be written: {_first_line(error)}")
                return
        say(
            f"steps {first} to {self._last} are traced in {self._directory}: look at them with xprof "
            f"--logdir={self._directory} (pip install xprof, which is TensorBoard's profile plugin, too), or open the "
            ".trace.json.gz at https://ui.perfetto.dev"
        )


def _copy(source: epath.Path, target: epath.Path) -> None:
    for folder, _, names in os.walk(source):
        to = target / os.path.relpath(folder, source)
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            (epath.Path(folder) / name).copy(to / name, overwrite=True)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
