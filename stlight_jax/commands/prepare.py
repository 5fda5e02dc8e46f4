"""Converts raw data to files with random access, once: `stlight prepare DATASET --raw=FOLDER --out=FOLDER`.

DATASET is taxibj, kth, kitti_caltech or moving_fashion_mnist, in the layout of OpenSTL's downloads, or frames: your own videos,
pictures or arrays. An interrupted command leaves no incomplete data and can be run again. The raw data are on a local disk.
--out may be in a bucket (gs://); the data are then prepared in a temporary folder, which TMPDIR moves, and copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.config_flag import define_config_flag
from stlight_jax.commands.path_flags import check_exists
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    flags.DEFINE_enum(
        "dataset",
        None,
        ["taxibj", "kth", "kitti_caltech", "moving_fashion_mnist", "frames"],
        "Name of the data set; --dataset= may be left out.",
        values,
    )
    flags.DEFINE_string("raw", None, "Folder with the raw files; for frames also a single file.", values, required=True)
    flags.DEFINE_string(
        "out", None, "Folder for the prepared data. Training finds them with --config.data.root=FOLDER.", values, required=True
    )
    define_config_flag(
        values,
        arguments,
        help_text="For frames: a config such as frames:S, whose section data defines how the files are read.",
    )


def _check(values: flags.FlagValues) -> None:
    if values.dataset is None:
        raise InputError("--dataset must have a value: stlight prepare DATASET --raw=FOLDER --out=FOLDER")
    check_exists(values.raw, "raw")
    if values.config is None:
        return
    if values.dataset != "frames":
        raise InputError("--config is for frames; the other data sets have no choices")
    if values.config.dataset != "frames":
        raise InputError(f"--config is of {values.config.dataset}; expected one of frames, such as frames:S")


def _run(values: flags.FlagValues) -> None:
    from etils import epath

    from stlight_jax.data.data_sections import FramesData, check_config
    from stlight_jax.data.datasets import BUILDERS
    from stlight_jax.data.prepare import frames_options, prepare_frames, prepare_in, refuse_remote
    from stlight_jax.storage import paths
    from stlight_jax.storage.paths import create_folder

    refuse_remote(values.raw, "--raw", values.dataset)
    paths.connect(values.out)
    raw, out = epath.Path(values.raw).expanduser(), epath.Path(values.out).expanduser()
    if values.dataset == "frames":
        data = check_config(values.config).data if values.config else FramesData()
        folder = prepare_frames(raw, frames_options(data), out)
    else:
        if not raw.is_dir():
            raise InputError(f"--raw={raw} is a file; expected the folder with the raw files of {values.dataset}")
        create_folder(out)
        builder = BUILDERS[values.dataset]
        folder = prepare_in(out, lambda target: builder(data_dir=str(target), file_format="array_record"), raw)
    if values.dataset == "moving_fashion_mnist":
        print_message(f"prepared in {folder} for tfds.load; training reads the raw files, --config.data.root={raw}")
    else:
        print_message(f"prepared in {folder}; --config.data.root={out} finds it")


COMMAND = Command(__doc__, _define_flags, _run, _check, positional="dataset")
