"""Moving Fashion-MNIST, 10 -> 10 frames. `--config=configs/moving_fashion_mnist.py:SIZE`, the sizes of moving_mnist.py.

OpenSTL trains its networks here as on Moving MNIST; the paper reports nothing for it. `data.root` is the folder with
Fashion-MNIST's `train-images-idx3-ubyte.gz` and OpenSTL's `fmnist_test_seq.npy` (or the parent of OpenSTL's `moving_fmnist`).
"""

import ml_collections

from stlight_jax.configs import moving_mnist


def get_config(size: str = "L") -> ml_collections.ConfigDict:
    """The config of one size. Raises InputError for an unknown one."""
    config = moving_mnist.get_config(size)
    config.dataset = "moving_fashion_mnist"
    return config
