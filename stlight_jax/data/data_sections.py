"""The sections `data` of all data sets, and the check of a whole config with the section that belongs to its data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import ml_collections

from stlight_jax.config import Key, RunConfig, Section, check
from stlight_jax.errors import InputError

_MEMORY = "MiB of frames per split to keep in memory; larger splits are read from disk."


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedData(Section, name="data"):
    """Section `data` of Moving MNIST and Moving Fashion-MNIST, whose sequences are generated from digits."""

    root: Annotated[
        str, Key("Folder with the idx files and the published test set; empty for the embedded digits.", resumable=True)
    ] = ""
    digits: Annotated[Literal["auto", "embedded", "idx", "tfds"], Key("Source of the digits.", resumable=True)] = "auto"
    image_size: Annotated[int, Key("Side of the frames, in pixels.", least=1)] = 64
    digit_size: Annotated[int, Key("Side of the digits, in pixels.", least=1)] = 28
    sequences_per_epoch: Annotated[int, Key("Training sequences in an epoch.", least=1, recipe=True)] = 10_000
    validation: Annotated[
        Literal["generated", "openstl"],
        Key("Validation set: generated from training digits, or the test set as in OpenSTL.", absent="generated"),
    ] = "generated"
    validation_sequences: Annotated[int, Key("Validation sequences, if they are generated.", least=1)] = 1_000
    test_sequences: Annotated[int, Key("Test sequences, without the published test set.", least=1)] = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkData(Section, name="data"):
    """Section `data` of the benchmarks that `stlight prepare` stores: TaxiBJ, KTH, KITTI to Caltech."""

    root: Annotated[
        str, Key("Folder that was given to prepare as --out; empty for the default folder of TFDS.", resumable=True)
    ] = ""
    validation: Annotated[
        Literal["openstl", "held_out"],
        Key("Validation set: the test set as in OpenSTL, or a part held out of the training set."),
    ] = "openstl"
    validation_fraction: Annotated[float, Key("Fraction of the training set to hold out.", above=0)] = 0.1
    stride: Annotated[
        int, Key("Frames from the start of one window to the next; 0 for OpenSTL's rule.", least=0, recipe=True)
    ] = 0
    colour_order: Annotated[
        Literal["openstl", "rgb"], Key("Order of colour channels: as in OpenSTL's files, or RGB throughout.")
    ] = "openstl"
    memory: Annotated[int, Key(_MEMORY, least=0, resumable=True)] = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramesData(Section, name="data"):
    """Section `data` of a user's own frames."""

    root: Annotated[str, Key("File or folder to read, or the folder that prepare wrote.", resumable=True)] = ""
    prepared: Annotated[
        str, Key("Folder for the frames that were read; empty for the user's cache folder.", resumable=True)
    ] = ""
    variable: Annotated[str, Key("Array in an npz, HDF5 or netCDF file; empty if it is the only one.")] = ""
    time: Annotated[str, Key("Time coordinate of the array; empty to find it, none to ignore times.")] = ""
    layout: Annotated[Literal["auto", "thw", "thwc", "tchw", "nthw", "nthwc", "ntchw"], Key("Axes of arrays.")] = "auto"
    channels: Annotated[Literal["auto", "grey", "rgb"], Key("Channels of videos and pictures.")] = "auto"
    fill_value: Annotated[float | None, Key("Value that marks missing values; NaN always does.")] = None
    mask: Annotated[str, Key("Array that is not 0 where values are missing.")] = ""
    value_low: Annotated[
        float | None, Key("Low end of the declared range, which becomes 0; None to measure it on the training frames.")
    ] = None
    value_high: Annotated[
        float | None, Key("High end of the declared range, which becomes 1; None to measure it on the training frames.")
    ] = None
    per_channel: Annotated[bool, Key("Whether each channel has its own measured range.")] = False
    height: Annotated[int, Key("Height to resize frames to; 0 leaves it.")] = 0
    width: Annotated[int, Key("Width to resize frames to; 0 leaves it.")] = 0
    split: Annotated[
        Literal["auto", "name", "sequence", "time"],
        Key("Division into training, validation and test set: by train, val, test in the path, by sequence, or by time."),
    ] = "auto"
    validation_fraction: Annotated[float, Key("Fraction of the data for validation.", above=0)] = 0.1
    test_fraction: Annotated[float, Key("Fraction of the data for testing.")] = 0.2
    gap: Annotated[int, Key("Frames left out between splits by time.")] = 0
    group: Annotated[str, Key("Regular expression; sequences whose names have the same match stay in one split.")] = ""
    stride: Annotated[int, Key("Frames from the start of one training window to the next.", least=1)] = 1
    evaluation_stride: Annotated[int, Key("Frames from the start of one validation or test window to the next.", least=1)] = 1
    frame_step: Annotated[int, Key("2 takes every other frame.", least=1)] = 1
    crop: Annotated[int, Key("Side of the random square that training takes from a sequence; 0 for whole frames.", least=0)] = 0
    flips: Annotated[bool, Key("Whether to mirror training sequences at random.")] = False
    memory: Annotated[int, Key(_MEMORY, least=0, resumable=True)] = 256


DATA_SECTIONS: dict[str, type[Section]] = {
    "moving_mnist": GeneratedData,
    "moving_fashion_mnist": GeneratedData,
    "taxibj": BenchmarkData,
    "kth": BenchmarkData,
    "kitti_caltech": BenchmarkData,
    "frames": FramesData,
}
# Names of the channels, in their order; a user's own frames have no names.
CHANNEL_NAMES = {
    "moving_mnist": ("intensity",),
    "moving_fashion_mnist": ("intensity",),
    "kth": ("intensity",),
    "taxibj": ("inflow", "outflow"),
    "kitti_caltech": ("red", "green", "blue"),
}
_FRAME_SIZES = {"taxibj": (32, 32), "kth": (128, 128), "kitti_caltech": (128, 160)}


def check_config(config: Mapping[str, Any] | ml_collections.ConfigDict) -> RunConfig[Any]:
    """Checks a config of any data set.

    Args:
      config: as from `configs/` or from a checkpoint.

    Returns:
      The typed config.

    Raises:
      InputError: the data set is unknown, a section or a key is missing or unknown, or a value is not permitted.
    """
    dataset = config.get("dataset")
    if dataset not in DATA_SECTIONS:
        raise InputError(f"dataset is {dataset!r}; choose one of {', '.join(DATA_SECTIONS)}")
    return check(config, DATA_SECTIONS[dataset])


def frame_size(config: RunConfig[Any]) -> tuple[int, int] | None:
    """Finds the frame size that a config states.

    Args:
      config: of any data set.

    Returns:
      (height, width) in pixels; None if only the data have it.
    """
    if config.dataset in _FRAME_SIZES:
        return _FRAME_SIZES[config.dataset]
    if config.dataset != "frames":
        return config.data.image_size, config.data.image_size
    return (config.data.height, config.data.width) if config.data.height else None
