"""`python -m stlight_jax compare`: JAX and PyTorch side by side, number by number and step by step, as a report."""

from __future__ import annotations

from absl import flags
from etils import epath
from ml_collections import config_flags

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError, ParityError
from stlight_jax.runs.environment import environment
from stlight_jax.storage.json_files import write_json
from stlight_jax.storage.paths import create_folder
from stlight_jax.torch_reference.compare import (
    _LAST,
    _check_comparable,
    as_text,
    compare_cases,
    compare_curves,
    draw,
    failures,
)
from stlight_jax.torch_reference.files import require


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", "configs/moving_mnist.py:tiny", "What both frameworks train for the curves.")
    flags.DEFINE_integer("steps", 500, "Training steps of the curves; 0 leaves them out.")
    flags.DEFINE_string("out", "runs/compare", "Folder for the table, the figures and the picture.")


def main() -> None:
    require("torch")
    given = flags.FLAGS
    if given.steps and given.steps < _LAST:
        raise InputError(f"--steps={given.steps}: at least {_LAST}, whose mean loss is compared, or 0")
    if given.steps:
        _check_comparable(given.config)
    out = epath.Path(given.out)
    create_folder(out)
    results = {"environment": environment(), "cases": compare_cases()}
    results["environment"]["packages"]["torch"] = require("torch").__version__
    if given.steps:
        results["curves"] = compare_curves(given.config, given.steps)
    text = as_text(results)
    write_json(out / "parity.json", results)
    (out / "parity.txt").write_text(text)
    draw(out / "parity.png", results)
    print_message(f"table, figures and picture are in {out}: parity.txt, parity.json, parity.png")
    print(text)
    beyond = failures(results)
    if beyond:
        raise ParityError(f"JAX and PyTorch differ by more than rounding: {'; '.join(beyond)}")
