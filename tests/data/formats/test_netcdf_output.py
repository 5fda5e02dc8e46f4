"""A netCDF variable is continued with its coordinates, attributes, units, calendar and packing."""

import numpy as np
import pytest

from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.types import ReadOptions
from tests.data.formats.outputs import random_frames, write


def continue_netcdf(tmp_path, data, encoding=None, steps=3, **settings):
    """Writes a data set, and frames that continue its variable `rain`; returns what our reader found, and the path."""
    data.to_netcdf(tmp_path / "a.nc", encoding=encoding)
    (sequence,) = open_sequences(tmp_path / "a.nc", ReadOptions(variable="rain"))
    frames = random_frames((steps, *sequence.shape), 3)
    frames[0, 0, 0] = np.nan
    stamps = continue_times(sequence.times, np.zeros(0, int), sequence.frames - 1, steps)
    spec = OutputSpec(sequence.info, steps, sequence.shape, **{"dtype": sequence.info.dtype, "times": stamps, **settings})
    return frames, write(tmp_path / "b.nc", frames, spec)


def test_netcdf_goes_on_with_coordinates_attributes_packing_and_times(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    hours = np.datetime64("2020-02-28T20") + np.arange(4) * np.timedelta64(1, "h")
    data = xarray.Dataset(
        {
            "rain": (("lat", "time", "lon"), random_frames((7, 4, 8), 3), {"units": "mm", "grid_mapping": "crs"}),
            "crs": ((), 1, {"grid_mapping_name": "latitude_longitude"}),
            "other": (("time", "lat", "lon"), np.zeros((4, 7, 8))),
        },
        {
            "time": ("time", hours, {"long_name": "valid"}),
            "lat": ("lat", np.linspace(50, 53, 7), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(3, 7, 8)),
            "area": (("lat", "lon"), np.ones((7, 8))),
        },
        {"title": "radar", "Conventions": "CF-1.8"},
    )
    encoding = {
        "rain": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 1.0, "_FillValue": -32768},
        "time": {"units": "minutes since 2019-01-01", "calendar": "standard", "dtype": "int32"},
    }
    frames, path = continue_netcdf(tmp_path, data, encoding)
    with xarray.open_dataset(path) as found:
        assert (found["time"].values == hours[-1] + np.arange(1, 4) * np.timedelta64(1, "h")).all()
        assert found["time"].attrs["long_name"] == "valid"
        assert found["rain"].dims == ("lat", "time", "lon")
        assert found["rain"].attrs["units"] == "mm"
        assert found.attrs == data.attrs
        np.testing.assert_allclose(found["rain"].values, frames[..., 0].transpose(1, 0, 2), atol=0.0051)
        assert np.isnan(found["rain"].values).sum() == 1
        for name in ("lat", "lon", "area"):
            xarray.testing.assert_identical(found[name].variable, data[name].variable)
        assert found["crs"].attrs == data["crs"].attrs
        assert "other" not in found
    with netCDF4.Dataset(path) as found:
        assert found["time"].units == "minutes since 2019-01-01"
        assert found["time"].dtype == np.int32
        assert found["rain"].dtype == np.int16
        assert (found["rain"].scale_factor, found["rain"].add_offset, found["rain"]._FillValue) == (0.01, 1.0, -32768)


@pytest.mark.parametrize(
    ("kind", "units", "values", "further"),
    [
        ("noleap", "days since 2000-01-01", [31, 59, 90], [120, 151, 181]),  # 1 February, March, April: months
        ("360_day", "days since 2000-01-01", [0, 30, 60], [90, 120, 150]),
        ("noleap", "days since 2001-01-01", [30, 58, 89], [119, 150, 180]),  # ends of January, February, March
        ("noleap", "days since 2001-01-01", [181, 212, 243], [273, 304, 334]),  # 1 July, August, September
        ("standard", "days since 2001-01-01", [0, 365, 730], [1095, 1461, 1826]),  # years, of which 2004 is a leap year
        ("standard", "days since 2001-06-30", [0, 92, 184], [274, 365, 457]),  # ends of quarters
        ("noleap", "days since 2001-01-01", [15.5, 45.0, 74.5], [105.0, 135.5, 166.0]),  # the middle of months
        ("noleap", "days since 2001-01-01", np.int8([100, 113, 126]), [139, 152, 165]),
        ("noleap", "days since 2000-02-27", [0, 1, 2], [3, 4, 5]),
        ("standard", "months since 2000-01-01", [0, 1, 2], [3, 4, 5]),
        ("standard", "hours since 2000-01-01", [0.0, 0.5, 1.0], [1.5, 2.0, 2.5]),
        ("", "days since 2001-01-01", [0, 31, 59], [90, 120, 151]),  # the standard one
        ("of_mars", "days since 2001-01-01", [0, 10, 20], [30, 40, 50]),  # nobody knows it
        ("standard", "day as %Y%m%d.%f", [20200227.0, 20200228.0, 20200229.0], [20200301.0, 20200302.0, 20200303.0]),
        ("standard", "day as %Y%m%d.%f", [20200131.25, 20200131.5, 20200131.75], [20200201.0, 20200201.25, 20200201.5]),
        ("standard", "day as %Y%m%d.%f", [20191030.0, 20191130.0, 20191230.0], [20200130.0, 20200229.0, 20200330.0]),
        ("360_day", "day as %Y%m%d.%f", [20200228.0, 20200229.0, 20200230.0], [20200301.0, 20200302.0, 20200303.0]),
        ("noleap", "day as %Y%m%d.%f", [20200226.5, 20200227.5, 20200228.5], [20200301.5, 20200302.5, 20200303.5]),
    ],
)
def test_netcdf_times_of_every_calendar(tmp_path, kind, units, values, further):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    time = xarray.Variable("time", values, {"units": units, "calendar": kind})
    data = xarray.Dataset({"rain": (("time", "y", "x"), random_frames((3, 7, 8)))}, {"time": time})
    _, path = continue_netcdf(tmp_path, data)
    with netCDF4.Dataset(path) as found:
        assert found["time"][:].tolist() == further
        assert (found["time"].units, found["time"].calendar) == (units, kind)


def test_a_time_coordinate_hides_none_of_the_times_to_come(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    attributes = {"units": "hours since 2020-01-01", "valid_max": 2, "valid_range": [0, 2], "actual_range": [0, 2]}
    time = xarray.Variable("time", [0, 1, 2], attributes)
    data = xarray.Dataset({"rain": (("time", "y", "x"), random_frames((3, 7, 8)))}, {"time": time})
    _, path = continue_netcdf(tmp_path, data)
    with netCDF4.Dataset(path) as found:
        assert found["time"][:].filled(-1).tolist() == [3, 4, 5]
        assert set(found["time"].ncattrs()) == {"units"}


def test_netcdf_of_floats_keeps_its_fill_value(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    days = np.datetime64("2020-01-01") + np.arange(3)
    data = xarray.Dataset({"rain": (("time", "y", "x"), random_frames((3, 7, 8)))}, {"time": days})
    _, path = continue_netcdf(tmp_path, data, {"rain": {"_FillValue": -9999.0}})
    with netCDF4.Dataset(path) as found:
        found.set_auto_mask(False)
        assert found["rain"][0, 0, 0] == found["rain"]._FillValue == np.float32(-9999)


def three_days(**attributes):
    xarray = pytest.importorskip("xarray")
    days = np.datetime64("2020-01-01") + np.arange(3)
    return xarray.Dataset({"rain": (("time", "y", "x"), random_frames((3, 7, 8), 3), attributes)}, {"time": days})


@pytest.mark.parametrize(
    ("encoding", "asked"),
    [
        ({"dtype": "int16", "_FillValue": -1}, "float32"),
        ({"dtype": "int16", "_FillValue": -1, "scale_factor": 0.5}, "float32"),
        ({"dtype": "int16", "_FillValue": -1, "scale_factor": 0.5}, "float64"),
        ({"dtype": "uint8", "_FillValue": 255, "scale_factor": 0.5}, "float32"),
    ],
)
def test_netcdf_of_integers_is_written_in_the_floats_that_are_asked_for(tmp_path, encoding, asked):
    netCDF4 = pytest.importorskip("netCDF4")
    frames, path = continue_netcdf(tmp_path, three_days(), {"rain": encoding}, dtype=np.dtype(asked), dtype_requested=True)
    with netCDF4.Dataset(path) as found:
        found.set_auto_maskandscale(False)
        assert found["rain"].dtype == asked
        assert not {"scale_factor", "add_offset", "missing_value"} & set(found["rain"].ncattrs())
        np.testing.assert_array_equal(found["rain"][...], frames[..., 0])


def test_packed_netcdf_without_a_fill_value_gets_that_of_netcdf(tmp_path):
    """A fill value that the user names is one of the unpacked values, and cannot stand among the packed ones."""
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    data = three_days(scale_factor=0.01)
    data["rain"] = data["rain"].astype(np.int16)
    frames, path = continue_netcdf(tmp_path, data, fill=-1.0)
    with xarray.open_dataset(path) as found:
        assert found["rain"].encoding["_FillValue"] == netCDF4.default_fillvals["i2"]
        np.testing.assert_allclose(found["rain"].values, frames[..., 0], atol=0.0051)


@pytest.mark.filterwarnings("ignore:variable 'rain' has multiple fill values")
@pytest.mark.parametrize(
    ("dtype", "attributes", "fill"),
    [
        ("f4", {"missing_value": np.float32([-9, -8])}, np.nan),
        ("f4", {"missing_value": "NaN"}, np.nan),
        ("f4", {"missing_value": np.float32([-9])}, -9),
        ("f4", {"missing_value": np.float64(1e300)}, np.nan),
        ("i2", {"missing_value": np.int16([-9, -8])}, -32767),  # netCDF's own of two bytes
        ("i2", {"missing_value": "NaN"}, -32767),
        ("i2", {"missing_value": 1e20}, -32767),
        ("i2", {"missing_value": 0.5, "scale_factor": 0.01}, -32767),
        ("i4", {"missing_value": np.int32(-9)}, -9),
        ("i4", {"missing_value": np.int32([-9, -8]), "scale_factor": 0.01}, -2147483647),
        ("u1", {"missing_value": "", "_FillValue": np.uint8(7)}, 7),
    ],
)
def test_netcdf_goes_on_whatever_its_missing_value_is(tmp_path, dtype, attributes, fill):
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as data:
        for name, size in (("time", 3), ("y", 7), ("x", 8)):
            data.createDimension(name, size)
        data.createVariable("time", "i4", ("time",)).units = "days since 2020-01-01"
        data["time"][:] = range(3)
        rain = data.createVariable("rain", dtype, ("time", "y", "x"), fill_value=attributes.pop("_FillValue", None))
        rain.set_auto_maskandscale(False)
        rain.setncatts(attributes)
        rain[:] = np.arange(3 * 7 * 8).reshape(3, 7, 8) % 5
    (sequence,) = open_sequences(tmp_path / "a.nc", ReadOptions())
    frames = random_frames((2, *sequence.shape), 3)
    frames[0, 0, 0] = np.nan
    write(tmp_path / "b.nc", frames, OutputSpec(sequence.info, 2, sequence.shape, sequence.info.dtype))
    with netCDF4.Dataset(tmp_path / "b.nc") as found:
        assert found["rain"].dtype == dtype
        np.testing.assert_equal(found["rain"]._FillValue, np.array(fill, dtype))
        values = found["rain"][...]
        assert np.flatnonzero(np.ma.getmaskarray(values) | np.isnan(values.filled(0))).tolist() == [0]
        step = 0 if dtype == "f4" else attributes.get("scale_factor", 1)
        np.testing.assert_allclose(values[1], frames[1, ..., 0], atol=0.51 * step + 1e-6)


@pytest.mark.parametrize("settings", [{}, {"dtype": np.dtype(np.float64), "dtype_requested": True}])
def test_netcdf_that_goes_on_hides_nothing_beyond_the_range_of_what_was_there(tmp_path, settings):
    netCDF4 = pytest.importorskip("netCDF4")
    data = three_days(valid_range=np.int16([10000, 20000]), valid_min=np.int16(10000), actual_range=[0.0, 1.0])
    encoding = {"rain": {"dtype": "int16", "_FillValue": -1, "scale_factor": 0.01}}
    frames, path = continue_netcdf(tmp_path, data, encoding, **settings)
    with netCDF4.Dataset(path) as found:  # which masks what is not within the valid range
        values = found["rain"][...]
        assert np.ma.getmaskarray(values).tolist() == np.isnan(frames[..., 0]).tolist()
        np.testing.assert_allclose(values.filled(np.nan), frames[..., 0], atol=0.0051)
        assert "actual_range" not in found["rain"].ncattrs()


def test_an_item_of_netcdf_goes_into_a_file_without_the_axis_of_items(tmp_path):
    xarray = pytest.importorskip("xarray")
    data = xarray.Dataset(
        {"rain": (("member", "time", "y", "x"), random_frames((3, 4, 7, 8)))},
        {"time": np.datetime64("2020-01-01") + np.arange(4), "member": [10, 20, 30], "y": np.arange(7.0)},
    )
    data.to_netcdf(tmp_path / "a.nc")
    sequences = open_sequences(tmp_path / "a.nc", ReadOptions(variable="rain", layout="nthw"))
    frames = random_frames((2, 7, 8, 1))
    spec = OutputSpec(sequences[1].info, 2, (7, 8, 1), np.dtype(np.float32))
    with xarray.open_dataset(write(tmp_path / "b.nc", frames, spec)) as found:
        assert found["rain"].dims == ("time", "y", "x")
        assert found["y"].values.tolist() == np.arange(7.0).tolist()
        assert "member" not in found.variables
        np.testing.assert_array_equal(found["rain"].values, frames[..., 0])


@pytest.mark.parametrize("kind", ["nc", "h5", "zarr"])
@pytest.mark.parametrize("source", ["nc", "h5", "zarr"])
def test_written_frames_are_read_back_the_same_in_every_format(tmp_path, source, kind):
    """Packing, missing values, times, and the order of dimensions."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip(f"{ {'nc': 'netCDF4', 'h5': 'h5py', 'zarr': 'zarr'}[kind] }")
    data = xarray.Dataset(
        {"rain": (("lon", "time", "lat"), np.round(random_frames((8, 4, 7), 3), 2), {"units": "mm"})},
        {"time": np.datetime64("2020-01-31T18", "ns") + np.arange(4) * np.timedelta64(6, "h"), "lat": np.linspace(50, 53, 7)},
        {"title": "radar"},
    )
    encoding = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 1.0, "_FillValue": -32768}
    encoding = {"rain": encoding, "time": {"units": "hours since 2020-01-01"}}
    if source == "zarr":
        pytest.importorskip("zarr")
        data.to_zarr(tmp_path / "a.zarr", encoding=encoding, zarr_format=2, consolidated=False)
    else:
        data.to_netcdf(tmp_path / f"a.{source}", encoding=encoding, engine="netcdf4")
    (sequence,) = open_sequences(tmp_path / f"a.{source}", ReadOptions())
    frames = random_frames((3, *sequence.shape), 3)
    frames[0, 0, 0] = np.nan
    times = continue_times(sequence.times, np.zeros(0, int), 3, 3)
    path = write(tmp_path / f"b.{kind}", frames, OutputSpec(sequence.info, 3, sequence.shape, sequence.info.dtype, times=times))
    (found,) = open_sequences(path, ReadOptions())
    values = np.concatenate(list(found.blocks()))
    np.testing.assert_allclose(values, frames, atol=0.0051)
    assert found.info.array.dtype == np.int16
    assert found.info.array.dims == ("lon", "time", "lat")
    assert found.info.array.attributes["units"] == "mm"
    assert found.times.values.tolist() == times.values.tolist()
    assert found.times.values[0].astype("M8[us]") == np.datetime64("2020-02-01T18")
    latitudes = next(array for array in found.info.file.arrays if array.key == "lat")
    with latitudes.opened() as stored:
        assert stored[:].tolist() == np.linspace(50, 53, 7).tolist()
    assert found.info.file.groups[""]["title"] == "radar"
    again = write(tmp_path / f"c.{kind}", values, OutputSpec(found.info, 3, found.shape, found.info.dtype))
    np.testing.assert_allclose(
        np.concatenate(list(open_sequences(again, ReadOptions())[0].blocks())), values, rtol=1e-6
    )  # nothing is lost a second time


@pytest.mark.parametrize("kind", ["nc", "h5", "zarr"])
def test_groups_are_kept(tmp_path, kind):
    netCDF4 = pytest.importorskip("netCDF4")
    pytest.importorskip(f"{ {'nc': 'netCDF4', 'h5': 'h5py', 'zarr': 'zarr'}[kind] }")
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as data:
        group = data.createGroup("Grid")
        for name, size in (("time", 4), ("lon", 8), ("lat", 7)):
            group.createDimension(name, size)
            group.createVariable(name, "f8", (name,))[:] = range(size)
        group["time"].units = "hours since 2020-01-01"
        group.createVariable("rain", "f4", ("time", "lon", "lat"))[:] = random_frames((4, 8, 7))
        group.product = "IMERG"
    (sequence,) = open_sequences(tmp_path / "a.nc", ReadOptions())
    frames, times = random_frames((3, 7, 8, 1)), continue_times(sequence.times, np.zeros(0, int), 3, 3)
    path = write(tmp_path / f"b.{kind}", frames, OutputSpec(sequence.info, 3, (7, 8, 1), np.dtype("f4"), times=times))
    (found,) = open_sequences(path, ReadOptions())
    assert found.info.array.dims == ("Grid/time", "Grid/lon", "Grid/lat")
    assert found.times.stored.tolist() == [4, 5, 6]
    assert found.info.file.groups["Grid"]["product"] == "IMERG"
    np.testing.assert_array_equal(np.concatenate(list(found.blocks())), frames)


def test_merged_entries_are_written_as_one(tmp_path):
    xarray = pytest.importorskip("xarray")
    both = np.full((4, 2, 7, 8), np.nan, np.float32)
    both[:2, 0], both[2:, 1] = random_frames((2, 7, 8)), random_frames((2, 7, 8))
    data = xarray.Dataset({"rain": (("time", "expver", "latitude", "longitude"), both)}, {"expver": [1, 5]})
    data.to_netcdf(tmp_path / "a.nc")
    (sequence,) = open_sequences(tmp_path / "a.nc", ReadOptions())
    frames = random_frames((2, 7, 8, 1))
    path = write(tmp_path / "b.nc", frames, OutputSpec(sequence.info, 2, (7, 8, 1), np.dtype("f4")))
    with xarray.open_dataset(path) as found:
        assert found["rain"].dims == ("time", "latitude", "longitude")
        assert "expver" not in found.variables
        np.testing.assert_array_equal(found["rain"].values, frames[..., 0])


def test_a_picture_is_continued_along_time(tmp_path):
    xarray = pytest.importorskip("xarray")
    xarray.Dataset({"rain": (("y", "x"), random_frames((7, 8)))}, {"y": np.arange(7.0)}).to_netcdf(tmp_path / "a.nc")
    (sequence,) = open_sequences(tmp_path / "a.nc", ReadOptions())
    frames = random_frames((2, 7, 8, 1))
    with xarray.open_dataset(
        write(tmp_path / "b.nc", frames, OutputSpec(sequence.info, 2, (7, 8, 1), np.dtype("f4")))
    ) as found:
        assert found["rain"].dims == ("time", "y", "x")
        assert found["y"].values.tolist() == np.arange(7.0).tolist()
