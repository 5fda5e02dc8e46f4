"""Compares the network in JAX and in PyTorch, number by number and step by step: `stlight compare --out=FOLDER`.

Needs PyTorch: `pip install 'stlight_jax[torch]'`. Exits with status 1 if the two differ by more than rounding.
"""

from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import define_config_flag


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(values, arguments, default="moving_mnist:tiny", help_text="The config that both train for the curves.")
    flags.DEFINE_integer("steps", 500, "Training steps of the curves; 0 leaves the curves out.", flag_values=values)
    flags.DEFINE_string("out", "runs/compare", "Folder for the table, the figures and the picture.", values)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.data.load import check_config
    from stlight_jax.torch_reference.compare import report_parity

    report_parity(check_config(values.config), values.steps, values.out)


COMMAND = Command(__doc__, _define_flags, _run)
