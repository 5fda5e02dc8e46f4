"""Errors of maps of the shortcut `flow_linear` that are fitted to few windows, for `few_windows.py`."""

import dataclasses
import pathlib
import tempfile

import numpy as np
from real_data_sets import RUNS

from stlight_jax.commands.config_source import load_config
from stlight_jax.data.load import network_config, open_test
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shortcut_choice import shortcut_errors
from stlight_jax.training.shortcut_fit import fitted_linear, shrunk

SHARES = (1.0, 0.5, 0.25)  # of a map
_TEST_WINDOWS = 40


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
            for share in SHARES:
                params = {"shortcut": {"linear": shrunk(model, fit, share)}}
                errors = shortcut_errors(model, params, test, setup.launcher)
                of_fit |= {f"{metric} {share:g}": errors[metric] / flow[metric] for metric in ("mse", "mae")}
            found.append(of_fit)
        return found
