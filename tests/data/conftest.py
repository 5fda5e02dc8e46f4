"""A prepared data set of two sequences."""

import numpy as np
import pytest
from etils import epath

from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from tests.data.prepared_arrays import GAP


@pytest.fixture(scope="session")
def arrays():
    rng = np.random.default_rng(0)
    return {"a.npy": rng.random((40, 6, 5, 3), np.float32), "b.npy": rng.random((30, 6, 5, 3), np.float32)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory, arrays):
    """A prepared data set of two sequences without times."""
    base = tmp_path_factory.mktemp("stored")
    (base / "raw").mkdir()
    for name, array in arrays.items():
        np.save(base / "raw" / name, array)
    return prepare_frames(epath.Path(base / "raw"), FramesOptions(gap=GAP), epath.Path(base / "out"))
