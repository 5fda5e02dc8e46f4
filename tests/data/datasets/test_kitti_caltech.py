"""KITTI -> Caltech from small files in the layouts of hickle's versions, OpenSTL's caches and videos."""

import builtins

import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.datasets import kitti_caltech
from stlight_jax.data.datasets.kitti_caltech import KittiCaltech
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError

SOURCES = ["city-2011_09_26_drive_0001_sync"] * 14 + ["road-2011_09_26_drive_0015_sync"] * 5 + ["road-0027"] * 4
STARTS = [19, 8]  # backwards, as OpenSTL's walk leaves them
N_TEST = 31


def images(count, seed):
    """Frames that differ, and that compress well."""
    frames = np.zeros((count, 128, 160, 3), np.uint8)
    frames[:, :2, :2] = np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3))
    return frames


def hickle_1(folder, frames, sources):
    with h5py.File(folder / "X_train.hkl", "w") as file:
        file.create_dataset("data", data=frames)
        file.create_dataset("type", data=[b"ndarray"])
    with h5py.File(folder / "sources_train.hkl", "w") as file:
        file.create_dataset("data", data=[source.encode() for source in sources])
        file.create_dataset("type", data=[b"list"])


def hickle_3(folder, frames, sources):
    with h5py.File(folder / "X_train.hkl", "w") as file:
        file.create_dataset("data_0", data=frames, compression="gzip", chunks=(3, 128, 160, 3))
    with h5py.File(folder / "sources_train.hkl", "w") as file:
        file.create_dataset("data_0", data=sources, dtype=h5py.string_dtype())


def hickle_3_in_groups(folder, frames, sources):
    with h5py.File(folder / "X_train.hkl", "w") as file:
        file.create_group("data_0").create_dataset("data_0", data=frames)
    with h5py.File(folder / "sources_train.hkl", "w") as file:
        group = file.create_group("data_0")
        for place, source in enumerate(sources):
            group.create_dataset(f"data_{place}", data=[source.encode()])


def hickle_4(folder, frames, sources):
    with h5py.File(folder / "X_train.hkl", "w") as file:
        file.create_dataset("data", data=frames)
    with h5py.File(folder / "sources_train.hkl", "w") as file:
        file.create_dataset("data", data=sources, dtype=h5py.string_dtype())


def hickle_4_in_a_group(folder, frames, sources):
    hickle_4(folder, frames, sources)
    with h5py.File(folder / "sources_train.hkl", "w") as file:
        group = file.create_group("data")
        for place, source in enumerate(sources):
            group.create_dataset(f"data_{place}", data=source)


def hickle_5(folder, frames, sources):
    """Strings are arrays of bytes, but an object that was there before is a reference; types have a table."""
    hickle_4(folder, frames, sources)
    with h5py.File(folder / "sources_train.hkl", "w") as file:
        group = file.create_group("data")
        for place, source in enumerate(sources):
            before = sources.index(source)
            if before < place:
                group.create_dataset(f"data{place}", data=group[f"data{before}"].ref, dtype=h5py.ref_dtype)
                continue
            array = np.frombuffer(source.encode(), "S1")
            group.create_dataset(f"data{place}", data=array, shape=(1, len(array))).attrs["str_type"] = b"str"
    for path in (folder / "X_train.hkl", folder / "sources_train.hkl"):
        with h5py.File(path, "a") as file:
            table = file.create_group("hickle_types_table")
            table.create_dataset("0", data=np.frombuffer(b"pickled", "S1"), shape=(1, 7))
            table.create_dataset("list", shape=None, dtype="S1")


def write_caches(folder, frames, starts):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "data_cache.npy", frames)
    np.save(folder / "indices_cache.npy", np.asarray(starts, np.int32))


def write_raw(raw, hickle=hickle_4, frames=None, sources=SOURCES):
    (raw / "kitti_hkl").mkdir(parents=True)
    hickle(raw / "kitti_hkl", images(len(SOURCES), 0) if frames is None else frames, sources)
    write_caches(raw / "caltech", images(N_TEST, 1), STARTS)
    return raw


def prepare(raw, out):
    builder = ClipsBuilder(KittiCaltech(), data_dir=out, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=raw))
    return builder


def fails(raw, out, message):
    with pytest.raises(InputError, match=message) as caught:
        prepare(raw, out)
    assert "\n" not in str(caught.value)
    assert not list((out / "kitti_caltech").glob("*"))


def stored(builder, split):
    return np.stack([record["frame"] for record in builder.as_data_source(split)])


def windows(builder, split, length):
    clips = builder.info.metadata["splits"][split]["clips"]
    segments = [Segment(*segment) for clip in clips for segment in clip["runs"]]
    strides = [KittiCaltech().stride(clip["name"], length) for clip in clips for _ in clip["runs"]]
    found = Windows(segments, length, strides, anchor=KittiCaltech.anchor)
    return found.frames(np.arange(len(found)))[:, 0].tolist() if len(found) else []


def openstl_windows(sources, length):
    """By walking backwards, as OpenSTL describes it."""
    starts, last = [], len(sources) - 1
    while last >= length - 1:
        if sources[last] == sources[last - length + 1]:
            starts.append(last - length + 1)
            last -= length
        else:
            last -= 1
    return sorted(starts)


@pytest.mark.parametrize("hickle", [hickle_1, hickle_3, hickle_3_in_groups, hickle_4, hickle_4_in_a_group, hickle_5])
def test_all_versions_of_hickle(tmp_path, monkeypatch, hickle):
    monkeypatch.setattr(kitti_caltech, "_BLOCK", 4)
    builder = prepare(write_raw(tmp_path / "raw", hickle), tmp_path / "out")
    np.testing.assert_array_equal(stored(builder, "train"), images(len(SOURCES), 0))
    clips = builder.info.metadata["splits"]["train"]["clips"]
    assert [(clip["name"], clip["runs"]) for clip in clips] == [
        (SOURCES[0], [[0, 14, 0]]), (SOURCES[14], [[14, 5, 0]]), (SOURCES[19], [[19, 4, 0]])
    ]  # fmt: skip
    for length in range(1, 16):
        assert windows(builder, "train", length) == openstl_windows(SOURCES, length)
    np.testing.assert_array_equal(stored(builder, "test"), images(N_TEST, 1))
    assert windows(builder, "test", 11) == sorted(STARTS)
    assert builder.info.metadata["colour_order"] == {"train": "rgb", "test": "bgr"}
    assert list(builder.info.metadata["remarks"]) == []


def test_runs_of_the_caches_do_not_join(tmp_path):
    builder = prepare(write_raw(tmp_path / "raw"), tmp_path / "out")
    (clip,) = builder.info.metadata["splits"]["test"]["clips"]
    assert [segment[:2] for segment in clip["runs"]] == [[8, 11], [19, 11]]
    first, second = clip["runs"]
    assert second[2] != first[2] + 11


@pytest.mark.parametrize(("folder", "dtype"), [("kitticaltech_npy", np.float64), ("", np.float32), ("", np.uint8)])
def test_arrays(tmp_path, folder, dtype):
    raw = tmp_path / "raw" / folder
    raw.mkdir(parents=True)
    for split, count, starts in (("train", 23, [12, 1]), ("test", 12, [0])):
        frames = images(count, count)
        np.save(raw / f"{split}_data.npy", frames if dtype == np.uint8 else frames.astype(dtype) / 255)
        np.save(raw / f"{split}_idx.npy", starts)
    builder = prepare(tmp_path / "raw", tmp_path / "out")
    for split, count in (("train", 23), ("test", 12)):
        np.testing.assert_array_equal(stored(builder, split), images(count, count))
    assert windows(builder, "train", 11) == [1, 12]
    assert windows(builder, "test", 11) == [0]


def test_remarks(tmp_path):
    raw = write_raw(tmp_path / "raw")
    (raw / "kitticaltech_npy").mkdir()
    np.save(raw / "caltech" / "indices_cache.npy", [0, 20])
    both, distance = prepare(raw, tmp_path / "out").info.metadata["remarks"]
    assert "kitti_hkl and caltech were read" in both
    assert distance == "indices_cache.npy: expected windows 11 frames apart, found that the nearest are 20"


def write_videos(cv2, folder, sets=range(6, 11), count=8):
    """Motion JPEG, whose frames OpenCV itself decodes for the expected values."""
    decoded = {}
    for number in sets:
        path = folder / f"set{number:02}" / "V000.seq"
        path.parent.mkdir(parents=True)
        avi = str(path.with_suffix(".avi"))
        writer = cv2.VideoWriter(avi, cv2.VideoWriter_fourcc(*"MJPG"), 30, (240, 180))
        for frame in range(count):
            picture = np.zeros((180, 240, 3), np.uint8)
            picture[:, :, 0] = 20 * frame + number
            picture[40:90, 60 : 80 + 10 * frame, 2] = 200
            writer.write(picture)
        writer.release()
        path.with_suffix(".avi").rename(path)
        video = cv2.VideoCapture(str(path))
        decoded[f"{path.parent.name}/V000.seq"] = [video.read()[1] for _ in range(count)]
    return decoded


@pytest.mark.parametrize("block", [1, 64])
def test_videos(tmp_path, monkeypatch, block):
    monkeypatch.setattr(kitti_caltech, "_BLOCK", block)
    cv2, transform = pytest.importorskip("cv2"), pytest.importorskip("skimage.transform")
    raw = write_raw(tmp_path / "raw")
    for cache in (raw / "caltech").iterdir():
        cache.unlink()
    decoded = write_videos(cv2, raw / "caltech")
    builder = prepare(raw, tmp_path / "out")
    clips = builder.info.metadata["splits"]["test"]["clips"]
    assert [(clip["name"], clip["runs"]) for clip in clips] == [
        (name, [[2 * place, 2, 0]]) for place, name in enumerate(decoded)
    ]
    frames = [frames[place] for frames in decoded.values() for place in (2, 5)]
    # 240 x 180 -> 171 x 128, of which 5 columns on the left are cut off, 160 stay.
    expected = [transform.resize(frame, (128, 171), preserve_range=True)[:, 5:165] / 255 for frame in frames]
    np.testing.assert_array_equal(stored(builder, "test"), (np.asarray(expected) * 255).astype("uint8"))


def test_bad_videos(tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    raw = write_raw(tmp_path / "raw")
    for cache in (raw / "caltech").iterdir():
        cache.unlink()
    fails(raw, tmp_path / "out", r"caltech: expected data_cache.npy and indices_cache.npy, or videos .* found nothing")
    write_videos(cv2, raw / "caltech", sets=[6, 7, 8])
    fails(raw, tmp_path / "out", r"caltech: expected videos .* found none in set09, set10")
    write_videos(cv2, raw / "caltech", sets=[9, 10])
    (raw / "caltech" / "set09" / "V000.seq").write_bytes(b"no video")
    fails(raw, tmp_path / "out", r"set09/V000.seq: expected a video")
    real_import = builtins.__import__

    def without_cv2(name, *args, **kwargs):
        if name == "cv2":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cv2)
    fails(raw, tmp_path / "out", "`pip install opencv-python-headless`")


def test_bad_folders(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    (raw / "kth").mkdir(parents=True)
    fails(raw, out, r"raw: expected kitti_hkl and caltech, or kitticaltech_npy with train_data.npy, .* found kth")
    (raw / "kitticaltech_npy").mkdir()
    np.save(raw / "kitticaltech_npy" / "train_data.npy", images(12, 0))
    fails(raw, out, r"kitticaltech_npy: expected .*; there is no train_idx.npy and no test_data.npy and no test_idx.npy")
    (raw / "kitti_hkl").mkdir()
    fails(raw, out, r"kitti_hkl: expected X_train.hkl and sources_train.hkl, found nothing")
    hickle_4(raw / "kitti_hkl", images(len(SOURCES), 0), SOURCES)
    fails(raw, out, r"caltech: expected .* found no such folder")
    write_caches(raw / "caltech", images(N_TEST, 1), STARTS)
    (raw / "caltech" / "indices_cache.npy").unlink()
    fails(raw, out, r"caltech: expected indices_cache.npy, found data_cache.npy")


@pytest.mark.parametrize(
    ("frames", "sources", "message"),
    [
        (images(23, 0), SOURCES[:-1], r"sources_train.hkl: expected a source for each of the 23 frames .* found 22"),
        (images(23, 0).astype(np.float32), SOURCES, r"X_train.hkl: expected one array uint8 .* found float32 \[23, 128"),
        (np.zeros((23, 160, 128, 3), np.uint8), SOURCES, r"X_train.hkl: .* found uint8 \[23, 160, 128, 3\]"),
    ],
)
def test_bad_hickles(tmp_path, frames, sources, message):
    fails(write_raw(tmp_path / "raw", hickle_4, frames, sources), tmp_path / "out", message)


def test_damaged_hickles(tmp_path):
    raw = write_raw(tmp_path / "raw", hickle_3)
    path = raw / "kitti_hkl" / "X_train.hkl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(raw, tmp_path / "out", r"X_train.hkl: expected a hickle \(HDF5\) file, found one that does not open")
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data_0", data=images(23, 0), compression="gzip", chunks=(23, 128, 160, 3))
        place = dataset.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(content)
    fails(raw, tmp_path / "out", r"X_train.hkl: expected whole frames, found that frame 0 cannot be read")
    path.write_bytes(whole)
    for name, found in (("data_0", r"float64 \[23\]"), ("data", "an array /data, which has no number")):
        with h5py.File(raw / "kitti_hkl" / "sources_train.hkl", "w") as file:
            file.create_dataset(name, data=np.arange(23.0))
        fails(raw, tmp_path / "out", rf"sources_train.hkl: expected a list of strings, found something else \({found}\)")


@pytest.mark.parametrize(
    ("frames", "starts", "message"),
    [
        (images(N_TEST, 1), [0, 21], r"indices_cache.npy: expected windows of 11 .* the 31 of data_cache.npy, .* starts at 21"),
        (images(N_TEST, 1), [-1, 10], r"indices_cache.npy: .* starts at -1"),
        (images(N_TEST, 1), [3, 3], r"indices_cache.npy: expected every window once"),
        (images(N_TEST, 1), [], r"indices_cache.npy: expected the starts of windows"),
        (images(N_TEST, 1).astype(np.int16), [0], r"data_cache.npy: expected uint8, or floats .* found int16"),
        (np.zeros((31, 3, 128, 160), np.uint8), [0], r"data_cache.npy: .* found uint8 \[31, 3, 128, 160\]"),
        (images(N_TEST, 1) / 255 + 0.3 / 255, [0], r"data_cache.npy: expected values k/255 .* in frame 0"),
        (images(N_TEST, 1).astype(np.float32), [0], r"data_cache.npy: expected values k/255"),
        (np.full((12, 128, 160, 3), np.nan, np.float16), [0], r"data_cache.npy: expected values k/255 .* \(nan in frame 0\)"),
    ],
)
def test_bad_caches(tmp_path, frames, starts, message):
    raw = write_raw(tmp_path / "raw")
    write_caches(raw / "caltech", frames, starts)
    fails(raw, tmp_path / "out", message)


def test_truncated_cache(tmp_path):
    raw = write_raw(tmp_path / "raw")
    path = raw / "caltech" / "data_cache.npy"
    path.write_bytes(path.read_bytes()[:-1])
    fails(raw, tmp_path / "out", r"data_cache.npy: expected a .npy array, found a file that does not load")
