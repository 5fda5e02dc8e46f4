"""Converts raw data to files with random access, once: `stlight prepare DATASET --raw=FOLDER --out=FOLDER`.

DATASET is taxibj, kth, kitti_caltech or moving_fashion_mnist, in the layout of OpenSTL's downloads, or frames: your own videos,
pictures or arrays. An interrupted command leaves no incomplete data and can be run again. The raw data are on a local disk.
--out may be in a bucket (gs://); the data are then prepared in a temporary folder, which TMPDIR moves, and copied.
"""

import functools
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import check_exists, check_folder, define_config_flag
from stlight_jax.console.messages import print_message
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from stlight_jax.errors import InputError


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    names = list(DATASETS)
    flags.DEFINE_enum("dataset", None, names, "Name of the data set; --dataset= may be left out.", values, required=True)
    text = functools.partial(flags.DEFINE_string, flag_values=values, required=True)
    text("raw", None, "Folder with the raw files; for frames also a single file.")
    text("out", None, "Folder for the prepared data. Training finds them with --config.data.root=FOLDER.")
    define_config_flag(values, arguments, help_text="For frames: a config such as frames:S, whose section data is used.")


def _check(values: flags.FlagValues) -> None:
    check_exists(values.raw, "raw")
    check_folder(values.out, "out")
    if values.config is None:
        return
    if values.dataset != "frames":
        raise InputError("--config is for frames; the other data sets have no choices")
    if values.config.dataset != "frames":
        raise InputError(f"--config is of {values.config.dataset}; expected one of frames, such as frames:S")


def _run(values: flags.FlagValues) -> None:
    from etils import epath

    from stlight_jax.data.load import check_config
    from stlight_jax.data.prepare import refuse_remote
    from stlight_jax.storage import paths

    refuse_remote(values.raw, "--raw", values.dataset)
    paths.connect(values.out)
    raw, out = epath.Path(values.raw).expanduser(), epath.Path(values.out).expanduser()
    section = check_config(values.config).data if values.config else None
    print_message(find_dataset(values.dataset).prepare(raw, out, section))


COMMAND = Command(__doc__, _define_flags, _run, _check, positional="dataset")
