"""Compares the network in JAX and in PyTorch, number by number and step by step: `stlight compare --out=FOLDER`.

Needs PyTorch: `pip install -e '.[torch]'`. Exits with status 1 if the two differ by more than rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.config_flag import define_config_flag
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError, ParityError


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(
        values, arguments, default="moving_mnist:tiny", help_text="The config that both train for the loss curves."
    )
    flags.DEFINE_integer("steps", 500, "Training steps of the curves; 0 leaves the curves out.", flag_values=values)
    flags.DEFINE_string("out", "runs/compare", "Folder for the table, the figures and the picture.", values)


def _run(values: flags.FlagValues) -> None:
    from etils import epath

    from stlight_jax.data.data_sections import check_config
    from stlight_jax.reports.parity_chart import draw_parity
    from stlight_jax.runs.environment import describe_environment
    from stlight_jax.storage.json_files import write_json
    from stlight_jax.storage.paths import create_folder
    from stlight_jax.torch_reference import compare
    from stlight_jax.torch_reference.parity import TOLERANCES
    from stlight_jax.torch_reference.weight_files import require

    require("torch")
    if values.steps and values.steps < compare.LAST_STEPS:
        raise InputError(f"--steps={values.steps}: at least {compare.LAST_STEPS}, whose mean loss is compared, or 0")
    config = check_config(values.config)
    if values.steps:
        compare.check_comparable(config)
    out = epath.Path(values.out)
    create_folder(out)
    results = {"environment": describe_environment(), "cases": compare.compare_cases()}
    results["environment"]["packages"]["torch"] = require("torch").__version__
    if values.steps:
        results["curves"] = compare.compare_curves(config, values.steps)
    text = compare.as_text(results)
    write_json(out / "parity.json", results)
    (out / "parity.txt").write_text(text)
    draw_parity(out / "parity.png", results, TOLERANCES)
    print_message(f"the table, the figures and the picture are in {out}: parity.txt, parity.json, parity.png")
    print(text)
    beyond = compare.failures(results)
    if beyond:
        raise ParityError(f"JAX and PyTorch differ by more than rounding: {'; '.join(beyond)}")


COMMAND = Command(__doc__, _define_flags, _run)
