"""The list of all data sets. To add one, write its file and add its line here."""

from __future__ import annotations

import functools
import pkgutil
from typing import TYPE_CHECKING

from stlight_jax.errors import InputError

if TYPE_CHECKING:
    from stlight_jax.data.datasets.dataset import Dataset

# Names of classes, because the names of all data sets are needed where the data sets themselves take too long to import.
DATASETS = {
    "moving_mnist": "stlight_jax.data.datasets.moving_mnist:MovingMnist",
    "moving_fashion_mnist": "stlight_jax.data.datasets.moving_fashion_mnist:MovingFashionMnist",
    "taxibj": "stlight_jax.data.datasets.taxibj:TaxiBJ",
    "kth": "stlight_jax.data.datasets.kth:Kth",
    "kitti_caltech": "stlight_jax.data.datasets.kitti_caltech:KittiCaltech",
    "frames": "stlight_jax.data.datasets.frames:Frames",
}


def find_dataset(name: str | None) -> Dataset:
    """Finds a data set.

    Args:
      name: as in a config's key `dataset`.

    Returns:
      The data set.

    Raises:
      InputError: the name is unknown.
    """
    if name not in DATASETS:
        raise InputError(f"dataset is {name!r}; choose one of {', '.join(DATASETS)}")
    return _make(DATASETS[name])


@functools.cache
def _make(path: str) -> Dataset:
    return pkgutil.resolve_name(path)()
