"""`python -m stlight_jax COMMAND`, also installed as `stlight`. Each command's `main` lives where its subject does."""

from __future__ import annotations

import sys

from absl import flags
from ml_collections import config_flags

from stlight_jax import cli
from stlight_jax.errors import InputError


def _inspect() -> None:
    from stlight_jax.model.count import main

    main()


def _define_inspect_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "File in configs/, with a size: configs/moving_mnist.py:L.")
    flags.DEFINE_bool("json", False, "Print JSON.")
    flags.mark_flag_as_required("config")


# name: (what it does, its flags, what runs)
COMMANDS = {
    "inspect": ("parameters and multiply-accumulates, part by part", _define_inspect_flags, _inspect),
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h", "help"):
        print("usage: python -m stlight_jax COMMAND [--help] ...\n\ncommands:")
        for name, (summary, _, _) in COMMANDS.items():
            print(f"  {name:10} {summary}")
        sys.exit(0 if len(sys.argv) > 1 else InputError.exit_status)
    name, *arguments = sys.argv[1:]
    if name not in COMMANDS:
        print(f"error: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(InputError.exit_status)
    _, define_flags, command = COMMANDS[name]
    define_flags()
    cli.run(command, [f"stlight {name}", *arguments])


if __name__ == "__main__":
    main()
