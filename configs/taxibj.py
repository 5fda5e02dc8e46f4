"""TaxiBJ, 32 x 32 frames of inflow and outflow, 4 -> 4: `--config=taxibj:SIZE`, SIZE one of S, M, L.

Published (paper tables 1-3): 50 epochs, batch 16, Adam, cosine from 0.003 (timm's, per epoch). MSE on the test set: S 0.3479,
M 0.3254, L 0.3087. OpenSTL's baselines warm up for 5 epochs; whether STLight did is unknown (`optimizer.warmup_epochs`).

First run `stlight prepare taxibj --raw=FOLDER --out=PREPARED` with OpenSTL's `taxibj/dataset.npz` in FOLDER, then set
`--config.data.root=PREPARED`.
"""

import ml_collections

from stlight_jax.config import base_config
from stlight_jax.data.datasets.taxibj import TaxiBJ

# size: (hidden_dim, depth); all have patch size 1, kernels 3 and 7
PUBLISHED = {"S": (256, 12), "M": (256, 20), "L": (512, 10)}


def get_config(size: str = "L") -> ml_collections.ConfigDict:
    """Makes the config of one size.

    Args:
      size: Name of the size.

    Returns:
      A config that can be changed.

    Raises:
      InputError: The size is unknown.
    """
    config = base_config("taxibj", size, TaxiBJ.section, PUBLISHED)
    config.model.in_frames = config.model.out_frames = 4
    config.model.in_channels = config.model.out_channels = 2
    config.model.hidden_dim, config.model.depth = PUBLISHED[size]
    config.model.patch_size = 1
    config.optimizer.schedule = "cosine"
    config.train.epochs = 50
    config.train.checkpoint_every = 1278  # an epoch of the published size
    return config
