"""Written arrays, read by the libraries that others read them with."""

import numpy as np
import pytest

from stlight_jax.data.formats.types import SourceInfo
from stlight_jax.data.times import parse_times
from tests.data.formats.outputs import NOWHERE, output_spec, random_frames, write


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nc"])
@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.int16, 20000), (np.float32, 1), (np.float64, 1), (bool, 1)])
def test_arrays_keep_their_type_and_axes(tmp_path, kind, dtype, high):
    frames = random_frames((5, 6, 7, 2), high)
    truth = frames if np.dtype(dtype).kind == "f" else np.rint(frames)
    path = write(tmp_path / f"a.{kind}", frames, output_spec(frames, dtype, "tchw"))
    truth = truth.transpose(0, 3, 1, 2).astype(dtype)
    if kind == "npy":
        found = np.load(path)
    elif kind == "npz":
        found = np.load(path)["rain"]
    elif kind == "h5":
        with pytest.importorskip("h5py").File(path) as file:
            found = file["rain"][...]
    else:
        with pytest.importorskip("xarray").open_dataset(path) as data:
            assert data["rain"].dims == ("time", "channel", "y", "x")
            found = data["rain"].values
    if kind != "nc" or dtype is not bool:  # netCDF has no bool
        assert found.dtype == dtype
    np.testing.assert_array_equal(found, truth)


def test_hdf5_with_times_is_read_by_netcdf(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    frames = random_frames((5, 6, 7, 1))
    times = parse_times(np.datetime64("2026-06-01", "D") + np.arange(5), "time", "")
    with netcdf.Dataset(write(tmp_path / "a.h5", frames, output_spec(frames, axes="thw", times=times))) as file:
        assert {name: len(dimension) for name, dimension in file.dimensions.items()} == {"time": 5, "y": 6, "x": 7}
        assert {*file.variables} == {"rain", "time"}
        np.testing.assert_array_equal(file["rain"][:], np.rint(frames[..., 0]))


def test_one_channel_is_written_as_it_was(tmp_path):
    frames = random_frames((3, 6, 7, 1))
    assert np.load(write(tmp_path / "a.npy", frames, output_spec(frames, axes="thw"))).shape == (3, 6, 7)
    assert np.load(write(tmp_path / "b.npy", frames, output_spec(frames, axes="thwc"))).shape == (3, 6, 7, 1)
    two = random_frames((3, 6, 7, 2))  # of a model that gives more channels than it sees
    assert np.load(write(tmp_path / "c.npy", two, output_spec(two, axes="thw"))).shape == (3, 6, 7, 2)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nc"])
def test_items_and_windows_are_the_outer_axes(tmp_path, kind):
    frames = random_frames((2 * 3 * 4, 6, 7, 1), 1)  # two items, three windows, four frames
    spec = output_spec(frames[:4], np.float32, "nthw", items=2, window_starts=np.array([4, 7, 10]))
    path = write(tmp_path / f"a.{kind}", frames, spec, blocks=6)
    truth = frames.reshape(2, 3, 4, 6, 7)
    if kind == "npy":
        np.testing.assert_array_equal(np.load(path), truth)
    elif kind == "npz":
        found = np.load(path)
        np.testing.assert_array_equal(found["rain"], truth)
        assert found["start"].tolist() == [4, 7, 10]
    elif kind == "h5":
        with pytest.importorskip("h5py").File(path) as file:
            np.testing.assert_array_equal(file["rain"][...], truth)
            assert file["start"][...].tolist() == [4, 7, 10]
    else:
        with pytest.importorskip("xarray").open_dataset(path) as data:
            assert data["rain"].dims == ("sequence", "start", "lead", "y", "x")
            np.testing.assert_array_equal(data["rain"].values, truth)
            assert data["start"].values.tolist() == [4, 7, 10]
            assert data["lead"].values.tolist() == [1, 2, 3, 4]


def has_values(item):
    """Whether an HDF5 object is an array, and not just the size of a dimension, as netCDF stores it."""
    return hasattr(item, "shape") and not item.attrs.get("NAME", b"").startswith(b"This is a netCDF dimension but not a netCDF")


@pytest.mark.parametrize("kind", ["npz", "h5", "nc"])
@pytest.mark.parametrize("key", ["start", "start/rain", "start_frame", "time", "valid_time", "lead", "y", "channel"])
def test_frames_keep_their_name_though_other_arrays_would_have_it(tmp_path, kind, key):
    frames = random_frames((3 * 4, 6, 7, 2), 1)  # three windows, four frames
    stamps = parse_times(np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[D]"), "time", "a.npz")
    origin = SourceInfo(NOWHERE, "npz", np.dtype(np.float32), key, "thwc")
    spec = output_spec(frames[:4], np.float32, source=origin, window_starts=np.array([4, 7, 10]), times=stamps)
    path = write(tmp_path / f"a.{kind}", frames, spec, blocks=3)
    if kind == "npz":
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
    elif kind == "h5":
        found = {}
        with pytest.importorskip("h5py").File(path) as file:
            file.visititems(lambda name, item: found.update({name: item[...]} if has_values(item) else {}))
    else:
        with pytest.importorskip("xarray").open_dataset(path, decode_times=False) as data:
            found = {name: item.values for name, item in data.variables.items()}
            key = key.rpartition("/")[2]
    np.testing.assert_array_equal(found.pop(key), frames.reshape(3, 4, 6, 7, 2))
    shapes = sorted(found, key=len)
    assert [4, 7, 10] in [found[name].tolist() for name in shapes]
    assert len(found) == 3  # places and times of windows, and lead times


def test_times_in_other_files(tmp_path):
    frames = random_frames((2, 7, 7, 1), 1)
    stamps = parse_times(np.array(["2020-02-28T23", "2020-02-29T00"], "M8[h]"), "time", "a.npz")
    spec = output_spec(frames, np.float32, "thw", times=stamps)
    found = np.load(write(tmp_path / "a.npz", frames, spec))
    assert found["time"].dtype == "M8[h]"
    with pytest.importorskip("xarray").open_dataset(write(tmp_path / "a.nc", frames, spec)) as data:
        assert (data["time"].values == stamps.stored).all()
    with pytest.importorskip("h5py").File(write(tmp_path / "a.h5", frames, spec)) as file:
        assert file["time"][...].tolist() == [b"2020-02-28T23", b"2020-02-29T00"]
