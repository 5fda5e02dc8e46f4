""".npz archives: read forwards, never unpickled, and checked before anything is unpacked."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import types
from tests.data.formats.frame_files import FRAMES, open_all, open_one, read_frames


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[["x", None]]], object), allow_pickle=True)
    with pytest.raises(
        InputError, match="a.npy: expected .* of numbers, found an array of Python objects; save an array of numbers instead"
    ):
        open_all(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", x=np.array([[["x", None]]], object))
    with pytest.raises(InputError, match=r"b.npz holds no array .* it holds x object \[1, 1, 2\]"):
        open_all(tmp_path / "b.npz")


def test_times_that_are_python_objects_are_named_with_a_way_out(tmp_path):
    np.savez(tmp_path / "a.npz", v=FRAMES, time=np.array([f"2026-06-0{day}" for day in range(1, 7)], object))
    with pytest.raises(InputError, match=r"a.npz#time holds Python objects, .* astype\(str\), .*--config.data.time=none"):
        open_all(tmp_path / "a.npz")
    assert np.array_equal(read_frames(open_one(tmp_path / "a.npz", time="none")), FRAMES)


def test_an_archive_of_other_files_names_them(tmp_path):
    for name in ("a.npz", "a.zarr.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("rain.nc", b"CDF")
        with pytest.raises(InputError, match=rf"{name} is a ZIP archive with 1 file \(rain.nc\); .*; unpack it"):
            open_all(tmp_path / name)


def test_a_flipped_bit_in_an_archive_is_found_when_it_is_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.tile(FRAMES, (40, 1, 1, 1)))
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)
    sequence = open_one(path)
    with pytest.raises(InputError, match="a.npz#x is damaged"):
        read_frames(sequence)


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
