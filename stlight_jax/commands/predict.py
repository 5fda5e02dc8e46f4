"""Forecasts the next frames of files: `stlight predict INPUT --workdir=RUN`, or with a shipped network `--model=moving_mnist`.

INPUT is a video, a GIF or another animation, a folder of pictures, a TIFF stack, a .npy, .npz, HDF5 or netCDF file, a Zarr
folder or archive, or a folder of several of them. The forecast is written to a file of the same kind, that of a TIFF stack to
a folder of pictures.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.network_flags import chosen_network, define_network_flags
from stlight_jax.commands.shared_flags import BEST, check_exists, define_value_range_flag, parse_fill_value
from stlight_jax.errors import InputError

if TYPE_CHECKING:
    from stlight_jax.forecasting.request import Request

_NETWORK_FLAGS = ("checkpoint", "rollout", "tile", "overlap", "value_range")


class _StartParser(flags.ArgumentParser):
    """Parses an index, or a moment."""

    def parse(self, text: str | int) -> int | str:
        """Returns the index; another text is a moment of the calendar of the input's times."""
        return int(text) if re.fullmatch(r"[+-]?\d+", str(text)) else str(text)


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    from stlight_jax.data.formats import registry  # no other command needs NumPy and Pillow for its flags

    endings = " ".join(item.output_ending for item in registry.output_formats() if item.output_ending)
    kinds = ", ".join(item.name for item in registry.output_formats())
    text, integer, switch, choice = (
        functools.partial(define, flag_values=values)
        for define in (flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_bool, flags.DEFINE_enum)
    )
    # the network
    define_network_flags(values)
    text("checkpoint", "best", f"Checkpoint of a run: {BEST}, last, or a step.")
    choice("rollout", "blocks", ["blocks", "frames"], "Feed back whole forecasts or frames, beyond the network's horizon.")
    integer("tile", None, "Side in pixels of the tiles of a frame, 0 for whole frames; data.crop of the run by default.")
    integer("overlap", None, "Pixels that neighbouring tiles share.")
    # the forecasts
    text("input", None, "Required: file or folder with the input frames; --input= may be left out.")
    integer("horizon", None, "Number of frames to predict; the network's own by default.")
    start = "First frame to predict: its index, from the end if negative, or its time, such as 2019-03-20T06:00; by default"
    flags.DEFINE(_StartParser(), "start", None, f"{start} the one after the last frame.", values)
    text("truth", None, "File or folder of the true frames, which follow the last frame of INPUT.")
    switch("rolling", False, "Make many forecasts along INPUT, from --start or the first possible frame on.")
    integer("every", None, "With --rolling: frames from one forecast to the next; the horizon by default.")
    # the output
    text("out", "", f"Output: {endings}, or a folder; INPUT_predicted by default.")
    text("kind", "", f"Kind of the output: one of {kinds}; that of INPUT by default.")
    switch("overwrite", False, "Replace existing files.")
    text("json", None, "Also write a summary with the metrics to this file.")
    text("report", "", "HTML page with the forecasts; beside the output by default. none writes no page.")
    switch("show", False, "Draw a forecast in the terminal, with characters.")
    choice("dtype", None, ["float16", "float32", "float64"], "Type of written arrays; that of INPUT by default.")
    # how the input is read
    define_value_range_flag(values, "LOW,HIGH in INPUT's units, which correspond to the ends of the trained range.")
    text("variable", None, "Array in a .npz, HDF5, netCDF or Zarr file; by default, as for all further flags, as in training.")
    text("time", None, "Time coordinate of the array; none ignores times.")
    text("layout", None, "Axes of arrays: thw, thwc, tchw, nthw, nthwc, ntchw, hw, hwc or chw.")
    choice("channels", None, ["grey", "rgb"], "Channels of videos and pictures; those of the network by default.")
    text("fill_value", None, "Number that marks missing values, or none.")
    text("mask", None, "Array in the same file that is not 0 where values are missing.")
    integer("frame_step", None, "2 takes every second frame.")
    integer("height", None, "Resize the frames to this height in pixels; needs --width.")
    integer("width", None, "Resize the frames to this width in pixels; needs --height.")


def _check(values: flags.FlagValues) -> None:
    if not values.input:
        raise InputError("name the input: stlight predict INPUT --workdir=RUN, or --model=moving_mnist")
    chosen_network(values)
    check_exists(values.truth, "truth")
    _request(values).check()


def _request(values: flags.FlagValues) -> Request:
    from stlight_jax.data.reading_flags import KEYS
    from stlight_jax.forecasting.request import Request

    given = values.flag_values_dict()
    reading = {name: given[name] for name in KEYS if given[name] is not None}
    if "fill_value" in reading:
        reading["fill_value"] = parse_fill_value(reading["fill_value"])
    if given["value_range"] is not None:
        reading.setdefault("fill_value", None)  # that of the training is in other units
    fields = {field.name: given[field.name] for field in dataclasses.fields(Request) if field.name != "reading"}
    return Request(reading=reading, **fields)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.forecasting.predict import predict
    from stlight_jax.inference.forecaster import Forecaster

    settings = {name: values.flag_values_dict()[name] for name in _NETWORK_FLAGS}
    predict(_request(values), Forecaster.load(chosen_network(values), **settings))


COMMAND = Command(__doc__, _define_flags, _run, _check, positional="input")
