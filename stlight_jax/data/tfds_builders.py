"""Registers the data sets with TFDS: `import stlight_jax.data.tfds_builders`, then `tfds.load("kth", ...)`."""

from typing import Any

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from stlight_jax.data.raw_clips import ClipReader


def register(reader: ClipReader) -> type[ClipsBuilder]:
    """Registers a TFDS builder.

    Args:
      reader: reads the data set's raw files.

    Returns:
      The builder's class, which `tfds.load` finds by the data set's name.
    """

    class RegisteredBuilder(ClipsBuilder):
        name = reader.name
        __doc__ = reader.__doc__
        MANUAL_DOWNLOAD_INSTRUCTIONS = reader.instructions

        def __init__(self, **builder: Any):
            super().__init__(reader, **builder)

    return RegisteredBuilder


BUILDERS = {name: register(reader) for name in DATASETS if isinstance(reader := find_dataset(name), ClipReader)}
