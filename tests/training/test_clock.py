"""Where a training's time goes, on simulated devices: closed forms in simulated time, and known sleeps in real time."""

import itertools
import time

import pytest

from stlight_jax.training import clock as clock_module
from stlight_jax.training.clock import StepClock


class Simulation:
    """A host and a device that runs one step after the other. It stands in for the module `time` and for arrays."""

    def __init__(self, step_seconds):
        self.step_seconds, self.now, self.idle_from = step_seconds, 0.0, 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def launch(self):
        """When the step will be done: what `clock` finds out by waiting."""
        self.idle_from = max(self.monotonic(), self.idle_from) + self.step_seconds
        return self.idle_from

    def wait_for(self, done):
        self.now = max(self.now, done)


class RealTime(Simulation):
    """The same by the clock on the wall, with results that can be waited for."""

    def monotonic(self):
        return time.monotonic()

    def sleep(self, seconds):
        time.sleep(seconds)

    def launch(self):
        return _Result(super().launch())

    def wait_for(self, result):
        result.block_until_ready()


class _Result:
    def __init__(self, done):
        self.done = done

    def block_until_ready(self):
        time.sleep(max(0.0, self.done - time.monotonic()))
        return self


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(clock_module, "print_message", lines.append)
    return lines


@pytest.fixture
def simulated(monkeypatch):
    """Makes a simulation with steps of so many seconds, and a clock in its time."""

    def make(step_seconds, batch_size=8):
        simulation = Simulation(step_seconds)
        monkeypatch.setattr(clock_module, "time", simulation)
        monkeypatch.setattr(clock_module, "_time_when_ready", lambda done: done)
        return simulation, StepClock(batch_size, "buy a disk")

    return make


def source(simulation, data_seconds):
    """Batches, each after so many seconds."""
    for seconds in data_seconds:
        simulation.sleep(seconds)
        yield seconds


def run(simulation, clock, data_seconds, after_step=lambda number: None):
    """Steps as the training loop takes them: one is settled when the next one is under way."""
    waiting = None

    def settle():
        nonlocal waiting
        if waiting is not None:
            simulation.wait_for(waiting)
            clock.settled()
            waiting = None

    for number, _ in enumerate(clock.batches(source(simulation, data_seconds)), 1):
        result = simulation.launch()
        clock.launched(result)
        settle()
        waiting = result
        if number == 1:
            settle()
        after_step(number)
    settle()


def test_devices_wait_for_what_a_batch_takes_longer_than_a_step(simulated):
    simulation, clock = simulated(0.25)
    run(simulation, clock, [1.0, 0.0] + [1.0] * 9)
    # The batch of the second step, the first one that counts, is there at once.
    assert clock.figures() == pytest.approx(
        {"sequences_per_second": 8 * 10 / 9.25, "step_seconds": 0.925, "data_wait_seconds": 0.675}
    )
    assert clock.rate == pytest.approx(8 * 10 / 9.25)
    assert clock.summary() == "925 ms per step, 73.0 % of it waiting for data"
    assert clock.figures() == {}


def test_batches_that_are_made_while_a_step_runs_keep_nobody_waiting(simulated):
    simulation, clock = simulated(1.0)
    run(simulation, clock, [0.0, 0.0] + [0.75] * 9)
    assert clock.figures() == pytest.approx({"sequences_per_second": 8.0, "step_seconds": 1.0, "data_wait_seconds": 0.0})


def test_figures_are_of_the_steps_since_the_last_ones(simulated):
    simulation, clock = simulated(1.0)
    figures = []
    slow = [0.0] * 5 + [5.0] + [0.0] * 5

    def after_step(number):
        if number in (5, 9):  # of which 4 and 8 steps are settled, 3 and 4 of them counted
            figures.append(clock.figures())

    run(simulation, clock, slow, after_step)
    assert figures[0] == pytest.approx({"sequences_per_second": 8.0, "step_seconds": 1.0, "data_wait_seconds": 0.0})
    # One batch came 4 s after the step before it was done, in 4 steps.
    assert figures[1] == pytest.approx({"sequences_per_second": 4.0, "step_seconds": 2.0, "data_wait_seconds": 1.0})


def test_pauses_are_no_part_of_steps(simulated):
    simulation, clock = simulated(1.0)
    lengths = []

    def after_step(number):
        if number in (4, 8):
            with clock.paused("checkpoint") as elapsed:
                simulation.sleep(20.0)
                lengths.append(elapsed())
                simulation.sleep(20.0)
        if number == 8:
            with clock.paused("validation"):
                simulation.sleep(300.0)

    # As in the loop, nothing is under way when there is a pause: the next batch is late by the rest of its two seconds.
    run(simulation, clock, [2.0] * 11, lambda number: (simulation.wait_for(simulation.idle_from), after_step(number)))
    assert lengths == [20.0, 20.0]
    assert clock.figures() == pytest.approx({"sequences_per_second": 8 / 3, "step_seconds": 3.0, "data_wait_seconds": 2.0})
    assert clock.rate == pytest.approx(8 / 3)
    assert clock.summary() == ("3000 ms per step, 66.7 % of it waiting for data; pauses: checkpoint 80.0 s, validation 300.0 s")


def test_a_run_of_one_step_has_no_figures(simulated):
    simulation, clock = simulated(1.0)
    assert clock.summary() == ""
    run(simulation, clock, [1.0])
    assert clock.figures() == {}
    assert clock.rate == 0
    assert clock.summary() == ""


@pytest.mark.parametrize(
    ("step_seconds", "data_seconds", "steps", "warnings"),
    [
        (0.9, 1.0, 600, ["the devices waited for data in 10 % of the last 50 s: buy a disk"]),
        (0.96, 1.0, 600, []),  # 4 % is bearable
        (1.0, 0.9, 600, []),
        (0.5, 1.0, 49, []),  # too few to judge
        (0.05, 0.1, 99, []),  # too short
        (0.05, 0.1, 102, ["the devices waited for data in 50 % of the last 10 s: buy a disk"]),
    ],
)
def test_slow_data_are_said(simulated, said, step_seconds, data_seconds, steps, warnings):
    simulation, clock = simulated(step_seconds)
    run(simulation, clock, [0.0, 0.0] + [data_seconds] * (steps - 1))
    assert said == warnings


def test_warnings_become_rare(simulated, monkeypatch):
    simulation, clock = simulated(0.5)
    times = []
    monkeypatch.setattr(clock_module, "print_message", lambda line: times.append(simulation.now))
    run(simulation, clock, [1.0] * 20_000)
    apart = [after - before for before, after in itertools.pairwise([0, *times])]
    assert apart == pytest.approx([50, 600, 1200, 2400, 4800, 9600], abs=50)  # each is due with the next 50 steps


def test_known_sleeps_are_measured():
    figures = {}
    for name, step_seconds, data_seconds in (("slow data", 0.02, 0.06), ("slow steps", 0.06, 0.02)):
        simulation = RealTime(step_seconds)
        with StepClock(1, "") as clock:
            run(simulation, clock, [data_seconds] * 16)
            figures[name] = clock.figures()
    for name in figures:
        assert 0.059 < figures[name]["step_seconds"] < 0.12, name
    slow = figures["slow data"]
    assert slow["data_wait_seconds"] / slow["step_seconds"] == pytest.approx(0.04 / 0.06, abs=0.15)
    # Asking for a batch took a third of the host's time, behind running steps; only the first one was waited for.
    assert figures["slow steps"]["data_wait_seconds"] < 0.1 * figures["slow steps"]["step_seconds"]


def test_a_pause_waits_for_the_steps_under_way():
    simulation = RealTime(0.2)
    pauses = []

    def after_step(number):
        if number == 3:
            with clock.paused("profile") as elapsed:
                assert time.monotonic() >= simulation.idle_from
                time.sleep(0.5)
                pauses.append(elapsed())

    with StepClock(1, "") as clock:
        run(simulation, clock, [0.0] * 5, after_step)
        figures = clock.figures()
    assert pauses[0] >= 0.5
    assert 0.199 < figures["step_seconds"] < 0.3  # 0.325 with the pause


def test_what_goes_wrong_in_a_step_is_raised():
    class Broken:
        def block_until_ready(self):
            raise ValueError("the device is gone")

    with StepClock(1, "") as clock:
        for _ in clock.batches([0]):
            clock.launched(Broken())
        with clock.paused("profile"):
            pass
        with pytest.raises(ValueError, match="the device is gone"):
            clock.settled()
