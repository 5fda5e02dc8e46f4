"""Data in a bucket: sent there, fetched once per machine, and the same as on a disk."""

import concurrent.futures
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax import InputError
from stlight_jax.data.digits import load_digits
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.load import open_test, open_training
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.data.prepared import find_prepared
from stlight_jax.data.stored_frames import StoredFrames
from stlight_jax.storage import bucket, copies, paths
from tests.conftest import ROOT, load_config
from tests.data.test_digits import idx, write_tfds


@pytest.fixture
def raw(tmp_path):
    """Two sequences of a user."""
    random = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for name, length in (("a", 60), ("b", 50)):
        np.save(tmp_path / "raw" / f"{name}.npy", random.integers(0, 256, (length, 16, 16, 1), np.uint8))
    return epath.Path(tmp_path / "raw")


def frames_config(root):
    config = load_config("tiny", "frames")
    config.model.update(in_frames=3, out_frames=2)
    config.data.update(root=str(root), validation_fraction=0.1, test_fraction=0.2)
    return config


def downloads(server, part):
    return [request for request in server.requests if request.startswith("GET /download") and part in request]


def test_prepared_data_are_sent_and_give_the_same_windows_as_local_ones(
    bucket_folder, server, raw, tmp_path, caches, monkeypatch
):
    prepare_frames(raw, FramesOptions(), epath.Path(tmp_path / "local"))
    folder = prepare_frames(raw, FramesOptions(), bucket_folder)
    assert str(folder) == f"{bucket_folder}/frames/1.0.0"
    assert prepare_frames(raw, FramesOptions(), bucket_folder) == folder  # is done already
    sent = [name for name in server.names("bucket") if name.startswith(bucket_folder.name)]
    assert not [name for name in sent if not name.startswith(f"{bucket_folder.name}/frames/1.0.0/")]
    ours, theirs = (
        [*open_training(config), open_test(config)]
        for config in (frames_config(bucket_folder), frames_config(tmp_path / "local"))
    )
    for one, other in zip(ours, theirs, strict=True):
        assert len(one) == len(other)
        np.testing.assert_array_equal(one.frames(np.arange(len(one)), 3), other.frames(np.arange(len(other)), 3))
        assert one.description["sha256"] == other.description["sha256"]
        assert one.description["folder"] == str(folder)

    # Fetched once; what is cut short is fetched anew.
    (copy,) = (caches / "fetched").iterdir()
    assert not list(copy.glob("*.unfinished*"))
    before = len(downloads(server, bucket_folder.name))
    assert len(StoredFrames(folder, "train", 0)) == len(StoredFrames(folder, "train", 2**30))
    assert len(downloads(server, bucket_folder.name)) == before
    (record,) = copy.glob("*train*array_record*")
    whole = record.read_bytes()
    record.write_bytes(whole[:-1])
    StoredFrames(folder, "train", 0)
    assert record.read_bytes() == whole
    assert len(downloads(server, bucket_folder.name)) == before + 1

    # Prepared anew, they are other data.
    paths.remove_folder(folder)
    prepare_frames(raw, FramesOptions(gap=2), bucket_folder)
    assert len(StoredFrames(folder, "train", 0)) < len(ours[0].frames(np.arange(1))) + 110
    assert len(list((caches / "fetched").iterdir())) == 2

    record.unlink()
    monkeypatch.setattr(copies, "_crc32c", lambda path: "other")
    with pytest.raises(InputError, match="was damaged or lost on the way"):
        prepare_frames(raw, FramesOptions(), bucket_folder / "damaged")
    assert not bucket.files_below(bucket_folder / "damaged")


@pytest.mark.parametrize("lost", ["a", "last"])
def test_a_file_that_is_not_there_after_it_was_sent_is_named(bucket_folder, server, tmp_path, monkeypatch, lost):
    for name in ("a", "b", "last"):
        (tmp_path / name).write_text(name)
    put = server.put

    def lose(bucket, name, *more):
        stored = put(bucket, name, *more)
        if name.endswith(f"/{lost}"):
            del server.buckets[bucket][name]
        return stored

    monkeypatch.setattr(server, "put", lose)
    with pytest.raises(InputError, match=f"{bucket_folder}/sent/{lost} was damaged or lost on the way"):
        copies.upload_folder(tmp_path, bucket_folder / "sent", "last")
    assert not bucket.files_below(bucket_folder / "sent")


def test_local_data_need_no_package_for_buckets():
    code = "import sys; sys.modules['fsspec'] = None; import stlight_jax.storage.copies, stlight_jax.data.load"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_several_processes_of_a_machine_fetch_once(bucket_folder, server, raw, caches):
    folder = prepare_frames(raw, FramesOptions(), bucket_folder)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: StoredFrames(folder, "train", 0), range(6)))
    assert {len(frames) for frames in opened} == {len(opened[0])}
    fetched = downloads(server, bucket_folder.name)
    assert len(fetched) == len(set(fetched))
    assert len([request for request in fetched if "array_record" in request]) == 1


def test_a_disk_that_is_too_small_is_named(bucket_folder, raw, caches, monkeypatch):
    folder = prepare_frames(raw, FramesOptions(), bucket_folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(total=1000, free=10))
    with pytest.raises(
        InputError, match="the copy of .* would take .* kB, and 10 bytes are free in .*fetched.*; .*XDG_CACHE_HOME to"
    ):
        StoredFrames(folder, "test", 0)


def test_raw_frames_in_a_bucket_are_refused(bucket_folder, raw):
    (bucket_folder / "clip.npy").write_bytes((raw / "a.npy").read_bytes())
    with pytest.raises(InputError, match="data.root is gs://.*: raw files are read from this machine's disks only"):
        open_training(frames_config(bucket_folder))
    with pytest.raises(InputError, match="frames are read from local folders"):
        prepare_frames(bucket_folder, FramesOptions(), raw)
    assert find_prepared("frames", str(bucket_folder), "") is None


def test_digits_and_published_arrays_come_from_a_bucket(bucket_folder, caches, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)
    (bucket_folder / "moving_mnist" / "train-images-idx3-ubyte").write_bytes(idx(images))
    np.testing.assert_array_equal(load_digits("train", "auto", str(bucket_folder)).images, images)
    with pytest.raises(InputError, match=r"expected t10k-images-idx3-ubyte.gz .*, found moving_mnist"):
        load_digits("test", "auto", str(bucket_folder))

    np.save(tmp_path / "x.npy", images)
    (bucket_folder / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes())
    array = memory_map(bucket_folder / "x.npy", "")
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, images)
    np.save(tmp_path / "x.npy", images[::-1])
    (bucket_folder / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes())
    np.testing.assert_array_equal(memory_map(bucket_folder / "x.npy", ""), images[::-1])
    with pytest.raises(InputError, match="y.npy: an array, found no such file"):
        memory_map(bucket_folder / "y.npy", "an array")


def test_a_bucket_that_refuses_an_array_is_no_damaged_file(bucket_folder, caches, tmp_path, refuse):
    """It is the bucket's fault, which may be over in an hour, and ends a command with another status."""
    np.save(tmp_path / "x.npy", np.zeros(3))
    (bucket_folder / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes())
    with refuse("x.npy"), pytest.raises(Exception, match="403|Forbidden") as error:
        memory_map(bucket_folder / "x.npy", "an array")
    assert not isinstance(error.value, InputError)
    assert paths.is_bucket_error(error.value)


def test_digits_that_tfds_prepared_come_from_a_bucket(bucket_folder, caches, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    features = {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
    examples = [{"image": image[..., None], "label": 0} for image in images]
    write_tfds(tmp_path / "mnist" / "3.0.1", features, {"train": examples, "test": examples[:2]})
    with pytest.raises(InputError, match="mnist is not prepared in gs://"):
        load_digits("train", "tfds", str(bucket_folder))
    copies.upload_folder(tmp_path / "mnist" / "3.0.1", bucket_folder / "mnist" / "3.0.1", "dataset_info.json")
    np.testing.assert_array_equal(load_digits("train", "tfds", str(bucket_folder)).images, images)
