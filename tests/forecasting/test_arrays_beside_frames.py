"""Arrays beside the frames of a file are carried along to the output of `predict`, unless they depend on time."""

import numpy as np
import pytest

from tests.forecasting.line import Line, movie, run

LATITUDES, LONGITUDES = np.linspace(50, 53, 8), np.linspace(3, 7, 10)
BESIDE = {
    "lat": LATITUDES,
    "lon": LONGITUDES,
    "land": np.add.outer(LATITUDES, LONGITUDES) > 56,
    "names": np.array(["cars", "buses"]),
    "area": np.float64(2.5),
    "levels": np.arange(5.0),
}
OF_FRAMES = {
    "time": np.arange(12.0),
    "weekday": np.arange(12) % 7,
    "other": np.zeros((30, 8, 10)),
    "mask": np.zeros((12, 8, 10), bool),
}


def with_arrays(path, frames, **arrays):
    if path.suffix == ".npz":
        np.savez(path, frames=frames, **arrays)
        return path
    with pytest.importorskip("h5py").File(path, "w") as file:
        for name, values in {"frames": frames, **arrays}.items():
            text = np.asarray(values).dtype.kind == "U"
            file[name] = np.char.encode(values) if text else values
        file["lat"].attrs["units"] = "degrees_north"
    return path


def arrays_of(path):
    if path.endswith(".npz"):
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    if path.endswith(".h5"):
        with pytest.importorskip("h5py").File(path) as file:
            return {name: item[()] for name, item in file.items() if b"netCDF dim" not in item.attrs.get("NAME", b"")}
    options = {"engine": "zarr", "consolidated": False} if path.endswith(".zarr") else {}
    with pytest.importorskip("xarray").open_dataset(path, **options) as data:
        return {name: item.values for name, item in data.variables.items()}


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("out", ["npz", "h5", "nc", "zarr"])
def test_latitude_longitude_and_other_arrays_are_carried_along(tmp_path, kind, out):
    source = with_arrays(tmp_path / f"a.{kind}", movie(12, channels=2), **BESIDE, **OF_FRAMES)
    run(source, Line(in_channels=2, out_channels=2), out=f"b.{out}", reading={"variable": "frames"})
    found = arrays_of(f"b.{out}")
    assert found.keys() == {"frames", "time", *BESIDE}
    for name, values in BESIDE.items():
        texts = found[name].dtype.kind in "SO"
        np.testing.assert_array_equal(np.asarray(found[name], "U") if texts else found[name], values)


def test_arrays_as_long_as_time_are_coordinates_by_their_names_only(tmp_path):
    """Eight frames of 8 x 10 pixels."""
    arrays = {"lat": LATITUDES, "land": np.ones((8, 10)), "gauge": np.arange(8.0), "time": np.arange(8.0)}
    run(with_arrays(tmp_path / "a.npz", movie(8), **arrays), out="b.npz", reading={"variable": "frames"})
    assert arrays_of("b.npz").keys() == {"frames", "lat", "land", "time"}
    assert arrays_of("b.npz")["time"].tolist() == [8, 9]


def test_arrays_of_channels_that_are_not_predicted_stay_behind(tmp_path):
    source = with_arrays(tmp_path / "a.npz", movie(12, channels=2), names=np.array(["cars", "buses"]), lat=LATITUDES)
    run(source, Line(in_channels=2, out_channels=1), out="b.npz", reading={"variable": "frames"})
    assert arrays_of("b.npz").keys() == {"frames", "lat"}


def test_single_frames_in_a_file_are_not_carried_along(tmp_path):
    with pytest.importorskip("h5py").File(tmp_path / "a.h5", "w") as file:
        for number, frame in enumerate(movie(12)[..., 0]):
            file[f"frame{number:03}"] = frame
        file["lat"] = LATITUDES
    run(tmp_path / "a.h5", out="b.h5")
    assert sum(name.startswith("frame") for name in arrays_of("b.h5")) == 1


def test_attributes_name_no_arrays_that_are_not_written(tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    dims = {
        "time": ("time",), "rain": ("time", "y", "x"), "age": ("time",), "lat": ("y", "x"), "crs": (), "cell": ("y", "x"),
        "lat_corners": ("y", "x", "corners"), "quality": ("time", "y", "x"),
    }  # fmt: skip
    attributes = {
        "coordinates": "lat age", "ancillary_variables": "quality", "grid_mapping": "crs", "cell_methods": "time: sum",
        "cell_measures": "area: cell volume: depth", "formula_terms": "a: lat b: nowhere",
    }  # fmt: skip
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in {"time": 12, "y": 8, "x": 10, "corners": 4}.items():
            file.createDimension(name, size)
        for name, of_variable in dims.items():
            file.createVariable(name, "f4", of_variable)[...] = 1
        file["time"][:] = np.arange(12)
        file["rain"][:] = movie(12, dtype=np.float32)[..., 0]
        file.setncatts({"coordinates": "age lat", "title": "radar"})
        file["time"].units = "hours since 2020-01-01"
        file["lat"].bounds = "lat_corners"
        file["cell"].setncatts({"bounds": "nowhere", "ancillary_variables": "quality"})
        file["rain"].setncatts(attributes)
    run(tmp_path / "a.nc", out="b.nc", reading={"variable": "rain"})
    with netCDF4.Dataset("b.nc") as found:
        assert {*found.variables} == {"time", "rain", "lat", "crs", "cell", "lat_corners"}
        assert found["rain"].__dict__.keys() - {"_FillValue"} == {
            "coordinates",
            "grid_mapping",
            "cell_methods",
            "cell_measures",
        }
        assert (found["rain"].coordinates, found["rain"].cell_measures) == ("lat", "area: cell")
        assert (found["lat"].bounds, found.coordinates, found.title) == ("lat_corners", "lat", "radar")
        assert {*found["cell"].ncattrs()} == set()
