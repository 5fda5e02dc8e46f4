"""Atomic output on a disk: the old content or the new one, and nothing beside it."""

import os
import pathlib

import pytest

from stlight_jax import InputError
from stlight_jax.storage.atomic import atomic_output, write_atomic


def test_a_file_is_written_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(self, content):
        with open(self, "wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
    with pytest.raises(InputError, match=r"a.json could not be written: .*No space left on device"):
        write_atomic(path, "other")
    assert os.listdir(tmp_path) == ["a.json"]
    assert path.read_text() == "new"


def test_a_block_that_fails_leaves_the_old_output(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with atomic_output(path) as temporary:
        temporary.write_text("old")

    def fail():
        with atomic_output(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert os.listdir(path.parent) == ["a.txt"]
    assert path.read_text() == "old"
