"""Computes OpenSTL's metrics of saved predictions of any program: `stlight score --pred=preds.npy --true=trues.npy`.

The files are read a few sequences at a time, so they may be larger than the memory.
"""

import functools
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import check_exists
from stlight_jax.errors import InputError


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text("pred", None, "Predictions in [0, 1]: a .npy file, [n, t, c, h, w], [n, t, h, w, c] or [n, t, h, w].")
    text("true", None, "True frames: a .npy file of the same shape.")
    text("saved", None, "Instead of both: a folder with preds.npy and trues.npy, as OpenSTL writes it.")
    text("layout", "auto", "Axes after the first: auto, tchw, thwc or thw.")
    text("json", None, "Also write the metrics to this file.")


def _check(values: flags.FlagValues) -> None:
    if bool(values.saved) == bool(values.pred or values.true) or bool(values.pred) != bool(values.true):
        raise InputError("give --pred=FILE.npy and --true=FILE.npy, or --saved=FOLDER with preds.npy and trues.npy")
    for flag in ("saved", "pred", "true"):
        check_exists(values[flag].value, flag)


def _run(values: flags.FlagValues) -> None:
    from etils import epath

    from stlight_jax.scoring.score import score_files

    prediction, truth = values.pred, values.true
    if values.saved:
        prediction, truth = (epath.Path(values.saved) / name for name in ("preds.npy", "trues.npy"))
    score_files(prediction, truth, values.layout, values.json)


COMMAND = Command(__doc__, _define_flags, _run, _check)
