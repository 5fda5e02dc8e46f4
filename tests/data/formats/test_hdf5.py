"""HDF5: links, parts in other files, filters, locks, dimension scales and times."""

import subprocess
import sys

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import time_slabs, types
from tests.data.formats.frame_files import open_all, open_one, read_frames

h5py = pytest.importorskip("h5py")

RAIN = np.random.default_rng(1).random((24, 12, 16)).astype(np.float32) + 0.5


@pytest.fixture
def linked(tmp_path):
    """A file whose frames lie in another one, under two names."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["tp"] = RAIN
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["frames"] = h5py.ExternalLink("data.h5", "/tp")
        file["again"] = h5py.SoftLink("/frames")
    return tmp_path / "links.h5"


def test_linked_frames_are_one_sequence_under_any_of_their_names(linked):
    assert open_one(linked).name == "links.h5#frames"
    for variable in ("frames", "again", "/again"):
        assert np.array_equal(read_frames(open_one(linked, variable=variable))[..., 0], RAIN)


def test_a_link_to_nowhere_is_named_with_its_target(linked):
    (linked.parent / "data.h5").unlink()
    target = "'frames' is a link to /tp in data.h5, which does not exist or cannot be opened"
    with pytest.raises(InputError, match=rf"links.h5 holds no array .*{target}"):
        open_all(linked)
    with pytest.raises(InputError, match=rf"links.h5: {target}"):
        open_all(linked, variable="frames")


def test_hard_links_and_groups_in_circles_count_once(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/a"] = RAIN
        file["g/b"] = file["g/a"]
        file["g/self"] = file["g"]
        file["h"] = h5py.SoftLink("/g")
        file["dead"] = h5py.SoftLink("/nothing")
    sequence = open_one(tmp_path / "a.h5")
    assert sequence.name == "a.h5#g/a"
    assert "'dead' is a link to /nothing, which does not exist or cannot be opened" in sequence.remarks
    assert open_one(tmp_path / "a.h5", variable="g/b").frames == 24


def virtual(folder, parts=2, **settings):
    layout = h5py.VirtualLayout(RAIN.shape, "f4")
    for part in range(parts):
        with h5py.File(folder / f"part{part}.h5", "w") as file:
            file["x"] = RAIN[12 * part : 12 * part + 12]
        layout[12 * part : 12 * part + 12] = h5py.VirtualSource(f"part{part}.h5", "x", (12, 12, 16))
    with h5py.File(folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("x", layout, **settings)
    return folder / "virtual.h5"


def test_missing_parts_of_virtual_datasets_are_never_zeros(tmp_path):
    path = virtual(tmp_path)
    assert np.array_equal(read_frames(open_one(path))[..., 0], RAIN)
    with h5py.File(tmp_path / "part1.h5", "w") as file:
        file["y"] = RAIN
    with pytest.raises(InputError, match="virtual.h5#x has parts in x of part1.h5, which does not exist"):
        read_frames(open_one(path))
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(InputError, match="virtual.h5#x has parts in part1.h5, which is not there; copy it to"):
        read_frames(open_one(path))
    with pytest.raises(InputError, match="has sources for 2,304 of its 4,608 values; the others would read as 0"):
        read_frames(open_one(virtual(tmp_path, parts=1)))
    frames = read_frames(open_one(virtual(tmp_path, parts=1, fillvalue=-1)))
    assert np.isnan(frames[12:]).all()
    assert np.array_equal(frames[:12, ..., 0], RAIN[:12])


def test_missing_files_of_raw_values_are_never_zeros(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("x", RAIN.shape, "f4", external=[("raw.bin", 0, h5py.h5f.UNLIMITED)])[:] = RAIN
    assert np.array_equal(read_frames(open_one(tmp_path / "a.h5"))[..., 0], RAIN)
    RAIN[:12].tofile("raw.bin")
    with pytest.raises(InputError, match="stored in the file raw.bin, which has 9,216 bytes of 18,432; get a whole copy"):
        read_frames(open_one(tmp_path / "a.h5"))
    (tmp_path / "raw.bin").unlink()
    with pytest.raises(InputError, match="a.h5#x is stored in the file raw.bin, which is not there"):
        read_frames(open_one(tmp_path / "a.h5"))


def compressed_with(path, code, dims=()):
    """Writes an array whose chunks claim a filter that this machine need not have."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(RAIN.shape)
        properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(RAIN.shape)
        dataset = h5py.h5d.create(file.id, b"rain", h5py.h5t.IEEE_F32LE, space, properties)
        dataset.write_direct_chunk((0, 0, 0), RAIN.tobytes())
        for place, name in enumerate(dims):
            file[name] = np.arange(RAIN.shape[place])
            file[name].make_scale(name)
            file["rain"].dims[place].attach_scale(file[name])
    return path


@pytest.mark.parametrize(("code", "name"), [(305, "filter 305 .LZO."), (32019, "filter 32019 .JPEG."), (60000, "filter 60000")])
def test_a_missing_compression_filter_is_named(tmp_path, monkeypatch, code, name):
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number <= 3)  # other tests may have registered it
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(InputError, match=rf"a.h5#rain is compressed with {name}: pip install hdf5plugin$"):
        read_frames(open_one(compressed_with(tmp_path / "a.h5", code)))


def test_a_missing_filter_in_netcdf_is_named(tmp_path, monkeypatch):
    pytest.importorskip("netCDF4")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    path = compressed_with(tmp_path / "a.nc", 60000, ("time", "y", "x"))
    with pytest.raises(InputError, match="a.nc#rain is compressed with filter 60000: pip install hdf5plugin"):
        read_frames(open_one(path))


def test_filters_of_hdf5plugin_are_used_in_hdf5_and_netcdf(tmp_path):
    """In a process of its own, since filters stay registered."""
    pytest.importorskip("hdf5plugin")
    script = (
        "import h5py, hdf5plugin, numpy, sys\n"
        "for name in sys.argv[1:]:\n"
        "    with h5py.File(name, 'w') as file:\n"
        "        file.create_dataset('rain', data=numpy.arange(960.).reshape(24, 5, 8), chunks=(4, 5, 8), **hdf5plugin.LZ4())\n"
        "        for place, dim in enumerate(('time', 'y', 'x')):\n"
        "            file[dim] = numpy.arange(file['rain'].shape[place])\n"
        "            file[dim].make_scale(dim)\n"
        "            file['rain'].dims[place].attach_scale(file[dim])\n"
    )
    names = [str(tmp_path / "a.h5"), str(tmp_path / "a.nc")]
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    for name in names:
        assert np.array_equal(read_frames(open_one(name)).ravel(), np.arange(960))


@pytest.mark.parametrize("name", ["a.h5", "a.nc"])
def test_a_file_that_another_program_writes_is_locked(tmp_path, name):
    if name == "a.nc":
        pytest.importorskip("netCDF4")
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        file["x"] = RAIN
    hold = f"import h5py, sys; f = h5py.File({str(path)!r}, 'r+'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match=f"{name} is locked: another program is writing it, .*HDF5_USE_FILE_LOCKING=FALSE"):
            open_all(path)
        other.communicate()
    assert open_one(path).frames == 24


def test_dimension_scales_give_axes_and_times(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("g/rain", data=RAIN.transpose(1, 0, 2))
        time = file.create_dataset("g/time", data=6.0 * np.arange(24))
        time.attrs["units"] = np.bytes_("hours since 2020-01-01")
        time.make_scale("time")
        data.dims[1].attach_scale(time)
    sequence = open_one(tmp_path / "a.h5")
    assert np.array_equal(read_frames(sequence)[..., 0], RAIN)
    assert sequence.step == "6 h"
    assert sequence.times.values[-1].astype("M8[us]") == np.datetime64("2020-01-06T18")


def test_units_of_times_without_scales_are_obeyed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rain"], file["time"] = RAIN, 90 * np.arange(24)
        file["time"].attrs["units"] = "minutes since 2020-01-01 00:00"
    sequence = open_one(tmp_path / "a.h5")
    assert sequence.step == "90 min"
    assert sequence.times.values[2].astype("M8[us]") == np.datetime64("2020-01-01T03")


def test_a_picture_in_a_file_is_one_frame(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rain"], file["lat"], file["lon"] = RAIN[0], np.ones((12, 16)), np.ones((12, 16))
    sequence = open_one(tmp_path / "a.h5")
    assert (sequence.frames, sequence.shape) == (1, (12, 16, 1))
    assert np.array_equal(read_frames(sequence)[0, ..., 0], RAIN[0])


@pytest.mark.parametrize("in_memory", [2**28, 0])
@pytest.mark.parametrize("axes", ["thw", "hwt", "htwc"])
def test_chunks_along_time_are_unpacked_once(tmp_path, monkeypatch, in_memory, axes):
    frames = np.random.default_rng(2).random((100, 12, 16, 2)).astype(np.float32)
    stored = (frames if "c" in axes else frames[..., 0]).transpose(["thwc".index(axis) for axis in axes])
    chunks = tuple({"t": 40, "h": 5, "w": 7, "c": 1}[axis] for axis in axes)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", data=stored, chunks=chunks, compression="gzip")
        for place, axis in enumerate(axes):
            data.dims[place].label = {"t": "time", "h": "y", "w": "x", "c": "band"}[axis]
    monkeypatch.setattr(types, "BLOCK_BYTES", 7 * 12 * 16 * 4 * (2 if "c" in axes else 1))
    monkeypatch.setattr(time_slabs, "_MAX_IN_MEMORY", in_memory)
    loaded = []
    load = time_slabs.TimeSlabs._load
    monkeypatch.setattr(time_slabs.TimeSlabs, "_load", lambda *args: loaded.append(args[2]) or load(*args))
    sequence = open_one(tmp_path / "a.h5")
    assert any("its chunks have parts of 40 frames each" in remark for remark in sequence.remarks)
    found = read_frames(sequence)
    assert np.array_equal(found, frames if "c" in axes else frames[..., :1])
    assert loaded == [0, 40, 80]
    assert np.array_equal(np.concatenate(list(sequence.blocks(55))), found[55:])


def test_arrays_named_like_the_labels_of_dimensions_are_their_coordinates(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rain"] = np.zeros((4, 6, 7), np.float32)
        for place, label in enumerate(("time", "y", "x")):
            file["rain"].dims[place].label = label
        file["time"] = np.arange(4) * 300
        file["time"].attrs["units"] = "seconds since 2026-06-01"
    sequence = open_one(tmp_path / "a.h5")
    assert (sequence.step, str(sequence.times.values.astype("M8[us]")[3])) == ("5 min", "2026-06-01T00:15:00.000000")


def test_the_reverse_axes_of_matlab_are_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rain"] = np.ones((7, 6, 5))
        file["rain"].attrs["MATLAB_class"] = np.bytes_("double")
    sequence = open_one(tmp_path / "a.h5")
    assert any("MATLAB wrote it: its axes have the reverse order" in remark for remark in sequence.remarks)


@pytest.mark.parametrize("dtype", ["c8", [("u", "f4"), ("v", "f4")]])
def test_complex_and_compound_numbers_are_refused_with_a_way_out(tmp_path, dtype):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["wind"] = np.zeros((7, 6, 5), dtype)
    with pytest.raises(InputError, match="frames are real numbers: save the parts of 'wind' as arrays of their own"):
        open_one(tmp_path / "a.h5")
