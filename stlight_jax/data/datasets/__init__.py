"""Builders of the data sets that OpenSTL's benchmark names, from their raw files; importing them makes them known to TFDS."""

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.datasets.kitti_caltech import KittiCaltech
from stlight_jax.data.datasets.kth import Kth
from stlight_jax.data.datasets.moving_fashion_mnist import MovingFashionMnist
from stlight_jax.data.datasets.taxibj import TaxiBJ

BUILDERS: dict[str, type[ClipsBuilder]] = {builder.name: builder for builder in (TaxiBJ, Kth, KittiCaltech, MovingFashionMnist)}
