"""Your own frames. `--config=configs/frames.py --config.data.root=PATH`, or `configs/frames.py:SIZE` with SIZE tiny, S, M or L.

PATH is a file or a folder: videos (mp4, avi, mov, mkv, webm, gif), folders of pictures, `.npy`, `.npz` or HDF5 arrays
`[t, h, w]`, `[t, h, w, c]`, `[n, t, h, w, c]`, netCDF variables. It is read once; what is read is kept and found again.
Sizes and rates are starting points of ours, not the paper's.
"""

import ml_collections
from ml_collections import config_dict

from stlight_jax import InputError
from stlight_jax.config import base_config

# size: (hidden_dim, depth, peak learning rate)
SIZES = {"tiny": (96, 6, 5e-3), "S": (256, 12, 3e-3), "M": (512, 16, 3e-3), "L": (1000, 16, 1e-3)}


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """The config of one size. Raises InputError for an unknown one."""
    if size not in SIZES:
        raise InputError(f"configs/frames.py has no size {size!r}; choose one of {', '.join(SIZES)}")
    config = base_config("frames", size)
    config.model.hidden_dim, config.model.depth, config.optimizer.learning_rate = SIZES[size]
    config.model.in_channels = config.model.out_channels = 0  # as many as the data have

    config.data = ml_collections.ConfigDict()
    config.data.root = ""  # the file or folder, or what prepare made of it
    config.data.prepared = ""  # where what is read is kept; "" is this user's cache folder
    config.data.variable = ""  # array in an npz, HDF5 or netCDF file; "" if there is no choice
    config.data.time = ""  # its time coordinate; "" finds it, none ignores it
    config.data.layout = "auto"  # axes of arrays: thw, thwc, tchw, nthw, nthwc, ntchw
    config.data.channels = "auto"  # of videos and pictures: auto | grey | rgb
    config.data.fill_value = config_dict.placeholder(float)  # the value that stands for missing ones; NaN always does
    config.data.mask = ""  # array that is not 0 where values are missing
    config.data.value_low = config_dict.placeholder(float)  # declared range, which becomes 0..1; a value outside is an error
    config.data.value_high = config_dict.placeholder(float)  # without, that of the training frames (0..255 for uint8)
    config.data.per_channel = False  # a range for each channel; otherwise one for all
    config.data.height = 0  # frames are resized to this; 0 leaves them
    config.data.width = 0
    config.data.split = "auto"  # name (train, val, test in the path) | sequence | time | auto
    config.data.validation_fraction = 0.1
    config.data.test_fraction = 0.2
    config.data.gap = 0  # by time: frames left out between splits; no frame is in two of them in any case
    config.data.group = ""  # by sequence: those whose names hold the same match of this expression stay together
    config.data.stride = 1  # frames from one training window to the next
    config.data.evaluation_stride = 1  # the same for validation and test
    config.data.frame_step = 1  # 2 takes every other frame
    config.data.crop = 0  # side of the random square that training sees of each sequence; 0 is whole frames
    config.data.flips = False  # random mirroring of training sequences
    config.data.memory = 256  # MiB of frames per split that are kept in memory; larger splits are read from disk

    config.train.batch_size = 8
    config.train.epochs = 20
    config.train.checkpoint_every = 500
    config.evaluation.batch_size = 16
    return config
