"""The program `stlight`, also `python -m stlight_jax`: runs the command that the first argument names."""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from stlight_jax.console import signals
from stlight_jax.errors import InputError

# Name of a command, and of its module in `stlight_jax.commands`: its summary.
COMMANDS = {
    "train": "trains a network, or resumes a run",
    "evaluate": "evaluates a run on its test set: tables, pictures and a page",
    "predict": "forecasts the next frames of a video, pictures, an array or a netCDF variable",
    "score": "computes the metrics of saved predictions of any program",
    "prepare": "converts raw data sets, or your own frames, to files with random access",
    "config": "lists all keys of a config, each with its value, default, permitted values and meaning",
    "inspect": "counts parameters and multiply-accumulates, part by part",
    "export": "writes a trained network to one file that predicts on CPUs, GPUs and TPUs",
    "convert": "converts PyTorch weights to a checkpoint, and back",
    "compare": "compares the network in JAX and in PyTorch, number by number",
    "compile": "compiles a config for a TPU slice without a TPU: its memory and its speed at best",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process with its exit status.

    Args:
      arguments: the name of a command and its flags; `sys.argv` by default.
    """
    signals.exit_on_signals()
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name == "train":
        signals.exit_resumable_on_sigterm()
    from stlight_jax.commands.run_command import exit_quietly_without_reader, run_command

    if name in COMMANDS:
        try:
            run_command(importlib.import_module(f"stlight_jax.commands.{name}").COMMAND, [f"stlight {name}", *rest])
        except SystemExit as error:
            _exit_before_threads(error)
            raise
    elif name in ("", "--help", "-h", "help"):
        with exit_quietly_without_reader():
            print(_usage())
        sys.exit(0 if name else InputError.exit_status)
    else:
        print(f"error: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(InputError.exit_status)


def _exit_before_threads(error: SystemExit) -> None:
    """Ends a process that failed while TensorFlow's threads make batches, without the end of the interpreter.

    A thread that calls Python while the interpreter ends aborts the process: one run in five that diverged at once ended with
    SIGABRT and status 134, after its error line.
    """
    if error.code and "tensorflow" in sys.modules:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(int(error.code))


def _usage() -> str:
    lines = [f"  {name:10} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(["usage: stlight COMMAND [--flag=VALUE ...]", "       stlight COMMAND --help", "", "commands:", *lines])


if __name__ == "__main__":
    main()
