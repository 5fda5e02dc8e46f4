"""`python -m stlight_jax prepare NAME --raw=FOLDER --out=FOLDER`: raw files once into clips with random access.

NAME is taxibj, kth, kitti_caltech or moving_fashion_mnist (OpenSTL's layouts, as they are), or frames: anybody's videos,
pictures or arrays. Interrupted, it leaves nothing behind and can be run again. RAW is on this machine's disks; --out may be
in a bucket, gs://: the data are prepared in a temporary folder then (TMPDIR moves it), and sent.
"""

from __future__ import annotations

from absl import flags
from etils import epath
from ml_collections import config_flags

from stlight_jax.config import check
from stlight_jax.console.messages import print_message
from stlight_jax.data.datasets import BUILDERS
from stlight_jax.data.datasets.frames import FramesOptions
from stlight_jax.data.prepare import (
    frames_options,
    prepare_frames,
    prepare_in,
    refuse_remote,
)
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.paths import create_folder

POSITIONAL = "dataset"


def define_flags() -> None:
    flags.DEFINE_enum("dataset", None, [*BUILDERS, "frames"], "Which data set; without --dataset=, too.")
    flags.DEFINE_string("raw", None, "Folder with the raw files; for frames a folder or a file.")
    flags.DEFINE_string("out", None, "Folder for the prepared data, which --config.data.root names later.")
    config_flags.DEFINE_config_file("config", None, "For frames: configs/frames.py, whose section data says how to read them.")
    flags.mark_flags_as_required(["dataset", "raw", "out"])


def main() -> None:
    given = flags.FLAGS
    refuse_remote(given.raw, "--raw", given.dataset)
    paths.connect(given.out)
    raw, out = epath.Path(given.raw).expanduser(), epath.Path(given.out).expanduser()
    if not raw.exists():
        raise InputError(f"--raw={raw}: there is no such file or folder")
    if given.dataset == "frames":
        if given.config:
            check(given.config)
            if given.config.dataset != "frames":
                raise InputError(f"--config is of {given.config.dataset}; for frames it is configs/frames.py")
        folder = prepare_frames(raw, frames_options(given.config.data) if given.config else FramesOptions(), out)
    else:
        if given.config:
            raise InputError("--config is for frames; the other data sets have no choices")
        if not raw.is_dir():
            raise InputError(f"--raw={raw} is a file; the folder with the raw files of {given.dataset} is wanted")
        create_folder(out)
        folder = prepare_in(out, lambda place: BUILDERS[given.dataset](data_dir=str(place), file_format="array_record"), raw)
    if given.dataset == "moving_fashion_mnist":
        print_message(f"prepared in {folder} for tfds.load; training reads the raw files, --config.data.root={raw}")
    else:
        print_message(f"prepared in {folder}; --config.data.root={out} finds it")
