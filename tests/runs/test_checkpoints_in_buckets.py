"""Checkpoints in a bucket: restored, chosen and rejected as on a disk."""

import pytest

from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.storage import bucket
from stlight_jax.training.saved_state import load_state
from tests.runs.checkpoints import assert_equal, make_state, write

pytestmark = pytest.mark.compiled_fast


def test_checkpoints_come_back_and_the_newest_and_the_best_are_kept(bucket_folder, server):
    write(bucket_folder, {10: 3.0, 20: 1.0, 30: 2.0, 40: None, 50: 2.5}, keep=2)
    assert checkpoint.steps(bucket_folder) == [20, 40, 50]
    assert checkpoint.choose_step(bucket_folder, "best") == 20
    assert checkpoint.locate(bucket_folder / "50") == (bucket_folder, 50)
    assert_equal(load_state(bucket_folder, 50, make_state(0)), make_state(50))
    assert checkpoint.load_description(bucket_folder, 50) == {"name": "step 50"}
    assert not [name for name in server.names("bucket") if name.startswith(f"{bucket_folder.name}/30/")]
    checkpoint_writer.save_variables(bucket_folder / "alone", 3, make_state(3).variables, {"name": "brought in"})
    assert_equal(checkpoint.load_variables(bucket_folder / "alone", 3, make_state(0).variables), make_state(3).variables)


def test_incomplete_and_damaged_ones_are_moved_out_of_the_way(bucket_folder, server, caplog):
    write(bucket_folder / "c", {1: 2.0, 2: 1.0, 3: 0.5}, keep=3)
    name = max(
        (name for name in server.names("bucket") if f"{bucket_folder.name}/c/2/model/" in name), key=lambda name: len(name)
    )
    content = bytearray(server.data("bucket", name))
    content[len(content) // 2] ^= 4
    server.put("bucket", name, bytes(content), "", {})
    (bucket_folder / "c" / "3" / "checksums.json").unlink()
    assert checkpoint.latest_valid_step(bucket_folder / "c", bucket_folder / "rejected") == 1
    assert "checkpoint 3 is not used: it is incomplete" in caplog.text
    assert "is damaged (its checksum differs)" in caplog.text
    assert checkpoint.steps(bucket_folder / "c") == [1]
    assert [name.partition("-")[0] for name in bucket.folders(bucket_folder / "rejected")] == ["2", "3"]
    write(bucket_folder / "c", {3: 0.4})  # its step can be written anew
    assert checkpoint.choose_step(bucket_folder / "c", "best") == 3
