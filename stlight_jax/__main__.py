"""`python -m stlight_jax COMMAND`, also installed as `stlight`. Each command lives where its subject does."""

from __future__ import annotations

import importlib
import sys

from stlight_jax.console import signals
from stlight_jax.errors import InputError

# name: (what it does, the module whose `define_flags` and `main` it is)
COMMANDS = {
    "inspect": ("parameters and multiply-accumulates, part by part", "stlight_jax.commands.inspect"),
    "prepare": ("raw data sets, or your own frames, to clips with random access", "stlight_jax.commands.prepare"),
    "convert": ("PyTorch weights to a checkpoint, and back", "stlight_jax.commands.convert"),
    "compare": ("the same network in JAX and in PyTorch, number by number", "stlight_jax.commands.compare"),
    "compile": (
        "whether a config fits a TPU slice, and its speed there at best, without a TPU",
        "stlight_jax.commands.compile",
    ),
    "predict": ("what comes next, of a video, pictures, an array or a netCDF variable", "stlight_jax.commands.predict"),
    "export": ("a trained network to one file that predicts, for CPUs, GPUs and TPUs", "stlight_jax.commands.export"),
    "score": ("metrics of anybody's saved predictions", "stlight_jax.commands.score"),
}


def main() -> None:
    """Runs the command that the first argument names."""
    signals.exit_on_interrupt()
    from stlight_jax.commands import cli  # JAX comes with it, and takes a while

    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h", "help"):
        with cli.printing():
            print("usage: python -m stlight_jax COMMAND [--help] ...\n\ncommands:")
            for name, (summary, _) in COMMANDS.items():
                print(f"  {name:10} {summary}")
        sys.exit(0 if len(sys.argv) > 1 else InputError.exit_status)
    name, *arguments = sys.argv[1:]
    if name not in COMMANDS:
        print(f"error: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(InputError.exit_status)
    cli.quiet_libraries()
    command = importlib.import_module(COMMANDS[name][1])
    command.define_flags()
    cli.run(command.main, [f"stlight {name}", *arguments], getattr(command, "POSITIONAL", None))


if __name__ == "__main__":
    main()
