"""Your own frames: `--config=frames:SIZE --config.data.root=PATH`, SIZE one of auto, tiny, S, M, L; auto if it is left out.

PATH is a file or a folder: videos (mp4, avi, mov, mkv, webm, gif), folders of pictures, `.npy`, `.npz` or HDF5 arrays
`[t, h, w]`, `[t, h, w, c]`, `[n, t, h, w, c]`, or netCDF variables. The files are read once and their frames are stored, so
that later runs start at once. Sizes and learning rates are this project's starting points, not the paper's.
"""

import ml_collections

from stlight_jax.config import base_config
from stlight_jax.data.datasets.frames import Frames

# size: (hidden_dim, depth, peak learning rate)
SIZES = {"auto": (0, 0, 0.0), "tiny": (96, 6, 2e-3), "S": (256, 12, 1e-3), "M": (512, 16, 1e-3), "L": (1000, 16, 5e-4)}


def get_config(size: str = "auto") -> ml_collections.ConfigDict:
    """Makes the config of one size.

    Args:
      size: Name of the size.

    Returns:
      A config that can be changed.

    Raises:
      InputError: The size is unknown.
    """
    config = base_config("frames", size, Frames.section, SIZES)
    config.model.hidden_dim, config.model.depth, config.optimizer.learning_rate = SIZES[size]
    config.model.in_frames = config.model.out_frames = 0  # 10, or as many as short data permit
    config.data.validation_fraction = config.data.test_fraction = 0.0  # 0.1 and 0.2, or as much as windows need
    config.model.in_channels = config.model.out_channels = 0  # as many as the data have
    config.model.patch_size = 0  # by their size
    config.model.shortcut = config.model.input = config.data.periods = "auto"
    config.model.shortcut_scales = -1  # by the size of the frames and their channels
    config.data.clip = "auto"
    config.data.crop = -1  # 32 pixels of few, large frames without a flow, else whole frames
    config.train.batch_size = 0  # 8 to 32, by the size of the frames
    config.train.least_gain = -1.0  # the shortcut alone stays the best unless a network is better by as much
    config.train.shortcut_share = -1.0  # all of the fitted map, or a half where data are few
    config.train.shrinkage = True
    config.train.loss = "both"
    config.train.epochs = 20
    config.train.ema_decay = 0.99
    config.train.checkpoint_every = 0  # 5 to 20 in a run
    config.evaluation.batch_size = 16
    return config
