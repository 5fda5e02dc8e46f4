"""netCDF: dimensions, packed and missing values, dates and calendars."""

import sys

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import named_arrays, types
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions

xarray = pytest.importorskip("xarray")
netCDF4 = pytest.importorskip("netCDF4")

VALUES = np.random.default_rng(0).random((6, 3, 5, 4)).astype(np.float32)  # [t, level, h, w]
HOURS = np.datetime64("2020-01-01T00") + np.array([0, 1, 2, 4, 5, 6])


def saved(path, variables, coordinates=None, **encoding):
    xarray.Dataset(variables, coordinates).to_netcdf(path, engine="netcdf4", encoding=encoding)
    return path


def open_all(path, **options):
    return open_sequences(path, ReadOptions(**options))


def open_one(path, **options):
    (sequence,) = open_all(path, **options)
    return sequence


def read(sequence):
    frames = np.concatenate(list(sequence.blocks()))
    assert frames.dtype == sequence.dtype == np.float32
    assert frames.shape == (sequence.frames, *sequence.shape)
    return frames


@pytest.mark.parametrize("kind", ["nc", "nc4", "netcdf"])
def test_frames_and_dates(tmp_path, kind):
    path = saved(tmp_path / f"a.{kind}", {"rain": (("time", "y", "x"), VALUES[:, 0])}, {"time": HOURS})
    sequence = open_one(path)
    assert sequence.name == f"a.{kind}#rain"
    assert np.array_equal(read(sequence), VALUES[:, 0, :, :, None])
    assert sequence.ticks.tolist() == [0, 1, 2, 4, 5, 6]
    assert sequence.step == "1 h"
    assert open_one(path, time="none").ticks is None


def test_packed_integers_are_unpacked_and_fill_values_are_nan(tmp_path):
    truth = np.round(VALUES[:, 0], 2)
    truth[1, 2, 3] = np.nan
    encoding = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}
    path = saved(tmp_path / "a.nc", {"rain": (("time", "y", "x"), truth)}, {"time": HOURS}, rain=encoding)
    np.testing.assert_allclose(read(open_one(path))[..., 0], truth, rtol=1e-6)


def test_levels_are_channels_wherever_time_lies(tmp_path):
    path = saved(tmp_path / "a.nc", {"u": (("level", "lat", "time", "lon"), VALUES.transpose(1, 2, 0, 3))}, {"time": HOURS})
    sequence = open_one(path)
    assert np.array_equal(read(sequence), VALUES.transpose(0, 2, 3, 1))
    assert "dimension 'level' is read as channels" in sequence.remarks


def test_a_layout_says_otherwise(tmp_path):
    path = saved(tmp_path / "a.nc", {"u": (("member", "time", "y", "x"), VALUES.swapaxes(0, 1))}, {"time": HOURS})
    sequences = open_all(path, layout="nthw")
    assert [s.name for s in sequences] == [f"a.nc#u[{member}]" for member in range(3)]
    assert np.array_equal(read(sequences[2]), VALUES[:, 2, :, :, None])
    assert sequences[2].ticks.tolist() == [0, 1, 2, 4, 5, 6]
    with pytest.raises(InputError, match="layout=thw asks for 3 axes"):
        open_all(path, layout="thw")


@pytest.mark.parametrize(
    ("units", "calendar", "values", "step"),
    [
        ("days since 2001-01-01", "noleap", [57, 58, 59], "1 d"),
        ("days since 2001-01-01", "360_day", [0, 30, 60], "30 d"),
        ("months since 2001-01-01", "standard", [0, 1, 2], "1 month"),
        ("hours since 1900-01-01", "gregorian", [0, 6, 12], "6 h"),
    ],
)
def test_calendars_that_datetime64_does_not_know(tmp_path, units, calendar, values, step):
    time = ("time", np.asarray(values), {"units": units, "calendar": calendar})
    sequence = open_one(saved(tmp_path / "a.nc", {"u": (("time", "y", "x"), VALUES[:3, 0])}, {"time": time}))
    assert sequence.ticks.tolist() == [0, 1, 2]
    assert sequence.step == step


def test_times_under_other_names(tmp_path):
    variables = {"u": (("record", "y", "x"), VALUES[:, 0]), "clock": ("record", HOURS)}
    path = saved(tmp_path / "a.nc", variables)
    assert open_one(path).ticks.tolist() == [0, 1, 2, 4, 5, 6]
    assert open_one(path, time="clock").step == "1 h"
    with pytest.raises(InputError, match="data.time is 'date', which it does not hold; it holds"):
        open_all(path, time="date")
    texts = np.array([f"2020-01-01_{hour:02}:00:00" for hour in range(6)], "S19")  # as the WRF model writes them
    path = saved(tmp_path / "wrf.nc", {"u": (("Time", "y", "x"), VALUES[:, 0]), "Times": ("Time", texts)})
    assert (open_one(path).ticks.tolist(), open_one(path).step) == ([*range(6)], "1 h")
    path = saved(tmp_path / "b.nc", {"u": (("record", "y", "x"), VALUES[:, 0])})
    sequence = open_one(path)
    assert sequence.ticks is None
    assert sequence.remarks == ("no times found; dimension 'record' is taken for time",)


def test_masks(tmp_path):
    mask = VALUES[0, 0] > 0.5
    variables = {"u": (("time", "y", "x"), VALUES[:, 0]), "sea": (("y", "x"), mask.astype(np.int8))}
    path = saved(tmp_path / "a.nc", variables, {"time": HOURS})
    assert np.array_equal(np.isnan(read(open_one(path, mask="sea")))[..., 0], np.broadcast_to(mask, (6, 5, 4)))
    with pytest.raises(InputError, match="data.mask is 'land', which it does not hold"):
        open_all(path, mask="land")


def test_several_variables_are_a_question(tmp_path):
    variables = dict.fromkeys(("u10", "v10"), (("time", "y", "x"), VALUES[:, 0]))
    variables["corners"] = (("y", "x", "four"), np.zeros((5, 4, 4)))
    path = saved(tmp_path / "a.nc", variables, {"time": HOURS})
    with pytest.raises(InputError, match="choose one with --config.data.variable: u10, v10"):
        open_all(path)
    assert open_one(path, variable="v10").name == "a.nc#v10"
    with pytest.raises(InputError, match="data.variable is 'w10', which it does not hold; it holds"):
        open_all(path, variable="w10")


@pytest.mark.parametrize(
    ("dtype", "attributes", "values", "gone"),
    [
        ("f4", {"valid_min": np.float32(0)}, [-999, 0, -0.5, 1, 2, 3, 4, 5], [0, 2]),
        ("f4", {"valid_min": 0.1}, [0, 0.1, 0.2, 1, 2, 3, 4, 5], [0]),  # which 32 bits round
        ("f4", {"valid_max": np.float32(3.5), "_FillValue": np.float32(7)}, [0, 3.5, 4, 7, 2, 3, 4, -5], [2, 6]),
        ("f8", {"valid_range": [1.0, 3.0]}, [0, 1, 2, 3, 4, 5, np.nan, 1], [0, 4, 5]),
        ("i2", {"valid_range": np.int16([10, 40]), "scale_factor": 0.1}, [9, 10, 40, 41, -999, 20, 30, 11], [0, 3, 4]),
        ("i2", {"valid_min": np.int16(5), "scale_factor": -0.5, "_FillValue": np.int16(-1)}, [4, 5, 6, -1, 7, 8, 9, 3], [0, 7]),
        ("i2", {"valid_max": 1e20}, [0, 1, 2, 3, -4, 5, 6, 7], []),  # which the type cannot hold
        ("i2", {"valid_min": np.int16(0), "valid_range": np.int16([2, 4])}, [-1, 1, 2, 3, 4, 5, 6, 7], [0, 1, 5, 6, 7]),
        ("i4", {"valid_max": np.int32(5)}, [0, 1, 2, 3, 4, 5, 6, 70_000], [6, 7]),
        ("i1", {"valid_max": np.int8(-100), "_Unsigned": "true"}, [-101, -100, -99, 0, 1, 2, 3, 127], [2]),  # up to 156
        ("u1", {"valid_range": np.uint8([3, 40]), "missing_value": np.uint8(2)}, [0, 2, 3, 40, 41, 255, 20, 10], [0, 4, 5]),
        ("f4", {"valid_range": "0 to 3"}, [0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7]),
    ],
)
def test_values_beyond_the_valid_range_are_missing(tmp_path, monkeypatch, dtype, attributes, values, gone):
    fill = attributes.get("_FillValue", attributes.get("missing_value", np.nan))
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as data:
        for name in ("time", "y", "x"):
            data.createDimension(name, 2)
        rain = data.createVariable("rain", dtype, ("time", "y", "x"), fill_value=attributes.get("_FillValue"))
        rain.set_auto_maskandscale(False)
        rain.setncatts({name: value for name, value in attributes.items() if name != "_FillValue"})
        rain[:] = np.array(values, dtype).reshape(2, 2, 2)
    truth = np.array(values, float)
    truth[(truth == fill) | np.isin(range(8), gone)] = np.nan
    truth = (truth % 256 if "_Unsigned" in attributes else truth) * attributes.get("scale_factor", 1)
    monkeypatch.setattr(types, "BLOCK_BYTES", 1)
    sequence = open_one(tmp_path / "a.nc")
    np.testing.assert_allclose(read(sequence).ravel(), truth, rtol=1e-6)
    told = [remark for remark in sequence.remarks if "beyond its valid" in remark]
    assert [int(remark.partition(" ")[0]) for remark in told] == ([len(gone)] if gone else [])
    monkeypatch.setattr(named_arrays, "_MAX_COUNTED", 7)
    assert any(remark.startswith("values beyond its valid") for remark in open_one(tmp_path / "a.nc").remarks)


@pytest.mark.parametrize(("name", "dated"), [("", True), ("Standard", True), ("of_mars", False)])
def test_calendars_without_a_name_and_unknown_ones(tmp_path, name, dated):
    time = xarray.Variable("time", range(6), {"units": "days since 2020-02-27", "calendar": name})
    sequence = open_one(saved(tmp_path / "a.nc", {"rain": (("time", "y", "x"), VALUES[:, 0])}, {"time": time}))
    assert sequence.times.dated == dated
    if dated:
        assert sequence.times.values[-1].astype("M8[us]") == np.datetime64("2020-03-03")
    told = "the calendar 'of_mars' of 'time' is unknown; its times are taken for numbers at equal steps"
    assert (told in sequence.remarks) == (not dated)


def test_what_holds_no_frames(tmp_path):
    path = saved(tmp_path / "a.nc", {"u": (("y",), VALUES[0, 0, :, 0])})
    with pytest.raises(InputError, match="holds no variable of at least 3 axes"):
        open_all(path)
    path = saved(tmp_path / "b.nc", {"u": (("time", "a", "b", "y", "x"), VALUES[:, None])})
    with pytest.raises(InputError, match="has the dimensions time, a, b, y, x; expected time and two of space"):
        open_all(path)
    path = saved(tmp_path / "c.nc", {"u": (("time", "y", "x"), np.full((2, 5, 4), np.inf))})
    with pytest.raises(InputError, match="c.nc#u, frame 0: found an infinite value"):
        read(open_one(path))


def test_damaged_files_are_named(tmp_path):
    path = saved(tmp_path / "a.nc", {"u": (("time", "y", "x"), VALUES[:, 0])})
    whole = path.read_bytes()
    for damaged in (b"", b"junk" * 50, whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="a.nc is (damaged, or not what its name says|empty; download or write it again$)"):
            open_all(path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    (tmp_path / "a.nc").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.nc needs the package netCDF4: pip install netCDF4 .or the extra .netcdf.."):
        open_all(tmp_path / "a.nc")


# ---- Groups, entries that are one thing, the order of dimensions ----


def in_groups(path, groups, times="", dims=("time", "lon", "lat"), values=VALUES[:, 0]):
    """Writes `rain` in each group, and the times in one of them or above."""
    with netCDF4.Dataset(path, "w") as data:
        place = data.createGroup(times) if times else data
        place.createDimension(dims[0], len(values))
        stamps = place.createVariable(dims[0], "f8", dims[:1])
        stamps.units = "hours since 2020-01-01"
        stamps[:] = range(len(values))
        for key in groups:
            group = data.createGroup(key)
            for dim, size in zip(dims[1:], values.shape[1:], strict=True):
                group.createDimension(dim, size)
            group.createVariable("rain", "f4", dims)[:] = values
    return path


@pytest.mark.parametrize("times", ["", "Grid"])
@pytest.mark.parametrize("variable", ["", "Grid/rain", "/Grid/rain"])
def test_the_only_variable_is_found_in_a_group_with_times_of_the_group_or_above(tmp_path, times, variable):
    sequence = open_one(in_groups(tmp_path / "a.nc", ["Grid"], times), variable=variable)
    assert (sequence.name, sequence.frames, sequence.step) == ("a.nc#Grid/rain", 6, "1 h")
    # Longitudes are columns, though they come first.
    assert np.array_equal(read(sequence), VALUES[:, 0].swapaxes(1, 2)[..., None])


def test_several_groups_are_a_question(tmp_path):
    path = in_groups(tmp_path / "a.nc", ["A", "B/deep"])
    with pytest.raises(InputError, match="choose one with --config.data.variable: A/rain, B/deep/rain"):
        open_all(path)
    assert open_one(path, variable="B/deep/rain").step == "1 h"


@pytest.mark.parametrize("dims", [("time", "lat", "lon", "band"), ("band", "time", "lat", "lon"), ("time", "y", "band", "x"),
                                  ("lon", "lat", "band", "time")])  # fmt: skip
def test_channels_are_the_dimension_that_is_no_place(tmp_path, dims):
    order = ["tchw".index({"time": "t", "band": "c", "lat": "h", "y": "h", "lon": "w", "x": "w"}[dim]) for dim in dims]
    path = saved(tmp_path / "a.nc", {"u": (dims, VALUES.transpose(order))}, {"time": HOURS})
    sequence = open_one(path)
    assert np.array_equal(read(sequence), VALUES.transpose(0, 2, 3, 1))
    assert "dimension 'band' is read as channels" in sequence.remarks


def test_attributes_of_coordinates_tell_the_axes(tmp_path):
    coordinates = {"time": HOURS, "i": ("i", range(4), {"axis": "X"}), "j": ("j", range(5), {"standard_name": "latitude"})}
    path = saved(tmp_path / "a.nc", {"u": (("i", "j", "time"), VALUES[:, 0].T)}, coordinates)
    assert np.array_equal(read(open_one(path)), VALUES[:, 0, ..., None])


@pytest.mark.parametrize("final", [[True, True, True, True, False, False], [True, False] * 3])
@pytest.mark.parametrize("dims", [("time", "expver", "latitude", "longitude"), ("expver", "time", "latitude", "longitude")])
@pytest.mark.parametrize("packed", [True, False])
def test_final_and_preliminary_frames_of_era5_are_one_channel(tmp_path, final, dims, packed):
    truth = np.round(VALUES[:, 0], 3)
    truth[:, 0, 0] = np.nan  # missing in all
    both = np.full((6, 2, 5, 4), np.nan, np.float32)
    both[final, 0], both[~np.array(final), 1] = truth[final], truth[~np.array(final)]
    both = both if dims[0] == "time" else both.swapaxes(0, 1)
    encoding = {"dtype": "int16", "scale_factor": 0.001, "_FillValue": -32767} if packed else {}
    path = saved(tmp_path / "a.nc", {"tp": (dims, both)}, {"time": HOURS, "expver": [1, 5]}, tp=encoding)
    sequence = open_one(path)
    assert sequence.shape == (5, 4, 1)
    np.testing.assert_allclose(read(sequence)[..., 0], truth, rtol=1e-6)
    assert "the entries of its dimension 'expver' are merged to one" in sequence.remarks


def test_two_values_of_one_moment_are_refused(tmp_path):
    path = saved(tmp_path / "a.nc", {"tp": (("time", "expver", "y", "x"), VALUES[:, :2])}, {"time": HOURS})
    with pytest.raises(InputError, match="a.nc#tp, frame 0: several entries of its dimension 'expver' have values"):
        read(open_one(path))


def test_a_picture_in_a_file_is_a_frame_with_its_time(tmp_path):
    time = ((), 6.0, {"units": "hours since 2020-01-01"})
    path = saved(tmp_path / "a.nc", {"u": (("y", "x"), VALUES[0, 0]), "time": time})
    sequence = open_one(path)
    assert np.array_equal(read(sequence), VALUES[:1, 0, ..., None])
    assert sequence.times.values.astype("M8[us]").tolist() == [np.datetime64("2020-01-01T06", "us").item()]


# ---- Times that are dates ----


@pytest.mark.parametrize("units", ["day as %Y%m%d.%f", "days as %Y%m%d.%f", "%Y%m%d.%f"])
@pytest.mark.parametrize("calendar", ["", "proleptic_gregorian", "360_day", "noleap"])
def test_absolute_times_make_no_gap_at_the_end_of_a_month(tmp_path, units, calendar):
    days = [
        20200227,
        20200228,
        *([20200229, 20200230] if calendar == "360_day" else [] if calendar == "noleap" else [20200229]),
    ]
    values = [day + quarter / 4 for day in [*days, 20200301] for quarter in range(4)]
    attributes = {"units": units, **({"calendar": calendar} if calendar else {})}
    time = xarray.Variable("time", values, attributes)
    frames = np.ones((len(values), 5, 4), np.float32)
    sequence = open_one(saved(tmp_path / "a.nc", {"u": (("time", "y", "x"), frames)}, {"time": time}))
    assert sequence.ticks.tolist() == list(range(len(values)))
    if calendar in ("", "proleptic_gregorian"):
        assert sequence.step == "6 h"


def test_a_date_that_does_not_exist_is_named(tmp_path):
    time = xarray.Variable("time", [20200131.0, 20200132.0], {"units": "day as %Y%m%d.%f"})
    path = saved(tmp_path / "a.nc", {"u": (("time", "y", "x"), VALUES[:2, 0])}, {"time": time})
    with pytest.raises(InputError, match="time stamp 1 in 'time' is '20200132.0'; expected"):
        open_all(path)


def test_entries_that_were_never_written_are_no_remark_once_merged(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as data:
        for name, size in (("time", 6), ("expver", 2), ("latitude", 5), ("longitude", 4)):
            data.createDimension(name, size)
        both = np.ma.masked_all((6, 2, 5, 4), np.float32)
        both[:4, 0], both[4:, 1] = VALUES[:4, 0], VALUES[4:, 0]
        data.createVariable("tp", "f4", ("time", "expver", "latitude", "longitude"))[:] = both
    sequence = open_one(tmp_path / "a.nc")
    assert np.array_equal(read(sequence), VALUES[:, 0, ..., None])
    assert sequence.remarks == ("the entries of its dimension 'expver' are merged to one",)
