"""The pipeline of `compare`: a config in; a table, the deviations as JSON and a picture out."""

from __future__ import annotations

from typing import Any

from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError, ParityError
from stlight_jax.reports.parity_chart import draw_parity
from stlight_jax.runs.environment import describe_environment
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder
from stlight_jax.torch_reference import compare
from stlight_jax.torch_reference.parity import TOLERANCES
from stlight_jax.torch_reference.weight_files import require

JSON, TEXT, PLOT = "parity.json", "parity.txt", "parity.png"


def report_parity(config: RunConfig, steps: int, out: epath.PathLike) -> dict[str, Any]:
    """Compares the network in JAX and in PyTorch, and prints the table.

    Args:
      config: a checked config, which both train for the loss curves.
      steps: training steps of the curves; 0 leaves the curves out.
      out: folder for the three files `JSON`, `TEXT` and `PLOT`.

    Returns:
      The content of the JSON file.

    Raises:
      InputError: PyTorch is not installed, the curves cannot be compared, or the folder cannot be written.
      ParityError: the two differ by more than rounding. The files are written before.
    """
    torch = require("torch")
    if steps and steps < compare.LAST_STEPS:
        raise InputError(f"--steps={steps}: at least {compare.LAST_STEPS}, whose mean loss is compared, or 0")
    if steps:
        compare.check_comparable(config)
    folder = epath.Path(out)
    create_folder(folder)
    results: dict[str, Any] = {"environment": describe_environment(), "cases": compare.compare_cases()}
    results["environment"]["packages"]["torch"] = torch.__version__
    if steps:
        results["curves"] = compare.compare_curves(config, steps)
    text = compare.as_text(results)
    write_json(folder / JSON, results)
    (folder / TEXT).write_text(text)
    draw_parity(folder / PLOT, results, TOLERANCES)
    print_message(f"the table, the deviations and the picture are in {folder}: {TEXT}, {JSON}, {PLOT}")
    print(text)
    beyond = compare.failures(results)
    if beyond:
        raise ParityError(f"JAX and PyTorch differ by more than rounding: {'; '.join(beyond)}")
    return results
