"""npy, npz and HDF5: axes, types, missing values, times, and one clear line for whatever is wrong."""

import io
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import types
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.windows import runs_of

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (6, 8, 7, 2), dtype=np.uint8)  # [t, h, w, c]


def read(sequence):
    blocks = list(sequence.blocks())
    frames = np.concatenate(blocks)
    assert frames.dtype == sequence.dtype
    assert frames.shape == (sequence.frames, *sequence.shape)
    return frames


def saved(folder, array, name="a.npy"):
    np.save(folder / name, array)
    return folder / name


def open_all(path, **options):
    return open_sequences(path, ReadOptions(**options))


def open_one(path, **options):
    (sequence,) = open_all(path, **options)
    return sequence


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
        assert np.array_equal(read(sequence), frames)
        assert np.array_equal(read(sequence), frames)  # can be called again
    if layout in ("thw", "thwc", "nthwc"):
        assert [s.name for s in open_all(path)] == [s.name for s in sequences]


def test_blocks_are_small_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(types, "BLOCK_BYTES", 2 * 8 * 7 * 2)
    sequence = open_one(saved(tmp_path, FRAMES[:5]))
    assert [len(block) for block in sequence.blocks()] == [2, 2, 1]
    assert np.array_equal(read(sequence), FRAMES[:5])
    monkeypatch.setattr(types, "BLOCK_BYTES", 1)
    assert [len(block) for block in sequence.blocks()] == [1] * 5


def test_fortran_order_and_foreign_byte_order_make_no_difference(tmp_path):
    frames = FRAMES.astype(">u2") * 200
    sequence = open_one(saved(tmp_path, np.asfortranarray(frames)))
    assert sequence.dtype == np.uint16
    assert np.array_equal(read(sequence), frames)


@pytest.mark.parametrize(
    ("stored", "given"),
    [(np.uint8, np.uint8), (np.uint16, np.uint16), (np.int16, np.int16), (bool, np.uint8), (np.int8, np.float32),
     (np.int32, np.float32), (np.uint64, np.float32), (np.float16, np.float32), (np.float32, np.float32),
     (np.float64, np.float32)],
)  # fmt: skip
def test_types(tmp_path, stored, given):
    frames = (FRAMES % 120).astype(stored)
    sequence = open_one(saved(tmp_path, frames))
    assert sequence.dtype == given
    assert np.array_equal(read(sequence), frames.astype(given))
    converted = stored not in (given, bool)
    assert sequence.remarks == ((f"{np.dtype(stored)} is read as float32",) if converted else ())


def test_integers_keep_their_fill_value_and_floats_become_nan(tmp_path):
    sequence = open_one(saved(tmp_path, FRAMES), fill_value=int(FRAMES[0, 0, 0, 0]))
    assert sequence.fill == FRAMES[0, 0, 0, 0]
    assert np.array_equal(read(sequence), FRAMES)
    floats = FRAMES.astype(np.float32)
    floats[2, 3, 4, 1] = 1e20  # float32(1e20) is not 1e20
    sequence = open_one(saved(tmp_path, floats), fill_value=1e20)
    frames = read(sequence)
    assert sequence.fill is None
    assert np.argwhere(np.isnan(frames)).tolist() == [[2, 3, 4, 1]]
    longs = FRAMES.astype(np.int64)
    longs[1, 1, 1, 1] = -(2**63)
    assert np.argwhere(np.isnan(read(open_one(saved(tmp_path, longs), fill_value=-(2.0**63))))).tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("value", [-9999, 256, 0.5, float("nan")])
def test_a_fill_value_that_cannot_occur_is_an_error(tmp_path, value):
    with pytest.raises(
        InputError, match="a.npy: data.fill_value is .*, which uint8 cannot hold; give a whole number from 0 to 255"
    ):
        open_all(saved(tmp_path, FRAMES), fill_value=value)


@pytest.mark.parametrize("form", ["hw", "thw", "own"])
def test_masks_of_every_form(tmp_path, form):
    truth = RNG.random(FRAMES.shape) < 0.3
    if form == "hw":
        truth = np.broadcast_to(truth[:1, :, :, :1], truth.shape)
    if form == "thw":
        truth = np.broadcast_to(truth[..., :1], truth.shape)
    stored = {"hw": truth[0, :, :, 0], "thw": truth[..., 0], "own": np.moveaxis(truth, -1, 1)}[form]
    np.savez(tmp_path / "a.npz", x=np.moveaxis(FRAMES, -1, 1), bad=stored.astype(np.uint8))
    frames = read(open_one(tmp_path / "a.npz", layout="tchw", mask="bad"))
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
    sequence = open_one(saved(tmp_path, frames))
    with pytest.raises(InputError, match=message):
        read(sequence)


@pytest.mark.parametrize(
    ("array", "layout", "message"),
    [
        (np.zeros((4, 5)), "auto", r"shape \[4, 5\]; expected frames: \[t, h, w\]"),
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


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[["x", None]]], object), allow_pickle=True)
    with pytest.raises(InputError, match="a.npy is damaged, or not what its name says"):
        open_all(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", x=np.array([[["x", None]]], object))
    with pytest.raises(InputError, match=r"b.npz holds no array .* it holds x object \[1, 1, 2\]"):
        open_all(tmp_path / "b.npz")


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


def test_a_flipped_bit_in_an_archive_is_found_when_it_is_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.tile(FRAMES, (40, 1, 1, 1)))
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)
    sequence = open_one(path)
    with pytest.raises(InputError, match="a.npz#x is damaged"):
        read(sequence)


def test_members_of_equal_form_are_sequences_and_others_a_question(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, b=FRAMES[:4], a=FRAMES, note=np.arange(3))
    assert [(s.name, s.frames) for s in open_all(path)] == [("a.npz#b", 4), ("a.npz#a", 6)]
    np.savez(path, a=FRAMES, b=FRAMES.astype(np.float32))
    with pytest.raises(InputError, match=r"choose one with --config.data.variable: a uint8 \[6, 8, 7, 2\], b float32"):
        open_all(path)
    assert open_one(path, variable="b").name == "a.npz#b"
    with pytest.raises(InputError, match="data.variable is 'c', which it does not hold; it holds a uint8"):
        open_all(path, variable="c")


def test_an_archive_is_unpacked_once_for_all_its_items_and_never_as_a_whole(tmp_path, monkeypatch):
    frames = np.zeros((4, 400, 60, 60), np.float32)
    frames[:] = np.arange(400, dtype=np.float32)[:, None, None]
    np.savez_compressed(tmp_path / "a.npz", x=frames)
    monkeypatch.setattr(types, "BLOCK_BYTES", 2**18)
    sequences = open_all(tmp_path / "a.npz", layout="nthw")
    opened = []
    open_entry = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args, **kwargs: opened.append(args) or open_entry(*args, **kwargs))
    tracemalloc.start()
    for sequence in sequences:
        seen = [block[:, 0, 0, 0].copy() for block in sequence.blocks()]
        assert np.array_equal(np.concatenate(seen), np.arange(400))
    assert tracemalloc.get_traced_memory()[1] < frames.nbytes / 8
    tracemalloc.stop()
    assert len(opened) == 1
    again = np.concatenate(list(sequences[1].blocks(398)))  # back to what is behind
    assert np.array_equal(again[:, 0, 0, 0], [398, 399])


def test_an_archive_that_declares_other_sizes_than_it_has_is_refused_before_anything_is_unpacked(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**10, 2**10)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", header.getvalue() + bytes(800))
    with pytest.raises(
        InputError, match=r"the header of x declares float64 \[1048576, 1024, 1024\], .* the archive has 800 of it"
    ):
        open_all(tmp_path / "a.npz")


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
        open_all(saved(tmp_path, FRAMES), **{option: "x"})
    assert open_one(saved(tmp_path, FRAMES), time="none").ticks is None


def test_times_are_found_by_length_and_name(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=FRAMES, lat=np.arange(6), when=np.array([0, 1, 2, 5, 6, 7]))
    sequence = open_one(path)
    assert sequence.ticks.tolist() == [0, 1, 2, 5, 6, 7]
    assert sequence.remarks == ("times are those of 'when'", "1 gap, the longest of 2 steps")
    np.savez(path, x=FRAMES, loss=np.arange(6) * 1.5, date=np.array([f"2020010{day}" for day in range(1, 7)]))
    assert open_one(path).step == "1 d"
    assert open_one(path, time="loss").step == "1.5 of 'loss'"
    assert open_one(path, time="none").ticks is None
    np.savez(path, x=FRAMES, one=np.arange(6), two=np.arange(6))
    with pytest.raises(InputError, match="name its times with --config.data.time=NAME .or none.; it holds one int64"):
        open_all(path)


def test_times_of_another_length_are_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", x=FRAMES, time=np.arange(5))
    for time in ("", "time"):
        with pytest.raises(InputError, match=r"has 6 frames, its times 'time' have shape \[5\]"):
            open_all(tmp_path / "a.npz", time=time)
    with pytest.raises(InputError, match="data.time is 'date', which it does not hold"):
        open_all(tmp_path / "a.npz", time="date")


def test_arrays_of_one_file_share_its_times(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["left"], file["right"] = FRAMES, FRAMES
        file["time"] = [f"2020-01-01T{hour:02}:00" for hour in (0, 1, 2, 4, 5, 6)]
        file["empty"] = h5py.Empty("f4")
    left, right = open_all(tmp_path / "a.h5")
    assert left.ticks.tolist() == right.ticks.tolist() == [0, 1, 2, 4, 5, 6]
    assert (left.step, right.step) == ("1 h", "1 h")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.h5 needs the package h5py: pip install h5py .or the extra .hdf5.."):
        open_all(tmp_path / "a.h5")


def test_the_clean_taxi_years(test_data):
    sequence = open_one(test_data / "taxinyc" / "taxinyc_2012_2014_16x8.npz")
    assert (sequence.frames, sequence.shape, sequence.dtype, sequence.step) == (24141, (16, 8, 2), np.uint16, "1 h")
    assert len(runs_of(sequence.ticks)) == 7  # SOURCE.txt
    assert read(sequence).max() == 17082  # SOURCE.txt


def test_the_raw_taxi_year_with_its_repeated_stamps(test_data):
    h5py = pytest.importorskip("h5py")
    path = test_data / "taxinyc" / "NYC14_Taxi_M16x8_T60_InOut.h5"
    sequence = open_one(path, layout="tchw")
    assert "1728 time stamps occur more than once" in sequence.remarks  # SOURCE.txt
    with h5py.File(path) as file:
        dates, data = file["date"][:], file["data"][:]
    hours = np.array([f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:]}" for date in dates.astype(str)], "M8[h]")
    for run in runs_of(sequence.ticks):
        assert (np.diff(hours[run.first : run.first + run.frames]).astype(int) == 1).all()
    assert np.array_equal(read(sequence), data.transpose(0, 2, 3, 1).astype(np.float32))
    with pytest.raises(InputError, match="2 x 16 with 8 channels; name .*tchw"):
        open_all(path)


def test_radar_and_kitti(test_data):
    (radar,) = open_all(test_data / "radar_knmi", fill_value=65535)
    assert (radar.frames, radar.shape, radar.dtype, radar.fill) == (92, (416, 416, 1), np.uint16, 65535)
    assert (read(radar) == 65535).mean() == pytest.approx(0.208, abs=5e-4)  # SOURCE.txt
    drives = open_all(test_data / "kitti_odometry_clips")
    names = ["seq1_left", "seq1_right", "seq2_left", "seq2_right"]
    assert [s.name for s in drives] == [f"kitti_odometry_128x160_gray.npz#{name}" for name in names]
    assert {(s.frames, s.shape, s.dtype) for s in drives} == {(51, (128, 160, 1), np.dtype(np.uint8))}
