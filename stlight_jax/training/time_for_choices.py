"""The time that a run of limited length may take to choose the keys that its config leaves open."""

import math
import time

from stlight_jax.parallel import agreement

_SHARE = 0.25  # of the run's time


class TimeForChoices:
    """A quarter of a run's time, in which the keys that its config leaves open are chosen by trials.

    Args:
      deadline: When the run shall end, in seconds of `time.monotonic`; None for a run without limit.
    """

    def __init__(self, deadline: float | None = None):
        now = time.monotonic()
        self._end = math.inf if deadline is None else now + _SHARE * (deadline - now)

    def is_over(self) -> bool:
        """Returns whether no further trial shall begin, by the first process's clock."""
        return bool(agreement.broadcast_from_first(time.monotonic() > self._end))
