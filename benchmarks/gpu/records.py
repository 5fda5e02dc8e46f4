"""Results that survive a run that is cut off: a file that is written after every item, and the time that is left."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

from stlight_jax.console.messages import one_line, print_message
from stlight_jax.storage.atomic import write_json


class Deadline:
    """The end of a stage.

    Args:
      seconds: time until then.
    """

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds that are left, 0 if none are."""
        return max(0.0, self._end - time.monotonic())


class Records:
    """The results of all visits, as JSON: stage -> item -> record.

    Args:
      path: the file; an existing one is continued.

    Attributes:
      content: the results.
      failed: names of the items that failed in this run.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.content: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
        self.failed: list[str] = []

    def is_done(self, stage: str, item: str) -> bool:
        """Returns whether an item has a result; one that failed is tried again."""
        record = self.content.get(stage, {}).get(item)
        return record is not None and "error" not in record

    def write(self, stage: str, item: str, record: Any) -> None:
        """Stores the result of an item in the file."""
        self.content.setdefault(stage, {})[item] = record
        write_json(self._path, self.content)

    def measure(self, stage: str, item: str, deadline: Deadline, call: Callable[[], dict[str, Any]]) -> bool:
        """Computes an item that is not done, if there is time, and stores its result or its error.

        Args:
          stage: name of the stage.
          item: name of the item.
          deadline: end of the stage.
          call: computes the result.

        Returns:
          Whether the item has a result now.
        """
        if self.is_done(stage, item):
            return True
        if not deadline.left():
            print_message(f"{stage}: no time left for {item}; run the stage again")
            return False
        begun = time.monotonic()
        try:
            record = call()
        except Exception as error:  # the other items can be measured anyway
            so_far = self.content.get(stage, {}).get(item, {})
            record = {**so_far, "error": f"{type(error).__name__}: {one_line(error)}"}
        record["wall_seconds"] = round(time.monotonic() - begun, 1)
        self.write(stage, item, record)
        failed = "error" in record
        if failed:
            self.failed.append(f"{stage}: {item}")
        print_message(f"{stage}: {item}: {record.get('error', 'done')} ({record['wall_seconds']} s)")
        return not failed
