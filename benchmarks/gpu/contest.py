"""The whole network against PyTorch: stage `contest`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.gpu.bounds import fused_bytes
from benchmarks.gpu.program_check import compare_numbers, device_kind, start_contestant
from benchmarks.gpu.records import Deadline, Records
from benchmarks.speed_networks import NETWORKS, PRECISIONS
from benchmarks.speed_worker import Contestant
from stlight_jax import STLightConfig
from stlight_jax.console.messages import one_line, print_message
from stlight_jax.errors import ParityError

STAGE = "contest"
OURS = "jax:auto"
TASKS = {"train": "matmul_train", "throughput": "matmul_inference", "latency": None}  # with the products alone
_BEST_TORCH = ("torch:eager", "torch:channels_last", "torch:compile")
_FIRST_CALL_SECONDS = {"torch:max-autotune": 90.0}  # more, and a contestant is left out
_OTHER_FIRST_CALL_SECONDS = 180.0


class Match(NamedTuple):
    """Contestants that are timed in turns.

    Attributes:
      network: key of `NETWORKS`.
      precision: key of `PRECISIONS`.
      contestants: framework and mode of each.
    """

    network: str
    precision: str
    contestants: tuple[str, ...] = (OURS, *_BEST_TORCH)

    @property
    def name(self) -> str:
        """Name in the results."""
        return f"{self.network} {self.precision}" + (" max-autotune" if "torch:max-autotune" in self.contestants else "")


# The most important first: a visit continues where the last one ended.
MATCHES = (
    Match("L", "bfloat16"),
    Match("d544", "bfloat16"),
    Match("L", "float32"),
    Match("L", "tensorfloat32"),
    Match("d544", "float32"),
    Match("d544", "tensorfloat32"),
    Match("XS", "bfloat16"),
    Match("tiny", "bfloat16"),
    Match("L", "bfloat16", (OURS, "torch:max-autotune")),
    Match("d544", "bfloat16", (OURS, "torch:max-autotune")),
)
TOY_MATCHES = (Match("toy", "float32", (OURS, "torch:eager")),)


class _Team:
    """The processes of a match, which start when the first task is measured.

    Args:
      match: the match.
      deadline: end of the stage.
    """

    def __init__(self, match: Match, deadline: Deadline):
        self.match, self.deadline = match, deadline
        self._processes: dict[str, Contestant] = {}
        self.left_out: dict[str, str] = {}
        self.errors: dict[str, dict[str, Any]] = {}

    def members(self) -> Iterator[Contestant]:
        """Yields the contestants that run."""
        if not self._processes:
            for name in self.match.contestants:
                if name.startswith("torch") and importlib.util.find_spec("torch") is None:
                    self.left_out[name] = "PyTorch is not installed"
                    continue
                self._processes[name] = start_contestant(name, self.match.network, self.match.precision, device_kind())
        for name in list(self._processes):
            if name not in self.left_out:
                yield self._processes[name]

    def prepare(self, contestant: Contestant, part: str) -> dict[str, Any] | None:
        """Compiles a part, and compares a task's numbers with a CPU's; None if the contestant is left out from now on."""
        name = contestant.name
        seconds = min(_FIRST_CALL_SECONDS.get(name, _OTHER_FIRST_CALL_SECONDS), self.deadline.left()) + 1
        try:
            answer = contestant.order(seconds, task=part, prepare=True)
            if part in TASKS:
                numbers = compare_numbers(contestant, self.match.network, self.match.precision, (part,), self.deadline)
                self.errors.setdefault(part, {})[name] = numbers
        except (ChildProcessError, ParityError) as error:
            if not self.deadline.left():
                raise TimeoutError("the stage's time ended") from None
            self.left_out[name] = one_line(error)
            print_message(f"{STAGE}: {name} is left out: {one_line(error)}")
            return None
        return answer

    def close(self) -> None:
        """Ends all processes."""
        for contestant in self._processes.values():
            contestant.close()


def contest(records: Records, deadline: Deadline, matches: tuple[Match, ...], rounds: int = 3, seconds: float = 1.0) -> None:
    """Times all tasks of all matches, as far as the time permits.

    Args:
      records: results of all visits.
      deadline: end of the stage.
      matches: the matches, in order.
      rounds: turns of each contestant.
      seconds: length of a turn.
    """
    for match in matches:
        team = _Team(match, deadline)
        try:
            for task in TASKS:

                def measure(team: _Team = team, task: str = task) -> dict[str, Any]:
                    return _measure(records, team, task, rounds, seconds)

                if not records.measure(STAGE, f"{match.name} {task}", deadline, measure) and not deadline.left():
                    return
        finally:
            team.close()


def _measure(records: Records, team: _Team, task: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Times a task in turns; each turn is stored at once."""
    match = team.match
    batch = 1 if task == "latency" else 16 if match.network != "toy" else NETWORKS["toy"]["batch"]
    config = STLightConfig(**NETWORKS[match.network]["network"], **PRECISIONS[match.precision])
    record: dict[str, Any] = {
        "match": match._asdict(),
        "task": task,
        "batch": batch,
        "fused_bytes": fused_bytes(config, NETWORKS[match.network]["side"], batch, task == "train"),
        "seconds": {},
        "first_call_seconds": {},
        "versions": {},
        "errors": team.errors.setdefault(task, {}),
        "left_out": team.left_out,
    }
    entries = []
    for contestant in team.members():
        for part in (task, *((TASKS[task],) if contestant.name == OURS and TASKS[task] else ())):
            name = contestant.name if part == task else "products alone"
            print_message(f"{STAGE}: {match.name} {task}: preparing {name}")
            answer = team.prepare(contestant, part)
            if answer is None:
                break
            record["first_call_seconds"][name] = answer["first_call_seconds"]
            record["versions"][contestant.name] = answer["versions"]
            entries.append((name, contestant, part))
    for _ in range(rounds):
        for name, contestant, part in entries:
            timed = contestant.order(deadline_seconds(team.deadline, seconds), task=part, seconds=seconds)
            record["seconds"].setdefault(name, []).append(timed["seconds"])
            records.write(STAGE, f"{match.name} {task}", {**record, "error": "unfinished"})
    if OURS not in record["seconds"]:
        raise ParityError(f"{OURS} is left out: {team.left_out[OURS]}")
    return record


def deadline_seconds(deadline: Deadline, seconds: float) -> float:
    """Returns the time in which a turn must end: a call may be longer than the turn."""
    return max(deadline.left(), 1.0) + 10 * seconds
