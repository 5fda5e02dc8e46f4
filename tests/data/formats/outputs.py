"""Frames to write, and files of them."""

import pathlib

import numpy as np

from stlight_jax.data.formats import registry
from stlight_jax.data.formats.output_files import open_output
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.types import SourceInfo

RNG = np.random.default_rng(0)
NOWHERE = pathlib.Path("frames")


def output_spec(frames, dtype=np.uint8, axes="thwc", **settings):
    """Describes frames `[t, h, w, c]`, changed by the settings."""
    source = SourceInfo(NOWHERE, "npy", np.dtype(dtype), "rain", axes)
    settings = {"source": source, "frames": len(frames), **settings}
    return OutputSpec(shape=frames.shape[1:], dtype=np.dtype(dtype), **settings)


def write(path, frames, spec, blocks=2):
    """Writes frames in several blocks, in the format of the path's ending."""
    with open_output(path, registry.output_format_of(path.suffix), spec) as write_block:
        for block in np.array_split(frames, blocks):
            write_block(block)
    return path


def random_frames(shape, high=255):
    return (RNG.random(shape) * high).astype(np.float32)
