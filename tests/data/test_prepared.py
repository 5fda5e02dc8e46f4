"""Prepared data are found wherever they lie."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.frames_reader import FramesReader
from stlight_jax.data.prepared import find_prepared
from stlight_jax.errors import InputError
from tests.data.prepared_arrays import copied


def test_prepared_data_are_found_in_or_below_a_folder(folder, tmp_path):
    assert find_prepared("frames", str(tmp_path), "") is None
    assert find_prepared("frames", str(tmp_path / "nowhere"), "") is None
    target = copied(folder, tmp_path)
    for root in (tmp_path, target):
        assert find_prepared("frames", str(root), "") == epath.Path(target)
    with pytest.raises(InputError, match="holds the data set frames; expected kth"):
        find_prepared("kth", str(target), "")
    assert find_prepared("kth", str(tmp_path), "") is None


def test_folders_that_are_being_written_are_not_found(folder, tmp_path):
    (tmp_path / "frames").mkdir()
    shutil.copytree(folder, tmp_path / "frames" / f"{tfds.core.constants.INCOMPLETE_PREFIX}ABC123_1.0.0")
    assert find_prepared("frames", str(tmp_path), "") is None
    target = copied(folder, tmp_path)
    assert find_prepared("frames", str(tmp_path), "") == epath.Path(target)


def test_tildes_are_expanded(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    target = copied(folder, tmp_path)
    assert find_prepared("frames", "~", "") == epath.Path(target)


def test_formats_without_random_access_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10 * 4 * 4, dtype=np.float32).reshape(10, 4, 4))
    builder = ClipsBuilder(FramesReader(tmp_path / "a.npy"), data_dir=tmp_path / "out", file_format="tfrecord")
    builder.download_and_prepare()
    with pytest.raises(InputError, match="is stored as tfrecord; expected array_record; do that"):
        find_prepared("frames", str(tmp_path / "out"), "do that")
