"""Compares maps of the shortcut `flow_linear` that are fitted to few windows with their halves, on test windows.

    python benchmarks/few_windows.py --data=FOLDER --run=kth [--windows=3] [--blocks=10]
        [--out=benchmarks/results/few_windows]

FOLDER and the names of runs are those of `benchmarks/real_data.py`. A map is fitted to each of some blocks of successive
training windows, which are evenly spaced and can overlap. The MSE and the MAE on test windows, without a network, are
relative to those of `flow`. A shortcut that a run names is replaced.
"""

import json
import pathlib
import statistics

from absl import flags
from few_windows_fits import SHARES, ratios
from real_data_sets import RUNS

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.text_table import text_table

_ROOT = pathlib.Path(__file__).parent.parent

_DATA = flags.DEFINE_string("data", None, "Folder with the data sets.", required=True)
_RUN = flags.DEFINE_enum("run", "kth", list(RUNS), "Name of the data.")
_WINDOWS = flags.DEFINE_integer("windows", 3, "Training windows in a block.", lower_bound=1)
_BLOCKS = flags.DEFINE_integer("blocks", 10, "Number of blocks.", lower_bound=1)
_OUT = flags.DEFINE_string("out", str(_ROOT / "benchmarks" / "results" / "few_windows"), "Folder for the results.")


def main() -> None:
    """Writes the ratios of each fit and prints their medians and ranges."""
    found = ratios(_RUN.value, pathlib.Path(_DATA.value), _WINDOWS.value, _BLOCKS.value)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{_RUN.value}.json").write_text(json.dumps({"windows": _WINDOWS.value, "fits": found}, indent=1) + "\n")
    rows = []
    for share in SHARES:
        cells = []
        for metric in ("mse", "mae"):
            values = [of_fit[f"{metric} {share:g}"] for of_fit in found]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        rows.append((f"{share:g}", *cells))
    title = f"{RUNS[_RUN.value].title}: {len(found)} fits to {_WINDOWS.value} windows each, relative to the flow"
    print(text_table(("share of the map", "MSE", "MAE"), rows, title), end="")


if __name__ == "__main__":
    run_script(main)
