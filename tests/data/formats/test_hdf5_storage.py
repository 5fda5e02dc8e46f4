"""HDF5 arrays of which parts were never written."""

import h5py
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import registry
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
    with pytest.raises(InputError, match=r"but its only chunk was never written"):
        open_sequences(tmp_path / "b.h5", ReadOptions())


def test_a_billion_declared_frames_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"is 250,000,000 chunks, 2 of them written: hardly any of it"):
        open_sequences(grown(tmp_path / "a.h5", 10**9, fillvalue=np.nan), ReadOptions())


def test_unwritten_frames_are_missing_where_the_fill_value_says_so(tmp_path):
    (sequence,) = open_sequences(grown(tmp_path / "a.h5", 16, fillvalue=np.nan), ReadOptions())
    frames = np.concatenate([*sequence.blocks()])
    assert (frames[:8] == 1).all()
    assert np.isnan(frames[8:]).all()
    assert any("2 of its 4 chunks were never written; they read as nan" in remark for remark in sequence.remarks)


def test_a_virtual_dataset_that_is_its_own_source_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((8, 6, 5), "f4")
        layout[:] = h5py.VirtualSource(".", "rain", (8, 6, 5))
        file.create_virtual_dataset("rain", layout)
    (sequence,) = open_sequences(tmp_path / "a.h5", ReadOptions())
    with pytest.raises(InputError, match=r"a.h5#rain is a virtual dataset whose source is itself; give it sources"):
        next(iter(sequence.blocks()))


@pytest.mark.parametrize("ending", [".h5", ".nc"])
def test_all_other_files_with_parts_of_a_file_are_found(tmp_path, ending):
    (tmp_path / "far").mkdir()
    shape = (8, 6, 5)
    with h5py.File(tmp_path / f"a{ending}", "w") as file, h5py.File(tmp_path / "far/source.h5", "w") as source:
        source.create_dataset("rain", shape, "f4", external=[(str(tmp_path / "far/raw.bin"), 0, h5py.h5f.UNLIMITED)])[:] = 1
        file["group/linked"] = h5py.ExternalLink("linked.h5", "rain")
        file["lost"] = h5py.ExternalLink("nowhere.h5", "rain")
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:4] = h5py.VirtualSource("far/source.h5", "rain", shape)[:4]
        layout[4:] = h5py.VirtualSource("nowhere.h5", "rain", shape)[4:]
        file.create_virtual_dataset("virtual", layout)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["rain"] = np.ones(shape)
        file["back"] = h5py.ExternalLink(f"a{ending}", "group/linked")
    found = registry.input_format(ending).referenced_files(tmp_path / f"a{ending}")
    assert found == {str(tmp_path / name) for name in ("linked.h5", "far/source.h5", "far/raw.bin")}
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    assert not registry.input_format("b.h5").referenced_files(tmp_path / "b.h5")
