"""Computes OpenSTL's metrics of saved predictions of any program: `stlight score --pred=preds.npy --true=trues.npy`.

The files are of any format that `predict` reads and writes (.npy, .npz, .nc, ...). They are read a few sequences at a time, so
they may be larger than the memory. Frames are compared by their times if both files have them, else in their order. Missing
values (NaN, --fill_value, --mask) count nowhere.
"""

import functools
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import check_exists, define_value_range_flag, parse_fill_value
from stlight_jax.errors import InputError


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text("pred", None, "Predictions: [n, t, c, h, w], [n, t, h, w, c], [n, t, h, w], or [t, h, w] of a single sequence.")
    text("true", None, "True frames: a file of the same shape, or with frames of the predicted times.")
    text("saved", None, "Instead of both: a folder with preds.npy and trues.npy, as OpenSTL writes it.")
    define_value_range_flag(values, "LOW,HIGH: the values that become 0 and 1; without it, floats are in [0, 1].")
    text("variable", "", "Array in .npz, HDF5, netCDF or Zarr files; by default the only one that can hold frames.")
    text("true_variable", "", "Array in the file of true frames; by default that of --variable.")
    text("time", "", "Time coordinate in both files; empty finds it; none compares frames in their order, not by their times.")
    text("layout", "auto", "Axes: auto, ntchw, nthwc, nthw; or tchw, thwc, thw, of each sequence or of a single one.")
    text("fill_value", None, "Number that marks missing values, besides NaN.")
    text("mask", "", "Array in the file of true frames, or of predictions, that is not 0 where values are missing.")
    text("json", None, "Also write the metrics to this file.")


def _check(values: flags.FlagValues) -> None:
    if bool(values.saved) == bool(values.pred or values.true) or bool(values.pred) != bool(values.true):
        raise InputError(
            "give --pred=FILE.npy and --true=FILE.npy, or --saved=FOLDER with preds.npy and trues.npy; stlight evaluate scores "
            "a run"
        )
    for flag in ("saved", "pred", "true"):
        check_exists(values[flag].value, flag)
    if values.fill_value is not None:
        parse_fill_value(values.fill_value)


def _run(values: flags.FlagValues) -> None:
    from etils import epath

    from stlight_jax.scoring.saved_frames import Reading
    from stlight_jax.scoring.score import score_files

    prediction, truth = values.pred, values.true
    if values.saved:
        prediction, truth = (epath.Path(values.saved) / name for name in ("preds.npy", "trues.npy"))
    fill = None if values.fill_value is None else parse_fill_value(values.fill_value)
    reading = Reading(values.variable, values.true_variable, fill, values.mask, values.value_range, values.time)
    score_files(prediction, truth, values.layout, values.json, reading)


COMMAND = Command(__doc__, _define_flags, _run, _check)
