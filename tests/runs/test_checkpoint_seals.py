"""Seals: every change of a checkpoint's files is found."""

import json

import numpy as np
import pytest

from stlight_jax.runs import checkpoint
from tests.runs.checkpoints import files_of, write

pytestmark = pytest.mark.compiled_fast


def test_one_flipped_bit_in_any_file_is_found(tmp_path):
    write(tmp_path, {1: 1.0})
    files = files_of(tmp_path / "1")
    assert len(files) > 8
    random = np.random.default_rng(0)
    for path in files:
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        assert checkpoint.find_damage(tmp_path / "1") is not None, path
        path.write_bytes(content)
        assert checkpoint.find_damage(tmp_path / "1") is None


def test_a_missing_and_a_foreign_file_are_found(tmp_path):
    write(tmp_path, {1: 1.0})
    (tmp_path / "1" / "model" / "stray").write_text("x")
    assert checkpoint.find_damage(tmp_path / "1") == "model/stray does not belong to it"
    (tmp_path / "1" / "model" / "stray").unlink()
    files_of(tmp_path / "1" / "model")[0].unlink()
    assert checkpoint.find_damage(tmp_path / "1").endswith("is missing")


def test_checksums_are_readable_json(tmp_path):
    write(tmp_path, {1: 1.0})
    sums = json.loads((tmp_path / "1" / "checksums.json").read_text())
    assert all(len(value) == 64 for value in sums.values())
    assert "_CHECKPOINT_METADATA" in sums
