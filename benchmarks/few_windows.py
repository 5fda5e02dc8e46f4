"""Compares maps of the shortcut `flow_linear` that are fitted to few windows with their halves, on test windows.

    python benchmarks/few_windows.py --data=FOLDER --run=kth [--windows=3] [--blocks=10]
        [--out=benchmarks/results/few_windows]

FOLDER and the names of runs are those of `benchmarks/real_data.py`. A map is fitted to each of some blocks of successive
training windows, which are evenly spaced and can overlap. The MSE and the MAE on test windows, without a network, are
relative to those of `flow`. A shortcut that a run names is replaced.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile

import numpy as np
from absl import flags
from real_data_sets import RUNS

from stlight_jax.commands.config_source import load_config
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.text_table import text_table
from stlight_jax.data.load import network_config, open_test
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shortcut_choice import shortcut_errors
from stlight_jax.training.shortcut_fit import fitted_linear, shrunk

_ROOT = pathlib.Path(__file__).parent.parent
_SHARES = (1.0, 0.5, 0.25)
_TEST_WINDOWS = 40

_DATA = flags.DEFINE_string("data", None, "Folder with the data sets.", required=True)
_RUN = flags.DEFINE_enum("run", "kth", list(RUNS), "Name of the data.")
_WINDOWS = flags.DEFINE_integer("windows", 3, "Training windows in a block.", lower_bound=1)
_BLOCKS = flags.DEFINE_integer("blocks", 10, "Number of blocks.", lower_bound=1)
_OUT = flags.DEFINE_string("out", str(_ROOT / "benchmarks" / "results" / "few_windows"), "Folder for the results.")


class _Block(Sequences):
    """Some successive sequences of another set."""

    def __init__(self, source: Sequences, first: int, count: int) -> None:
        self._source, self._first, self._count = source, first, count
        self.description, self.shape, self.scaling = source.description, source.shape, source.scaling

    def __len__(self) -> int:
        return self._count

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        return self._source.frames(np.asarray(indices) + self._first, epoch)


def ratios(name: str, data: pathlib.Path, windows: int, blocks: int) -> list[dict[str, float]]:
    """Fits maps and computes their errors.

    Args:
      name: A key of `real_data_sets.RUNS`.
      data: The folder with the data sets.
      windows: Training windows of a fit.
      blocks: Number of fits; all training windows are one block if there are no more.

    Returns:
      For each fit, "mse" and "mae" relative to those of the flow, by share, such as "mse 0.5".
    """
    chosen = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        root = chosen.root(data, pathlib.Path(folder) / "data")
        config = load_config("frames:tiny")
        config.update_from_flattened_dict({**chosen.keys, "data.root": str(root), "model.shortcut": "flow_linear"})
        config.data.periods = ""
        setup = TrainingSetup(config)
        model = network_config(setup.config)
        test = EvenlySpaced(open_test(setup.config), _TEST_WINDOWS)
        flow = shortcut_errors(dataclasses.replace(model, shortcut="flow"), {}, test, setup.launcher)
        found = []
        last = max(len(setup.training) - windows, 0)
        for first in np.unique(np.linspace(0, last, blocks).astype(int)):
            block = _Block(setup.training, int(first), min(windows, len(setup.training)))
            fit = fitted_linear(model, block, setup.validation, setup.config.train.loss)
            of_fit = {}
            for share in _SHARES:
                params = {"shortcut": {"linear": shrunk(model, fit, share)}}
                errors = shortcut_errors(model, params, test, setup.launcher)
                of_fit |= {f"{metric} {share:g}": errors[metric] / flow[metric] for metric in ("mse", "mae")}
            found.append(of_fit)
        return found


def main() -> None:
    """Writes the ratios of each fit and prints their medians and ranges."""
    found = ratios(_RUN.value, pathlib.Path(_DATA.value), _WINDOWS.value, _BLOCKS.value)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{_RUN.value}.json").write_text(json.dumps({"windows": _WINDOWS.value, "fits": found}, indent=1) + "\n")
    rows = []
    for share in _SHARES:
        cells = []
        for metric in ("mse", "mae"):
            values = [of_fit[f"{metric} {share:g}"] for of_fit in found]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        rows.append((f"{share:g}", *cells))
    title = f"{RUNS[_RUN.value].title}: {len(found)} fits to {_WINDOWS.value} windows each, relative to the flow"
    print(text_table(("share of the map", "MSE", "MAE"), rows, title), end="")


if __name__ == "__main__":
    run_script(main)
