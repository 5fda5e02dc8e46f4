"""Arrays of npy, npz and HDF5 files: axes, element types, missing values."""

import sys

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import types
from tests.data.formats.frame_files import FRAMES, RNG, array_file, open_all, open_one, read_frames


@pytest.mark.parametrize("layout", ["thw", "thwc", "tchw", "nthw", "nthwc", "ntchw"])
@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_every_layout_gives_the_same_frames(tmp_path, layout, kind):
    truth = np.stack([FRAMES, 255 - FRAMES])  # [n, t, h, w, c]
    if "c" not in layout:
        truth = truth[..., :1]
    if "n" not in layout:
        truth = truth[:1]
    stored = truth if "c" in layout else truth[..., 0]
    stored = stored if "n" in layout else stored[0]
    if "tchw" in layout:
        stored = np.moveaxis(stored, -1, -3)
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, stored)
    elif kind == "npz":
        np.savez_compressed(path, x=stored)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.create_dataset("deep/x", data=stored)
    sequences = open_all(path, layout=layout)
    name = {"npy": "a.npy", "npz": "a.npz#x", "h5": "a.h5#deep/x"}[kind]
    assert [s.name for s in sequences] == ([f"{name}[0]", f"{name}[1]"] if "n" in layout else [name])
    for sequence, frames in zip(sequences, truth, strict=True):
        assert np.array_equal(read_frames(sequence), frames)
        assert np.array_equal(read_frames(sequence), frames)  # can be called again
    if layout in ("thw", "thwc", "nthwc"):
        assert [s.name for s in open_all(path)] == [s.name for s in sequences]


def test_blocks_are_small_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(types, "BLOCK_BYTES", 2 * 8 * 7 * 2)
    sequence = open_one(array_file(tmp_path, FRAMES[:5]))
    assert [len(block) for block in sequence.blocks()] == [2, 2, 1]
    assert np.array_equal(read_frames(sequence), FRAMES[:5])
    monkeypatch.setattr(types, "BLOCK_BYTES", 1)
    assert [len(block) for block in sequence.blocks()] == [1] * 5


def test_fortran_order_and_foreign_byte_order_make_no_difference(tmp_path):
    frames = FRAMES.astype(">u2") * 200
    sequence = open_one(array_file(tmp_path, np.asfortranarray(frames)))
    assert sequence.dtype == np.uint16
    assert np.array_equal(read_frames(sequence), frames)


@pytest.mark.parametrize(
    ("stored", "given"),
    [(np.uint8, np.uint8), (np.uint16, np.uint16), (np.int16, np.int16), (bool, np.uint8), (np.int8, np.float32),
     (np.int32, np.float32), (np.uint64, np.float32), (np.float16, np.float32), (np.float32, np.float32),
     (np.float64, np.float32)],
)  # fmt: skip
def test_types(tmp_path, stored, given):
    frames = (FRAMES % 120).astype(stored)
    sequence = open_one(array_file(tmp_path, frames))
    assert sequence.dtype == given
    assert np.array_equal(read_frames(sequence), frames.astype(given))
    converted = stored not in (given, bool)
    assert sequence.remarks == ((f"{np.dtype(stored)} is read as float32",) if converted else ())


def test_integers_keep_their_fill_value_and_floats_become_nan(tmp_path):
    sequence = open_one(array_file(tmp_path, FRAMES), fill_value=int(FRAMES[0, 0, 0, 0]))
    assert sequence.fill == FRAMES[0, 0, 0, 0]
    assert np.array_equal(read_frames(sequence), FRAMES)
    floats = FRAMES.astype(np.float32)
    floats[2, 3, 4, 1] = 1e20  # float32(1e20) is not 1e20
    sequence = open_one(array_file(tmp_path, floats), fill_value=1e20)
    frames = read_frames(sequence)
    assert sequence.fill is None
    assert np.argwhere(np.isnan(frames)).tolist() == [[2, 3, 4, 1]]
    longs = FRAMES.astype(np.int64)
    longs[1, 1, 1, 1] = -(2**63)
    assert np.argwhere(np.isnan(read_frames(open_one(array_file(tmp_path, longs), fill_value=-(2.0**63))))).tolist() == [
        [1, 1, 1, 1]
    ]


@pytest.mark.parametrize("value", [-9999, 256, 0.5, float("nan")])
def test_a_fill_value_that_cannot_occur_is_an_error(tmp_path, value):
    with pytest.raises(
        InputError, match="a.npy: data.fill_value is .*, which uint8 cannot hold; give a whole number from 0 to 255"
    ):
        open_all(array_file(tmp_path, FRAMES), fill_value=value)


@pytest.mark.parametrize("form", ["hw", "thw", "own"])
def test_masks_of_every_form(tmp_path, form):
    truth = RNG.random(FRAMES.shape) < 0.3
    if form == "hw":
        truth = np.broadcast_to(truth[:1, :, :, :1], truth.shape)
    if form == "thw":
        truth = np.broadcast_to(truth[..., :1], truth.shape)
    stored = {"hw": truth[0, :, :, 0], "thw": truth[..., 0], "own": np.moveaxis(truth, -1, 1)}[form]
    np.savez(tmp_path / "a.npz", x=np.moveaxis(FRAMES, -1, 1), bad=stored.astype(np.uint8))
    frames = read_frames(open_one(tmp_path / "a.npz", layout="tchw", mask="bad"))
    assert np.array_equal(np.isnan(frames), truth)
    assert np.array_equal(frames[~truth], FRAMES[~truth])


def test_a_mask_of_another_form_is_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", x=FRAMES, bad=np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"its mask 'bad' \[3, 3\]; expected \[h, w\], \[t, h, w\]"):
        open_all(tmp_path / "a.npz", mask="bad")
    with pytest.raises(InputError, match="data.mask is 'mask', which it does not hold; it holds x uint8"):
        open_all(tmp_path / "a.npz", mask="mask")


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.full((2, 8, 8), np.inf), "frame 0: found an infinite value"),
        (np.array([0, 1e39])[:, None, None] * np.ones((8, 8)), "frame 1: found an infinite value"),
        (np.full((2, 8, 8), 2**24 + 1), "frame 0: value 16777217 has no exact float32"),
        (np.full((2, 8, 8), -(2**31), np.int32), "value -2147483648 has no exact float32; expected .*data.fill_value"),
    ],
)
def test_values_that_float32_cannot_hold_are_named(tmp_path, frames, message):
    sequence = open_one(array_file(tmp_path, frames))
    with pytest.raises(InputError, match=message):
        read_frames(sequence)


@pytest.mark.parametrize(
    ("array", "layout", "message"),
    [
        (np.zeros(4), "auto", r"shape \[4\]; expected frames: \[t, h, w\]"),
        (
            np.zeros((4, 5, 20, 20)),
            "auto",
            "20 channels; name its axes, e.g. --config.data.layout=nthw or tchw or thwc",
        ),
        (np.zeros((4, 2, 16, 8)), "auto", "2 x 16 with 8 channels; name .*tchw"),
        (np.zeros((4, 5, 3, 9, 20)), "auto", "layout=ntchw or nthwc"),
        (np.zeros((4, 5, 6)), "tchw", "layout=tchw asks for 4 axes"),
        (np.zeros((12, 0, 32)), "auto", r"shape \[12, 0, 32\]; expected at least one frame and one pixel"),
        (np.zeros((0, 0)), "auto", r"shape \[0, 0\]; expected at least one frame and one pixel"),
        (np.zeros((0, 5, 6)), "auto", "expected at least one frame"),
        (np.zeros((4, 5, 6), complex), "auto", "holds complex128; expected integers, floats or bool"),
        (np.full((4, 5, 6), "x"), "auto", "holds <U1; expected integers"),
    ],
)
def test_shapes_and_types_that_are_no_frames(tmp_path, array, layout, message):
    np.savez(tmp_path / "a.npz", x=array)
    with pytest.raises(InputError, match=message):
        open_all(tmp_path / "a.npz", layout=layout, variable="x")


def test_a_frame_beyond_this_machines_memory_is_refused(tmp_path):
    with pytest.importorskip("h5py").File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10, 2**24, 2**24), np.float32, chunks=(1, 64, 64))
    with pytest.raises(InputError, match="a single frame has .* MiB, more than this machine can hold"):
        open_all(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_blocks_begin_where_they_are_asked_to(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, FRAMES)
    elif kind == "npz":
        np.savez(path, x=FRAMES)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["x"] = FRAMES
    assert np.array_equal(np.concatenate(list(open_one(path).blocks(4))), FRAMES[4:])


@pytest.mark.parametrize("option", ["variable", "time", "mask"])
def test_a_npy_has_no_named_arrays(tmp_path, option):
    with pytest.raises(InputError, match=f"data.{option} is 'x', but a .npy file has no named arrays"):
        open_all(array_file(tmp_path, FRAMES), **{option: "x"})
    assert open_one(array_file(tmp_path, FRAMES), time="none").ticks is None


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_damaged_files_are_named(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, FRAMES)
    elif kind == "npz":
        np.savez(path, x=FRAMES)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["x"] = FRAMES
    whole = path.read_bytes()
    for damaged in (b"", b"junk" * 50, whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"a.{kind}"):
            open_all(path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.h5 needs the package h5py: pip install h5py .or the extra .hdf5.."):
        open_all(tmp_path / "a.h5")


def test_radar_and_kitti(test_data):
    (radar,) = open_all(test_data / "radar_knmi", fill_value=65535)
    assert (radar.frames, radar.shape, radar.dtype, radar.fill) == (92, (416, 416, 1), np.uint16, 65535)
    assert (read_frames(radar) == 65535).mean() == pytest.approx(0.208, abs=5e-4)  # SOURCE.txt
    drives = open_all(test_data / "kitti_odometry_clips")
    names = ["seq1_left", "seq1_right", "seq2_left", "seq2_right"]
    assert [s.name for s in drives] == [f"kitti_odometry_128x160_gray.npz#{name}" for name in names]
    assert {(s.frames, s.shape, s.dtype) for s in drives} == {(51, (128, 160, 1), np.dtype(np.uint8))}


def test_an_array_that_is_cut_off_is_named_so(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 6, 5)))  # 960 bytes
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"a.npy is damaged.*: cut off after 959 of the 960 bytes of float64 \[4, 6, 5\]"):
        open_all(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(content.replace(b"'descr'", b"\x01descr'"))
    with pytest.raises(InputError, match=r"a.npy is damaged.*header"):
        open_all(tmp_path / "a.npy")
