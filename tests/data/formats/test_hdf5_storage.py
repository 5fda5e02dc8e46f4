"""HDF5 arrays of which parts were never written."""

import h5py
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions


def grown(path, frames, **storage):
    """An array of 8 frames of ones in chunks of 4, resized to more frames."""
    with h5py.File(path, "w") as file:
        file.create_dataset("rain", data=np.ones((8, 6, 5), "f4"), chunks=(4, 6, 5), maxshape=(None, 6, 5), **storage)
        file["rain"].resize(frames, 0)
    return path


def test_frames_that_were_never_written_are_no_zeros(tmp_path):
    with pytest.raises(
        InputError, match=r"a.h5#rain has shape \[16, 6, 5\], but 2 of its 4 chunks were never written; .* resize"
    ):
        open_sequences(grown(tmp_path / "a.h5", 16), ReadOptions())
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("rain", (8, 6, 5), "f4")
    with pytest.raises(InputError, match=r"1 of its 1 chunks were never written"):
        open_sequences(tmp_path / "b.h5", ReadOptions())


def test_a_billion_declared_frames_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"249,999,998 of its 250,000,000 chunks were never written"):
        open_sequences(grown(tmp_path / "a.h5", 10**9, fillvalue=np.nan), ReadOptions())


def test_unwritten_frames_are_missing_where_the_fill_value_says_so(tmp_path):
    (sequence,) = open_sequences(grown(tmp_path / "a.h5", 16, fillvalue=np.nan), ReadOptions())
    frames = np.concatenate([*sequence.blocks()])
    assert (frames[:8] == 1).all()
    assert np.isnan(frames[8:]).all()
    assert any("2 of its 4 chunks were never written; they read as nan" in remark for remark in sequence.remarks)
