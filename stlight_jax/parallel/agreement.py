"""Agreement between the processes of a run: equal input, a shared folder, one process's decision for all, when to stop."""

import contextlib
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from stlight_jax.console.messages import print_message
from stlight_jax.console.signals import call_on_first_signal
from stlight_jax.errors import InputError
from stlight_jax.storage import paths

Result = TypeVar("Result")

# Network disks may report for half a minute that a new file does not exist.
_SECONDS_TO_APPEAR = 40


def assert_same_on_all_processes(name: str, content: Any | Callable[[], Any]) -> None:
    """Checks that all processes have equal content.

    Args:
      name: Name of the content, for the error.
      content: JSON, or a function that returns it, which is called only if there are several processes.

    Raises:
      InputError: On all processes, if the content of one of them differs.
    """
    if jax.process_count() == 1:
        return
    content = content() if callable(content) else content
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
    digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))  # [processes, 32]
    different = [int(i) for i in np.flatnonzero((digests != digests[0]).any(-1))]
    if different:
        raise InputError(
            f"{name} differs between processes: of those numbered 0 to {jax.process_count() - 1}, "
            f"{', '.join(map(str, different))} disagree with the first; start all of them alike"
        )


def broadcast_from_first(value: Any) -> Any:
    """Returns the first process's value on all processes.

    Args:
      value: JSON; ignored on the other processes.
    """
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))  # all processes must give arrays of one size
    text = multihost_utils.broadcast_one_to_all(np.resize(text, length))
    return json.loads(np.asarray(text, np.uint8).tobytes())


def call_in_first(function: Callable[[], Result]) -> Result | None:
    """Calls a function in the first process, while the others wait.

    Args:
      function: Called without arguments.

    Returns:
      Its result; None on the other processes.

    Raises:
      InputError: On all processes, if the function raises it.
    """
    result, failure, message = None, None, None
    if jax.process_index() == 0:
        try:
            result = function()
        except InputError as error:
            failure, message = error, str(error)
    message = broadcast_from_first(message)
    if failure is not None:
        raise failure
    if message is not None:
        raise InputError(message)
    return result


def assert_shared_folder(folder: epath.Path) -> None:
    """Checks that a folder, which the first process has created, is the same one on all hosts.

    Raises:
      InputError: On all processes, if it is another folder on one of the hosts.
    """
    if jax.process_count() == 1:
        return
    token = folder / f".seen-by-all-{uuid.uuid4().hex}"
    first = jax.process_index() == 0
    if first:
        with paths.write_errors(token):
            token.write_text("")
    try:
        seen = _appears(folder / broadcast_from_first(token.name))
        seen_by = multihost_utils.process_allgather(np.array(seen))
    finally:
        if first:
            token.unlink(missing_ok=True)
    if not seen_by.all():
        raise InputError(
            f"--workdir={folder} is not the same folder on all hosts: not on that of process "
            f"{', '.join(str(int(i)) for i in np.flatnonzero(~seen_by))}. Name one on a shared disk, or in a bucket, as a TPU "
            "pod needs: --workdir=gs://BUCKET/FOLDER"
        )


def wait_for_all_processes(name: str) -> None:
    """Returns when every process has called it with this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


class StopRequests:
    """The state of requests to stop a run. All processes of a run agree on the step at which they stop.

    Attributes:
      requested: Whether the processes have agreed to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._received = threading.Event()
        self._calls = 0

    def receive(self) -> None:
        """Requests a stop of this process, which must be the only one of its run."""
        self._received.set()
        print_message("stop requested: finishing this step and saving ...")

    def agree(self) -> bool:
        """Returns whether to stop now.

        All processes must call it equally often: after each step and each batch of a validation. By the number of calls,
        JAX lets all processes proceed as far as the one that was farthest when the request arrived.
        """
        if jax.process_count() == 1:
            self.requested = self._received.is_set()
        else:
            self._calls += 1
            self.requested |= multihost_utils.reached_preemption_sync_point(self._calls)
        return self.requested


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Turns the first SIGTERM or Ctrl-C during the block into a request to stop; a second one has its usual effect.

    In a run of several processes, JAX itself handles SIGTERM.
    """
    stop = StopRequests()
    single = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
    with call_on_first_signal(stop.receive) if single else contextlib.nullcontext():
        yield stop


def _appears(path: epath.Path) -> bool:
    """Returns whether a file can be read within `_SECONDS_TO_APPEAR`."""
    deadline = time.monotonic() + _SECONDS_TO_APPEAR
    while True:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.read_bytes()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
