"""Attributes that change values: the same rules for HDF5, netCDF and Zarr, also under other spellings."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats.cf_attributes import read_rules
from tests.data.formats.frame_files import open_all, open_one, read_frames

h5py = pytest.importorskip("h5py")

STORED = np.rint(np.linspace(-90, 90, 24 * 12 * 16)).astype(np.int16).reshape(24, 12, 16)
STORED[:, :3, :3] = -100


def saved(path, attributes, stored=STORED):
    """Writes `tp` with these attributes in the format of the path's ending."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("tp", data=stored).attrs.update(attributes)
    elif path.suffix == ".nc":
        attributes = dict(attributes)
        with pytest.importorskip("netCDF4").Dataset(path, "w") as file:
            for name, size in zip(("time", "y", "x"), stored.shape, strict=True):
                file.createDimension(name, size)
            fill = attributes.pop("_FillValue", None)
            variable = file.createVariable("tp", stored.dtype, ("time", "y", "x"), fill_value=fill)
            variable.set_auto_maskandscale(False)
            variable.setncatts(attributes)
            variable[...] = stored
    else:
        zarr = pytest.importorskip("zarr")
        array = zarr.open_group(path, mode="w").create_array("tp", shape=stored.shape, dtype=stored.dtype, fill_value=0)
        array[...] = stored
        array.attrs.update(
            {name: value if isinstance(value, str) else np.asarray(value).tolist() for name, value in attributes.items()}
        )
    return path


@pytest.mark.parametrize("kind", ["h5", "nc", "zarr"])
def test_scale_offset_and_fill_value_are_obeyed_in_every_format(tmp_path, kind):
    path = saved(tmp_path / f"a.{kind}", {"scale_factor": 0.01, "add_offset": 5.0, "_FillValue": np.int16(-100), "units": "mm"})
    sequence = open_one(path)
    frames = read_frames(sequence)
    assert (sequence.dtype, sequence.frames, sequence.shape) == (np.float32, 24, (12, 16, 1))
    assert np.nanmin(frames) == np.float32(4.1)
    assert np.nanmax(frames) == np.float32(5.9)
    assert np.isnan(frames).sum() == 216
    truth = np.where(STORED == -100, np.nan, STORED * 0.01 + 5)[..., None]
    np.testing.assert_allclose(frames, truth, rtol=1e-7)


@pytest.mark.parametrize(
    "attributes",
    [
        {"scale_factor": np.array([0.01], "f4"), "add_offset": np.array([5.0]), "_FillValue": np.array([-100], "i2")},
        {"scale_factor": "0.01", "add_offset": np.bytes_("5"), "missing_value": "-100"},
        {"scale_factor": 0.01, "add_offset": 5, "missing_value": np.array([-100, -200])},
        {"scale_factor": 0.01, "add_offset": 5, "CodeMissingValue": np.bytes_("-100.0")},
        {"Slope": 0.01, "Intercept": 5.0, "nodata": -100},
        {"gain": 0.01, "offset": 5.0, "fill_value": -100.0},
        {"ScaleFactor": 0.01, "Offset": 5.0, "fill_value": -100.0},
        {"SCALE_FACTOR": 0.01, "add_offset": 5.0, "fill_value": -100.0},
        {"scale_factor": 0.01, "add_offset": 5, "valid_range": np.array([-90, 90], "i2")},
        {"scale_factor": 0.01, "add_offset": 5, "valid_min": np.int16(-90)},
        {"scale_factor": 0.01, "add_offset": 5, "valid_range": [4.05, 6.0]},  # of values, as integers are packed
        {"scale_factor": 0.01, "add_offset": 5, "_FillValue": -100, "missing_value": h5py.Empty("f4")},
    ],
)
def test_other_spellings_and_types_mean_the_same(tmp_path, attributes):
    frames = read_frames(open_one(saved(tmp_path / "a.h5", attributes)))
    assert (np.nanmin(frames), np.nanmax(frames), np.isnan(frames).sum()) == (np.float32(4.1), np.float32(5.9), 216)


@pytest.mark.parametrize(
    ("attributes", "remark"),
    [
        ({"nodata": -100}, "values of -100, its 'nodata', are missing"),
        ({"Slope": 2.0, "Intercept": 1.0}, "stored numbers are multiplied by its 'Slope', 2 and get 1, its 'Intercept', added"),
        ({"gain": 2.0}, "its 'gain', 2.0, is not applied to stored numbers"),
        ({"valid_min": np.int16(-90)}, "216 values beyond its valid_min, -90, are missing"),
    ],
)
def test_what_is_obeyed_under_other_names_gets_a_remark(tmp_path, attributes, remark):
    assert remark in open_one(saved(tmp_path / "a.h5", attributes)).remarks


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": "one tenth"}, "its attribute scale_factor is 'one tenth'; expected numbers; correct or delete"),
        (
            {"scale_factor": [0.1, 0.2]},
            "its attribute scale_factor has 2 different numbers; expected one for all values; unpack",
        ),
        ({"scale_factor": 0.0}, "scale_factor and add_offset are 0 and 0; expected finite numbers, a scale other than 0"),
        ({"add_offset": np.nan}, "scale_factor and add_offset are 1 and nan"),
        ({"missing_value": "outside"}, "its attribute missing_value is 'outside'; expected numbers"),
        ({"valid_range": [1, 2, 3]}, "its attribute valid_range has 3 numbers; expected two"),
    ],
)
def test_attributes_that_cannot_be_obeyed_are_named(tmp_path, attributes, message):
    with pytest.raises(InputError, match=rf"a.h5#tp: .*{message}"):
        open_all(saved(tmp_path / "a.h5", attributes))


def test_unsigned_bytes_stored_as_signed_ones(tmp_path):
    stored = np.arange(-128, 128, dtype=np.int8).repeat(2).reshape(2, 16, 16)
    for fill in (np.int8(-1), np.uint8(255), 255.0):
        sequence = open_one(saved(tmp_path / "a.h5", {"_Unsigned": "true", "_FillValue": fill}, stored))
        frames = read_frames(sequence)
        assert (np.nanmin(frames), np.nanmax(frames), np.isnan(frames).sum()) == (0, 254, 2)
    rules = read_rules("a", {"_Unsigned": "false"}, np.dtype("u1"))
    assert rules.decode(np.array([255, 128, 3], np.uint8))[0].tolist() == [-1, -128, 3]


@pytest.mark.parametrize(
    ("dtype", "attributes"),
    [
        ("i1", {"valid_min": 0, "valid_max": 255}),
        ("i2", {"valid_range": [0, 65535]}),
        ("u1", {"valid_min": -1}),
        ("u1", {"missing_value": -1}),
    ],
)
def test_numbers_beyond_the_element_type_are_not_wrapped(tmp_path, dtype, attributes):
    stored = np.array([0, 1, np.iinfo(dtype).max], dtype).repeat(64).reshape(3, 8, 8)
    np.testing.assert_array_equal(read_frames(open_one(saved(tmp_path / "a.h5", attributes, stored)))[..., 0], stored)


def test_integers_without_such_attributes_stay_as_they_are(tmp_path):
    path = saved(tmp_path / "a.h5", {"units": "mm", "long_name": "rain"})
    assert open_one(path).dtype == np.int16
    assert np.array_equal(read_frames(open_one(path))[..., 0], STORED)


def test_foreign_byte_order_makes_no_difference(tmp_path):
    path = saved(tmp_path / "a.h5", {"scale_factor": 0.01, "add_offset": 5, "_FillValue": -100}, STORED.astype(">i2"))
    frames = read_frames(open_one(path))
    assert (np.nanmin(frames), np.nanmax(frames), np.isnan(frames).sum()) == (np.float32(4.1), np.float32(5.9), 216)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("f4", 9.969209968386869e36), ("f8", 9.969209968386869e36), ("i2", -32767), ("i4", -2147483647), ("u2", 65535)],
)
def test_netcdfs_own_fill_value_is_missing_and_counted(tmp_path, dtype, fill):
    """netCDF4 masks it, too; a byte has none."""
    netCDF4 = pytest.importorskip("netCDF4")
    values = np.ma.array(np.arange(24 * 12 * 16).reshape(24, 12, 16) % 50, dtype, mask=False)
    values[:, :4, :4] = np.ma.masked
    values[:, 6, 7] = np.ma.masked
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in zip(("time", "y", "x"), values.shape, strict=True):
            file.createDimension(name, size)
        file.createVariable("rain", dtype, ("time", "y", "x"))[:] = values
    sequence = open_one(tmp_path / "a.nc")
    frames = read_frames(sequence)
    assert (np.nanmin(frames), np.nanmax(frames), np.isnan(frames).sum()) == (0, 49, 408)
    assert f"408 values (8.85 %) of {fill:g}, netCDF's own fill value, are missing" in sequence.remarks


def test_bytes_have_no_fill_value_of_their_own(tmp_path):
    stored = np.full((3, 8, 8), 255, np.uint8)
    assert read_frames(open_one(saved(tmp_path / "a.nc", {}, stored))).min() == 255


def test_records_that_were_never_written_are_missing(tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in (("time", None), ("y", 4), ("x", 5)):
            file.createDimension(name, size)
        file.createVariable("rain", "f4", ("time", "y", "x"))[:6] = np.ones((6, 4, 5))
        file.createVariable("time", "f8", ("time",))[:] = range(8)
        file["time"].units = "hours since 2020-01-01"
    frames = read_frames(open_one(tmp_path / "a.nc"))
    assert np.isnan(frames).all(axis=(1, 2, 3)).tolist() == [False] * 6 + [True] * 2
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["rain"][8] = np.ones((4, 5))  # a frame whose time was never written
    with pytest.raises(InputError, match="time stamp 8 is missing .stored as 9.96921e.36.; expected a time for each frame"):
        open_all(tmp_path / "a.nc")


def test_hdf5s_fill_value_of_unwritten_parts_is_missing(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (8, 4, 5), "f4", chunks=(2, 4, 5), fillvalue=-5)
        data[:6] = np.ones((6, 4, 5))
    sequence = open_one(tmp_path / "a.h5")
    assert np.isnan(read_frames(sequence)).sum() == 2 * 4 * 5
    assert "40 values (25 %) of -5, its HDF5 fill value, are missing" in sequence.remarks
