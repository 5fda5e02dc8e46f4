"""Zarr: versions 2 and 3, in folders and archives, as zarr and xarray write them."""

import shutil
import sys
import warnings

import numpy as np
import pytest

from stlight_jax import InputError
from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.outputs import output_spec, random_frames, write

zarr = pytest.importorskip("zarr")

RAIN = np.random.default_rng(0).random((24, 12, 16)).astype(np.float32) * 8 + 0.5
pytestmark = pytest.mark.filterwarnings("ignore")  # of zarr, on forms that other programs do not read


def saved(path, version, array=RAIN, **settings):
    group = zarr.open_group(path, mode="w", zarr_format=version)
    stored = group.create_array("rain", shape=array.shape, dtype=array.dtype, chunks=(10, 7, 16), **settings)
    stored[...] = array
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["radar.zarr", "radar"])
def test_groups_are_read_lazily_under_any_name(tmp_path, version, name):
    sequence = open_one(saved(tmp_path / name, version))
    assert (sequence.name, sequence.frames, sequence.shape) == (f"{name}#rain", 24, (12, 16, 1))
    assert np.array_equal(read_frames(sequence)[..., 0], RAIN)
    assert np.array_equal(np.concatenate(list(sequence.blocks(20)))[..., 0], RAIN[20:])


@pytest.mark.parametrize("version", [2, 3])
def test_a_single_array_and_an_archive_are_read(tmp_path, version):
    zarr.create_array(tmp_path / "a.zarr", data=RAIN, zarr_format=version)
    assert np.array_equal(read_frames(open_one(tmp_path / "a.zarr"))[..., 0], RAIN)
    saved(tmp_path / "b", version)
    shutil.make_archive(tmp_path / "b.zarr", "zip", tmp_path / "b")
    assert np.array_equal(read_frames(open_one(tmp_path / "b.zarr.zip"))[..., 0], RAIN)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [True, False])
def test_data_sets_of_xarray_keep_packing_missing_values_and_dates(tmp_path, version, packed):
    xarray = pytest.importorskip("xarray")
    truth = np.where(RAIN > 8, np.nan, np.round(RAIN, 2))
    hours = np.datetime64("2020-01-31T12", "ns") + np.arange(24) * np.timedelta64(1, "h")
    data = xarray.Dataset({"rain": (("lat", "time", "lon"), truth.transpose(1, 0, 2), {"units": "mm"})}, {"time": hours})
    encoding = {"rain": {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}} if packed else {}
    data.to_zarr(tmp_path / "a.zarr", zarr_format=version, encoding=encoding)
    sequence = open_one(tmp_path / "a.zarr")
    np.testing.assert_allclose(read_frames(sequence)[..., 0], truth, rtol=1e-6)
    assert sequence.step == "1 h"
    assert sequence.times.values[-1].astype("M8[us]") == np.datetime64("2020-02-01T11")


@pytest.mark.parametrize("version", [2, 3])
def test_a_variable_in_a_group_finds_the_times_above_it(tmp_path, version):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    names = {"dimension_names": ["time"]} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["time"]}}
    times = root.create_array("time", data=np.arange(24.0), **names)
    times.attrs["units"] = "hours since 2020-01-01"
    dims = ["time", "y", "x"]
    names = {"dimension_names": dims} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": dims}}
    root.create_group("Grid").create_array("rain", data=RAIN, **names)
    sequence = open_one(tmp_path / "a.zarr")
    assert (sequence.name, sequence.step) == ("a.zarr#Grid/rain", "1 h")


def test_zeros_that_xarray_reads_as_missing_get_a_remark(tmp_path):
    xarray = pytest.importorskip("xarray")
    data = xarray.Dataset({"rain": (("time", "y", "x"), np.where(RAIN > 1, RAIN, 0))})
    data.to_zarr(tmp_path / "a.zarr", zarr_format=2, encoding={"rain": {"_FillValue": 0.0}})
    sequence = open_one(tmp_path / "a.zarr")
    assert any("its Zarr fill value is 0" in remark for remark in sequence.remarks)
    again = open_one(tmp_path / "a.zarr", fill_value=0)
    with xarray.open_zarr(tmp_path / "a.zarr") as read:
        np.testing.assert_array_equal(read_frames(again)[..., 0], read.rain.values)


def test_chunks_that_are_not_there_get_a_remark_or_are_missing(tmp_path):
    text = "4 of its 6 chunks were never written"
    for fill, remark in ((0.0, f"{text}; they read as 0"), (-1.0, f"{text}; their values are missing (fill value -1)")):
        path = saved(tmp_path / "a.zarr", 3, fill_value=fill, config={"write_empty_chunks": True})
        for folder in (path / "rain" / "c" / "1", path / "rain" / "c" / "2"):
            shutil.rmtree(folder)
        sequence = open_one(path)
        assert any(remark in told for told in sequence.remarks)
        assert np.isnan(read_frames(sequence)[10:]).all() == (fill != 0)
    shutil.rmtree(path / "rain" / "c")
    with pytest.raises(InputError, match=r"a.zarr#rain: 6 of its 6 chunks were never written, so that all values are missing"):
        open_one(path)


@pytest.mark.parametrize("version", [2, 3])
def test_no_file_of_an_output_is_foreign_to_zarr(tmp_path, version):
    frames = random_frames((3, 6, 7, 1))
    source = open_one(saved(tmp_path / "in.zarr", version)).info
    path = write(tmp_path / "a.zarr", frames, output_spec(frames, np.float32, source=source))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        members = dict(zarr.open_group(path, mode="r").members())
    assert [*members] == ["rain"]
    np.testing.assert_array_equal(members["rain"][...], frames[..., 0])
    assert not warned


def test_a_codec_that_is_not_installed_is_named(tmp_path):
    path = saved(tmp_path / "a.zarr", 2)
    header = path / "rain" / ".zarray"
    header.write_text(header.read_text().replace('"compressor": {', '"compressor": {"id": "of_mars"}, "unused": {'))
    with pytest.raises(InputError, match="a.zarr: a codec of its chunks is not installed .*of_mars.*; install the package"):
        read_frames(open_one(path))


def test_damaged_and_missing_headers_are_one_line(tmp_path):
    path = saved(tmp_path / "a.zarr", 3)
    (path / "rain" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="a.zarr"):
        open_all(path)
    (path / "zarr.json").unlink()
    with pytest.raises(InputError, match="a.zarr"):
        open_all(path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.zarr", 3)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"a.zarr needs the package zarr: pip install zarr .or the extra .zarr.."):
        open_all(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_billion_declared_frames_are_refused_at_once(tmp_path, version):
    saved(tmp_path / "a.zarr", version)
    for file in (tmp_path / "a.zarr").rglob(".zarray" if version == 2 else "zarr.json"):
        file.write_text(file.read_text().replace(f"{len(RAIN)},", f"{10**9},", 1))
    with pytest.raises(InputError, match=r"has shape \[1000000000, .* chunks, its folder has \d+ files"):
        open_all(tmp_path / "a.zarr")
