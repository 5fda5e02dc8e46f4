"""The flags of runs on several hosts: --coordinator, --processes and --process."""

from __future__ import annotations

from absl import flags


def define_process_flags(values: flags.FlagValues) -> None:
    """Defines the flags; `join_processes` reads them."""
    flags.DEFINE_string(
        "coordinator", None, "Address of the first process, HOST:PORT, for a run of several processes started by hand.", values
    )
    flags.DEFINE_integer("processes", None, "Number of processes of such a run.", flag_values=values)
    flags.DEFINE_integer("process", None, "Number of this process, from 0.", flag_values=values)


def join_processes(values: flags.FlagValues, *, preemptible: bool = False) -> None:
    """Connects this process to the others of its run, if it has others. No other function of JAX may be called before.

    Args:
      values: the parsed flags.
      preemptible: whether the run finishes its step and saves when any of its processes receives SIGTERM.

    Raises:
      InputError: for flags that contradict each other, or if the other processes are not found.
    """
    from stlight_jax.parallel import distributed

    distributed.start(values.coordinator, values.processes, values.process, preemptible=preemptible)
