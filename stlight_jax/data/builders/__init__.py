"""Builders of the data sets that OpenSTL's benchmark names, from their raw files; importing them makes them known to TFDS."""

from stlight_jax.data.builders.base import ClipsBuilder
from stlight_jax.data.builders.kitti_caltech import KittiCaltech
from stlight_jax.data.builders.kth import Kth
from stlight_jax.data.builders.moving_fashion_mnist import MovingFashionMnist
from stlight_jax.data.builders.taxibj import TaxiBJ

BUILDERS: dict[str, type[ClipsBuilder]] = {builder.name: builder for builder in (TaxiBJ, Kth, KittiCaltech, MovingFashionMnist)}
