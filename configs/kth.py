"""KTH actions, 128 x 128 grey frames, 10 -> 20: `--config=kth:SIZE`, SIZE one of XS, S, M, L.

Published (paper tables 1-3): 100 epochs, batch 12, Adam, OneCycle to 0.0005. MAE on the test set: XS 376.1, S 377.8, M 367.9,
L 363.8.

The paper announces 10 -> 40 without results. `SIZE,40` predicts 40 frames in one pass. `SIZE,40-rollout` is trained on 10 -> 20
and evaluated on 40 frames by feeding its predictions back; `--config.train.horizon=40` also trains it by roll-out.

First run `stlight prepare kth --raw=FOLDER --out=PREPARED` with OpenSTL's `kth` in FOLDER, then set
`--config.data.root=PREPARED`.
"""

import ml_collections

from stlight_jax import InputError
from stlight_jax.config import base_config
from stlight_jax.data.datasets.kth import Kth

# size: (hidden_dim, depth); all have patch size 2, kernels 3 and 5
PUBLISHED = {"XS": (400, 8), "S": (600, 14), "M": (800, 14), "L": (1000, 14)}
# horizon: (frames predicted in one pass, frames evaluated; 0 for the same)
HORIZONS = {"20": (20, 0), "40": (40, 0), "40-rollout": (20, 40)}


def get_config(size: str = "L") -> ml_collections.ConfigDict:
    """Makes the config of one size and horizon.

    Args:
      size: Name of the size, alone or with a horizon after a comma, such as "L,40".

    Returns:
      A config that can be changed.

    Raises:
      InputError: The size or the horizon is unknown.
    """
    name, _, horizon = size.partition(",")
    horizon = horizon or "20"
    if name not in PUBLISHED or horizon not in HORIZONS:
        raise InputError(
            f"configs/kth.py has no size {size!r}; choose one of {', '.join(PUBLISHED)}, alone or with one of "
            f"{', '.join(HORIZONS)} after a comma, such as L,40"
        )
    config = base_config("kth", size, Kth.section)
    config.model.hidden_dim, config.model.depth = PUBLISHED[name]
    config.model.far_kernel = 5
    config.model.out_frames, config.evaluation.horizon = HORIZONS[horizon]
    config.optimizer.learning_rate = 5e-4
    config.train.batch_size = 12
    config.train.epochs = 100
    config.train.checkpoint_every = 411  # an epoch of the published size
    config.evaluation.batch_size = 12
    return config
