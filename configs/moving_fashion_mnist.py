"""Moving Fashion-MNIST, 10 -> 10 frames: `--config=moving_fashion_mnist:SIZE`, with the sizes of `moving_mnist`.

OpenSTL trains its networks on it as on Moving MNIST; the paper has no results for it. `data.root` is the folder with
Fashion-MNIST's `train-images-idx3-ubyte.gz` and OpenSTL's `fmnist_test_seq.npy` (or the parent of OpenSTL's `moving_fmnist`).
"""

import ml_collections

from stlight_jax.configs import moving_mnist


def get_config(size: str = "L") -> ml_collections.ConfigDict:
    """Makes the config of one size.

    Args:
      size: Name of the size.

    Returns:
      A config that can be changed.

    Raises:
      InputError: The size is unknown.
    """
    config = moving_mnist.get_config(size)
    config.dataset = "moving_fashion_mnist"
    return config
