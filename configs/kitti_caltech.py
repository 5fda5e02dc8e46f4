"""KITTI (training) -> Caltech Pedestrian (test), 128 x 160 colour frames, 10 -> 1: `--config=kitti_caltech:SIZE`.

SIZE is one of 15M, 13M, 11M, 8M, 7M, 5M, named by millions of parameters.

Published (paper tables 1 and 2, figure 4): 100 epochs, batch 8, Adam, OneCycle to 0.01 that ends at a 3000th of its first rate.
SSIM on the test set, read from the figure: .9377, .9369, .9365, .9357, .9346, .9340. The paper gives only parameter counts for
these networks; their settings are recovered from the counts and are weaker evidence than those of the other data sets.

First run `stlight prepare kitti_caltech --raw=FOLDER --out=PREPARED` with OpenSTL's `kitti_hkl` and `caltech` (or
`kitticaltech_npy`) in FOLDER, then set `--config.data.root=PREPARED`. OpenSTL trains on RGB and tests on BGR frames;
`--config.data.colour_order=rgb` corrects this, and makes results incomparable.
"""

import ml_collections

from stlight_jax.config import base_config
from stlight_jax.data.datasets.kitti_caltech import KittiCaltech

# size: (hidden_dim, depth, near_kernel, far_kernel); all have patch size 2
PUBLISHED = {
    "15M": (1200, 10, 5, 5),
    "13M": (1000, 12, 5, 5),
    "11M": (1000, 10, 5, 5),
    "8M": (800, 12, 3, 7),
    "7M": (800, 10, 3, 7),
    "5M": (600, 12, 5, 7),
}


def get_config(size: str = "15M") -> ml_collections.ConfigDict:
    """Makes the config of one size.

    Args:
      size: Name of the size.

    Returns:
      A config that can be changed.

    Raises:
      InputError: The size is unknown.
    """
    config = base_config("kitti_caltech", size, KittiCaltech.section, PUBLISHED)
    config.model.out_frames = 1
    config.model.in_channels = config.model.out_channels = 3
    config.model.hidden_dim, config.model.depth, config.model.near_kernel, config.model.far_kernel = PUBLISHED[size]
    config.optimizer.learning_rate = 1e-2
    config.optimizer.final_div_factor = 3e3
    config.train.batch_size = 8
    config.train.epochs = 100
    config.train.checkpoint_every = 255  # an epoch of the published size
    config.evaluation.batch_size = 8
    return config
