"""Records a trace of some training steps with JAX's profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
from etils import epath

from stlight_jax.config.sections import ProfileSection
from stlight_jax.console.messages import one_line, print_message
from stlight_jax.storage.log_folder import LogFolder
from stlight_jax.training.clock import StepClock


def steps_to_trace(profile: ProfileSection, done: int, total: int) -> range:
    """Returns the numbers of the steps to trace. Prints a line if the run ends before the last of them.

    Args:
      profile: The config's section `profile`.
      done: Completed steps.
      total: Steps of the whole run.
    """
    first = done + 1 + profile.first + 1  # the very first step compiles
    if profile.steps and first > total:
        print_message(f"no step is traced: profile.first is {profile.first}, and only {total - done} steps are left")
    elif profile.steps and first + profile.steps > total + 1:
        print_message(f"only {total + 1 - first} steps are traced instead of {profile.steps}: the run ends at step {total}")
    return range(first, min(first + profile.steps, total + 1))


class StepTrace:
    """Traces a range of steps; a context manager that ends an unfinished trace.

    Only one process of a run uses it: the steps of all processes are the same, and processes on one host would write the same
    files. If the profiler fails, a message is printed and training continues.

    Args:
      steps: Numbers of the steps, as in `metrics.jsonl`; may be empty.
      directory: Folder of traces, local or `gs://`; each trace gets a folder of its own.
      clock: Clock of the run. Starting and writing a trace are pauses of kind "profile".
    """

    def __init__(self, steps: range, directory: epath.PathLike, clock: StepClock):
        self._steps, self._directory, self._clock = steps, epath.Path(directory), clock
        self._first = self._last = 0  # steps of the current trace; 0: none

    def __enter__(self) -> StepTrace:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Surrounds the launch of step `number`, including `clock.launched`. Starts and ends the trace."""
        if self._steps and number == self._steps[0]:
            self._start(number)
        self._last = number
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield
        if self._steps and number == self._steps[-1]:
            self._stop()

    def _start(self, number: int) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # recording every call in Python would slow the host down
        with self._clock.paused("profile"), contextlib.ExitStack() as on_failure:
            try:
                folder = LogFolder(self._directory)  # the profiler writes to local disks only
                on_failure.callback(folder.close)
                folder.local.mkdir(parents=True, exist_ok=True)
                jax.profiler.start_trace(folder.local, profiler_options=options)
            except (OSError, RuntimeError) as error:
                print_message(f"no step is traced, the profiler did not start: {one_line(error)}")
                return
            on_failure.pop_all()
        self._folder, self._first = folder, number

    def _stop(self) -> None:
        if not self._first:
            return
        name, self._first = f"the trace of steps {self._first} to {self._last}", 0
        message = f"{name} could not be written to {self._directory}"
        # The pause waits for the last step, so that the trace holds all of its work.
        with self._clock.paused("profile"):
            try:
                try:
                    jax.profiler.stop_trace()
                finally:
                    written = self._folder.close()
                if written:
                    message = (
                        f"{name} is in {self._directory}: view it with xprof --logdir={self._directory} (pip install xprof, "
                        "which is also TensorBoard's profile plugin), or open the .trace.json.gz at https://ui.perfetto.dev"
                    )
            except Exception as error:  # a lost trace must not end a training
                message += f": {one_line(error)}"
        print_message(message)
