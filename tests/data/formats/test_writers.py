"""Written files, read by the libraries that others read them with."""

import calendar
import dataclasses
import errno
import pathlib
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.output_files import check_output, open_output
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.types import ReadOptions, SourceInfo
from stlight_jax.data.formats.value_conversion import to_dtype, to_stored
from stlight_jax.data.times import parse_times

RNG = np.random.default_rng(0)
NOWHERE = pathlib.Path("frames")


def form(frames, dtype=np.uint8, axes="thwc", **settings):
    """Of frames `[t, h, w, c]`, or what the settings make of them."""
    source = SourceInfo(NOWHERE, registry.output_format("npy"), "rain", axes, np.dtype(dtype))
    settings = {"source": source, "frames": len(frames), **settings}
    return OutputSpec(shape=frames.shape[1:], dtype=np.dtype(dtype), **settings)


def write(path, frames, how, blocks=2):
    """In a few blocks, as they come."""
    with open_output(path, registry.output_format_of(path.suffix), how) as take:
        for block in np.array_split(frames, blocks):
            take(block)
    return path


def frames_of(shape, high=255):
    return (RNG.random(shape) * high).astype(np.float32)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nc"])
@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.int16, 20000), (np.float32, 1), (np.float64, 1), (bool, 1)])
def test_arrays_keep_their_type_and_axes(tmp_path, kind, dtype, high):
    frames = frames_of((5, 6, 7, 2), high)
    truth = frames if np.dtype(dtype).kind == "f" else np.rint(frames)
    path = write(tmp_path / f"a.{kind}", frames, form(frames, dtype, "tchw"))
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


def test_one_channel_is_written_as_it_was(tmp_path):
    frames = frames_of((3, 6, 7, 1))
    assert np.load(write(tmp_path / "a.npy", frames, form(frames, axes="thw"))).shape == (3, 6, 7)
    assert np.load(write(tmp_path / "b.npy", frames, form(frames, axes="thwc"))).shape == (3, 6, 7, 1)
    two = frames_of((3, 6, 7, 2))  # of a model that gives more channels than it sees
    assert np.load(write(tmp_path / "c.npy", two, form(two, axes="thw"))).shape == (3, 6, 7, 2)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nc"])
def test_items_and_windows_are_the_outer_axes(tmp_path, kind):
    frames = frames_of((2 * 3 * 4, 6, 7, 1), 1)  # two items, three windows, four frames
    how = form(frames[:4], np.float32, "nthw", items=2, window_starts=np.array([4, 7, 10]))
    path = write(tmp_path / f"a.{kind}", frames, how, blocks=6)
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
            assert data["rain"].dims == ("sequence", "window", "lead", "y", "x")
            np.testing.assert_array_equal(data["rain"].values, truth)
            assert data["start"].values.tolist() == [4, 7, 10]
            assert data["lead"].values.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["npz", "h5", "nc"])
@pytest.mark.parametrize("key", ["start", "start/rain", "start_time", "time", "window", "lead", "y", "channel"])
def test_frames_keep_their_name_though_other_arrays_would_have_it(tmp_path, kind, key):
    frames = frames_of((3 * 4, 6, 7, 2), 1)  # three windows, four frames
    stamps = parse_times(np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[D]"), "time", "a.npz")
    origin = SourceInfo(NOWHERE, registry.output_format("npz"), key, "thwc", np.dtype(np.float32))
    how = form(frames[:4], np.float32, source=origin, window_starts=np.array([4, 7, 10]), times=stamps)
    path = write(tmp_path / f"a.{kind}", frames, how, blocks=3)
    if kind == "npz":
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
    elif kind == "h5":
        found = {}
        with pytest.importorskip("h5py").File(path) as file:
            file.visititems(lambda name, item: found.update({name: item[...]} if hasattr(item, "shape") else {}))
    else:
        with pytest.importorskip("xarray").open_dataset(path, decode_times=False) as data:
            found = {name: item.values for name, item in data.variables.items()}
            key = key.rpartition("/")[2]
    np.testing.assert_array_equal(found.pop(key), frames.reshape(3, 4, 6, 7, 2))
    shapes = sorted(found, key=len)
    assert [4, 7, 10] in [found[name].tolist() for name in shapes]
    assert len(found) == (3 if kind == "nc" else 2)  # places and times of windows, and lead times


@pytest.mark.parametrize(
    ("dtype", "fill", "value", "stored"),
    [
        (np.uint8, None, -3.0, 0),
        (np.uint8, None, 300.0, 255),
        (np.uint8, None, 2.5, 2),  # to the even one, as NumPy rounds
        (np.uint16, 65535, np.nan, 65535),
        (np.uint16, 65535, 70000.0, 65534),  # never what stands for missing
        (np.int16, 0, 0.2, 1),
        (np.int64, None, 1e30, 9223372036854774784),
        (np.float32, -9999.0, np.nan, -9999.0),
        (np.float64, -999.9, np.nan, -999.9),  # not the nearest float32
        (np.float64, 1e300, np.nan, 1e300),
        (np.float16, None, -70000.0, -65504.0),
        (bool, None, 0.7, True),
    ],
)
def test_values_become_what_their_type_can_hold(dtype, fill, value, stored):
    assert to_dtype(np.array([value], np.float32), np.dtype(dtype), fill)[0] == stored


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, None), (np.int32, None), (bool, None), (bool, 1.0)])
def test_missing_values_that_nothing_stands_for_are_an_error(dtype, fill):
    with pytest.raises(ValueError, match="1 values are NaN"):
        to_dtype(np.array([np.nan, 1], np.float32), np.dtype(dtype), fill)


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, None), (np.int16, -1), (np.float32, None), (np.float64, -1.0)])
@pytest.mark.parametrize("axes", ["thwc", "tcwh"])
def test_conversions_take_little_memory_beside_their_result(dtype, fill, axes):
    frames = np.full((8, 500, 600, 2), 7.4, np.float32)
    frames[0, 0, 0] = -1 if fill is None else np.nan
    tracemalloc.start()
    found = to_stored(frames, form(frames, dtype, axes, fill=fill))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < frames.size * np.dtype(dtype).itemsize + 2**22
    assert found[0].ravel()[0] == (0 if dtype == np.uint8 else -1)
    assert (found[1:] == np.asarray(7 if np.dtype(dtype).kind in "iu" else np.float32(7.4), dtype)).all()


def test_nan_stays_nan_in_floats():
    assert np.isnan(to_dtype(np.array([np.nan], np.float32), np.dtype(np.float64), None)[0])


@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
@pytest.mark.parametrize("channels", [1, 3])
def test_videos(tmp_path, size, channels):
    av = pytest.importorskip("av")
    smooth = np.add.outer(np.linspace(0, 120, size[0]), np.linspace(0, 100, size[1]))
    frames = np.stack([smooth + 5 * time for time in range(6)])[..., None].repeat(channels, -1).astype(np.float32)
    path = write(tmp_path / "a.mp4", frames, form(frames, frame_rate=25.0))
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == 25
        found = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert found.shape == (6, *size, 3)
    assert np.abs(found - frames).max() <= 6
    (sequence,) = open_sequences(path, ReadOptions(channels="grey"))  # our own reader finds them as well
    grey = np.concatenate(list(sequence.blocks()))
    assert np.abs(grey - frames[..., :1]).mean() < 3


@pytest.mark.parametrize("channels", [1, 3])
def test_gifs_keep_every_frame_even_equal_ones(tmp_path, channels):
    frames = np.zeros((5, 9, 8, channels), np.float32)
    frames[3:] = np.rint(frames_of((2, 9, 8, channels)))
    path = write(tmp_path / "a.gif", frames, form(frames, frame_rate=5.0))
    with Image.open(path) as image:
        assert image.n_frames == 5
        assert image.info["duration"] == 200
        found = []
        for place in range(5):
            image.seek(place)
            found.append(np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(np.stack(found), np.broadcast_to(frames, (5, 9, 8, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_of_pictures_are_numbered_by_the_frames(tmp_path, channels):
    frames = np.rint(frames_of((4, 9, 8, channels)))
    path = write(tmp_path / "a", frames, form(frames, frame_numbers=np.array([98, 99, 101, 103])))
    assert sorted(item.name for item in path.glob("*.png")) == ["00098.png", "00099.png", "00101.png", "00103.png"]
    found = np.stack([np.asarray(Image.open(item)) for item in sorted(path.glob("*.png"))])
    np.testing.assert_array_equal(found, frames if channels == 3 else frames[..., 0])


def test_deep_pictures_stay_deep(tmp_path):
    frames = np.rint(frames_of((2, 9, 8, 1), 60000))
    how = form(frames, np.uint16, source=SourceInfo(NOWHERE, registry.output_format("pictures"), dtype=np.dtype(np.uint16)))
    path = write(tmp_path / "a", frames, how)
    found = np.stack([np.asarray(Image.open(item)) for item in sorted(path.glob("*.png"))])
    np.testing.assert_array_equal(found, frames[..., 0])


def test_other_values_are_mapped_to_grey_levels(tmp_path):
    frames = np.array([-1.0, 0.0, 1.5, 3.0, np.nan], np.float32).reshape(1, 1, 5, 1)
    path = write(tmp_path / "a", frames, form(frames, np.float32, low=(0.0,), high=(3.0,)), blocks=1)
    assert np.asarray(Image.open(path / "00000.png")).tolist() == [[0, 0, 128, 255, 0]]


@pytest.mark.parametrize("kind", ["a", "a.gif"])
@pytest.mark.parametrize("source", ["pictures", "gif", "mp4"])
def test_grey_levels_of_pictures_are_not_mapped(tmp_path, kind, source):
    frames = np.array([-1.0, 0.0, 1.5, 16.0, 254.7, 260.0], np.float32).reshape(1, 1, 6, 1)
    source = SourceInfo(NOWHERE, registry.output_format(source), dtype=np.dtype(np.uint8))
    path = write(tmp_path / kind, frames, form(frames, source=source, low=(16.0,), high=(235.0,)), blocks=1)
    picture = Image.open(path / "00000.png" if kind == "a" else path).convert("L")
    assert np.asarray(picture).tolist() == [[0, 0, 2, 16, 255, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_missing_grey_levels_have_the_fill_value(tmp_path, dtype):
    frames = np.array([3.0, 9.0, np.nan], np.float32).reshape(1, 1, 3, 1)
    source = SourceInfo(NOWHERE, registry.output_format("pictures"), dtype=np.dtype(dtype))
    for fill, stored in ((9.0, [[3, 10, 9]]), (None, [[3, 9, 0]])):
        how = form(frames, dtype, source=source, fill=fill)
        path = write(tmp_path / ("black" if fill is None else "filled"), frames, how, blocks=1)
        assert np.asarray(Image.open(path / "00000.png")).tolist() == stored


@pytest.mark.parametrize("kind", ["mp4", "gif", "npy", "npz", "h5", "nc", "folder"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_nothing_and_keeps_what_was_there(tmp_path, kind, error):
    path = tmp_path / ("a" if kind == "folder" else f"a.{kind}")
    path.write_text("before")
    frames = frames_of((4, 16, 16, 1))

    def stop_on_the_way():
        with open_output(path, registry.output_format_of(path.suffix), form(frames)) as take:
            take(frames[:2])
            raise error

    with pytest.raises(error):
        stop_on_the_way()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def folder_of_before(tmp_path):
    path = tmp_path / "a"
    frames = frames_of((1, 16, 16, 1))
    return write(path, frames, form(frames, frame_numbers=np.array([3])), blocks=1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("the disk is full")])
def test_a_folder_stays_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, error):
    path, frames = folder_of_before(tmp_path), frames_of((4, 16, 16, 1))

    def fail(self, target):
        raise error

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else InputError):
        write(path, frames, form(frames))
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert [item.name for item in path.glob("*.png")] == ["00003.png"]


def test_a_folder_stays_if_it_cannot_be_moved_aside(tmp_path, monkeypatch):
    path, frames = folder_of_before(tmp_path), frames_of((4, 16, 16, 1))

    def fail(self, target):
        raise PermissionError("not yours")

    monkeypatch.setattr(pathlib.Path, "rename", fail)
    with pytest.raises(InputError, match="a could not be written: not yours"):
        write(path, frames, form(frames))
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert [item.name for item in path.glob("*.png")] == ["00003.png"]


def test_a_finished_folder_takes_the_place_of_another(tmp_path):
    path, frames = folder_of_before(tmp_path), frames_of((4, 16, 16, 1))
    write(path, frames, form(frames, frame_numbers=7 + np.arange(4)))
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert sorted(item.name for item in path.glob("*.png")) == ["00007.png", "00008.png", "00009.png", "00010.png"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_has_got_another_file_stays(tmp_path, replaced):
    path, frames = folder_of_before(tmp_path) if replaced else tmp_path / "a", frames_of((4, 16, 16, 1))

    def write_while_a_file_comes():
        with open_output(path, registry.output_format("pictures"), form(frames)) as take:
            take(frames)
            path.mkdir(exist_ok=True)
            (path / "mine.txt").write_text("precious")

    with pytest.raises(
        InputError, match=r"a is a folder that contains mine.txt, which this program did not write; it was not replaced"
    ):
        write_while_a_file_comes()
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert (path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("links", [True, False])  # not every file system has hard ones
@pytest.mark.parametrize("kind", ["npy", "gif", "folder"])
def test_of_two_that_write_to_one_place_at_once_the_first_stays(tmp_path, monkeypatch, kind, links):
    path, frames = tmp_path / ("a" if kind == "folder" else f"a.{kind}"), frames_of((4, 16, 16, 1))

    def opened():
        return open_output(path, registry.output_format_of(path.suffix), form(frames), replace=False)

    def write_both():
        with opened() as second:
            second(frames[::-1])
            with opened() as first:
                first(frames)
            found.extend(contents())
            monkeypatch.setattr("os.path.lexists", lambda _: False)  # as it was just before

    def contents():
        return [item.read_bytes() for item in ([path] if path.is_file() else sorted(path.iterdir()))]

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    found = []
    if not links:
        monkeypatch.setattr("os.link", refuse)
    with pytest.raises(InputError, match="was created by another process during this run|could not be written"):
        write_both()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert contents() == found != []


def test_too_few_frames_are_no_file(tmp_path):
    frames = frames_of((4, 16, 16, 1))
    with pytest.raises(InputError, match="expected 4 frames, got 2; nothing was written"):
        write(tmp_path / "a.npy", frames[:2], form(frames))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_to_is_named(tmp_path):
    frames = frames_of((4, 16, 16, 1))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/a.npy could not be written"):
        write(tmp_path / "file" / "a.npy", frames, form(frames))


@pytest.mark.parametrize(
    ("stored", "further"),
    [
        (np.array(["2020-02-28T22", "2020-02-28T23"], "M8[h]"), np.array(["2020-02-29T00", "2020-02-29T01"], "M8[h]")),
        (["2019123122", "2019123123"], ["2020010100", "2020010101"]),
        ([b"2014123147", b"2014123148"], [b"2015010101", b"2015010102"]),  # DeepST's half hours
        (["2020-01-01 23:30", "2020-01-01 23:45"], ["2020-01-02 00:00", "2020-01-02 00:15"]),
        (["2020-01-31T23:59:58Z", "2020-01-31T23:59:59Z"], ["2020-02-01T00:00:00Z", "2020-02-01T00:00:01Z"]),
        ([20191231, 20200101], [20200102, 20200103]),
        ([20191231.0, 20200101.0], [20200102.0, 20200103.0]),
        ([2019123122.0, 2019123123.0], [2020010100.0, 2020010101.0]),
        ([20200101.0, 20200201.0, 20200301.0], [20200401.0, 20200501.0]),
        ([20200101, 20200201, 20200301], [20200401, 20200501]),  # months, not 29 or 31 days
        (["2020-10-31", "2020-11-30", "2020-12-31"], ["2021-01-31", "2021-02-28"]),
        (["2020-01", "2020-02", "2020-03"], ["2020-04", "2020-05"]),
        (np.array(["2021-07", "2021-08", "2021-09"], "M8[M]"), np.array(["2021-10", "2021-11"], "M8[M]")),
        (["2020-11-29", "2020-12-29", "2021-01-29"], ["2021-02-28", "2021-03-29"]),
        (["2020-01-30", "2020-02-29", "2020-03-30"], ["2020-04-29", "2020-05-29"]),  # every 30 days
        (["2021-01-30", "2021-02-27", "2021-03-30"], ["2021-04-29", "2021-05-30"]),  # the last day but one
        (["2021-06-29", "2021-07-30", "2021-08-30"], ["2021-09-30", "2021-10-31"]),  # every 31 days, not the last but one
        (["2020-02-01", "2020-03-01", "2020-04-01", "2020-06-01", "2020-07-01", "2020-08-01"], ["2020-09-01", "2020-10-01"]),
        (  # the middle of months, as climate models have it
            np.array(["2019-11-16T00", "2019-12-16T12", "2020-01-16T12", "2020-02-15T12"], "M8[h]"),
            np.array(["2020-03-16T12", "2020-04-16T00"], "M8[h]"),
        ),
        (np.array([126, 127], np.int8), np.array([128, 129])),  # which the file's type cannot hold
        (np.array([-3, -2], np.int8), np.array([-1, 0], np.int8)),
        ([3, 5, 7], [9, 11]),
        ([0.5, 1.0], [1.5, 2.0]),
    ],
)
def test_times_go_on_as_they_are_written(stored, further):
    stamps = parse_times(np.asarray(stored), "time", "a.npz")
    found = continue_times(stamps, np.zeros(0, int), len(stored) - 1, 2)
    assert found.stored.tolist() == np.asarray(further).tolist()
    assert found.stored.dtype == np.asarray(further).dtype


def date_of(year, month, day):
    """Of the month that so many make, by the calendar module."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return np.datetime64(f"{year}-{month:02}-{min(day, calendar.monthrange(year, month)[1]):02}T06", "h")


@pytest.mark.parametrize("day", [1, 15, 28, 29, 30, 31])
@pytest.mark.parametrize("apart", [1, 3, 12])
@pytest.mark.parametrize("units", ["", "hours since 2000-01-01", "days since 1850-01-01 03:00"])
def test_months_and_years_go_on_by_the_calendar(day, apart, units):
    for first in range(1, 13):
        dates = np.array([date_of(2021, first + apart * place, day) for place in range(11)])
        stored = dates
        if units:
            origin = np.datetime64(units.split(" since ")[1].replace(" ", "T"), "h")
            stored = (dates - origin) / np.timedelta64(1, units[0] if units[0] == "h" else "D")
        attributes = {"units": units} if units else {}
        seen = dataclasses.replace(parse_times(dates, "time", "a.nc"), stored=stored, attributes=attributes)
        after = 4 if day > 28 else 2  # days that no month lacks are told apart by three
        found = continue_times(seen, np.arange(after + 1), after, 10 - after)
        assert found.values.astype("M8[us]").astype("M8[h]").tolist() == dates.tolist()
        assert found.stored.tolist() == stored.tolist()


def test_times_in_other_files(tmp_path):
    frames = frames_of((2, 7, 7, 1), 1)
    stamps = parse_times(np.array(["2020-02-28T23", "2020-02-29T00"], "M8[h]"), "time", "a.npz")
    how = form(frames, np.float32, "thw", times=stamps)
    found = np.load(write(tmp_path / "a.npz", frames, how))
    assert found["time"].dtype == "M8[h]"
    with pytest.importorskip("xarray").open_dataset(write(tmp_path / "a.nc", frames, how)) as data:
        assert (data["time"].values == stamps.stored).all()
    with pytest.importorskip("h5py").File(write(tmp_path / "a.h5", frames, how)) as file:
        assert file["time"][...].tolist() == [b"2020-02-28T23", b"2020-02-29T00"]


def continue_netcdf(tmp_path, data, encoding=None, steps=3, **settings):
    """Writes a data set, and frames that continue its variable `rain`; returns what our reader found, and the path."""
    data.to_netcdf(tmp_path / "a.nc", encoding=encoding)
    (sequence,) = open_sequences(tmp_path / "a.nc", ReadOptions(variable="rain"))
    frames = frames_of((steps, *sequence.shape), 3)
    frames[0, 0, 0] = np.nan
    stamps = continue_times(sequence.times, np.zeros(0, int), sequence.frames - 1, steps)
    how = OutputSpec(sequence.info, steps, sequence.shape, **{"dtype": sequence.info.dtype, "times": stamps, **settings})
    return frames, write(tmp_path / "b.nc", frames, how)


def test_netcdf_goes_on_with_coordinates_attributes_packing_and_times(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    hours = np.datetime64("2020-02-28T20") + np.arange(4) * np.timedelta64(1, "h")
    data = xarray.Dataset(
        {
            "rain": (("lat", "time", "lon"), frames_of((7, 4, 8), 3), {"units": "mm", "grid_mapping": "crs"}),
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
    ],
)
def test_netcdf_times_of_every_calendar(tmp_path, kind, units, values, further):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    time = xarray.Variable("time", values, {"units": units, "calendar": kind})
    data = xarray.Dataset({"rain": (("time", "y", "x"), frames_of((3, 7, 8)))}, {"time": time})
    _, path = continue_netcdf(tmp_path, data)
    with netCDF4.Dataset(path) as found:
        assert found["time"][:].tolist() == further
        assert (found["time"].units, found["time"].calendar) == (units, kind)


def test_a_time_coordinate_hides_none_of_the_times_to_come(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    attributes = {"units": "hours since 2020-01-01", "valid_max": 2, "valid_range": [0, 2], "actual_range": [0, 2]}
    time = xarray.Variable("time", [0, 1, 2], attributes)
    data = xarray.Dataset({"rain": (("time", "y", "x"), frames_of((3, 7, 8)))}, {"time": time})
    _, path = continue_netcdf(tmp_path, data)
    with netCDF4.Dataset(path) as found:
        assert found["time"][:].filled(-1).tolist() == [3, 4, 5]
        assert set(found["time"].ncattrs()) == {"units"}


def test_netcdf_of_floats_keeps_its_fill_value(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    days = np.datetime64("2020-01-01") + np.arange(3)
    data = xarray.Dataset({"rain": (("time", "y", "x"), frames_of((3, 7, 8)))}, {"time": days})
    _, path = continue_netcdf(tmp_path, data, {"rain": {"_FillValue": -9999.0}})
    with netCDF4.Dataset(path) as found:
        found.set_auto_mask(False)
        assert found["rain"][0, 0, 0] == found["rain"]._FillValue == np.float32(-9999)


def three_days(**attributes):
    xarray = pytest.importorskip("xarray")
    days = np.datetime64("2020-01-01") + np.arange(3)
    return xarray.Dataset({"rain": (("time", "y", "x"), frames_of((3, 7, 8), 3), attributes)}, {"time": days})


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
    frames = frames_of((2, *sequence.shape), 3)
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
        {"rain": (("member", "time", "y", "x"), frames_of((3, 4, 7, 8)))},
        {"time": np.datetime64("2020-01-01") + np.arange(4), "member": [10, 20, 30], "y": np.arange(7.0)},
    )
    data.to_netcdf(tmp_path / "a.nc")
    sequences = open_sequences(tmp_path / "a.nc", ReadOptions(variable="rain", layout="nthw"))
    frames = frames_of((2, 7, 8, 1))
    how = OutputSpec(sequences[1].info, 2, (7, 8, 1), np.dtype(np.float32))
    with xarray.open_dataset(write(tmp_path / "b.nc", frames, how)) as found:
        assert found["rain"].dims == ("time", "y", "x")
        assert found["y"].values.tolist() == np.arange(7.0).tolist()
        assert "member" not in found.variables
        np.testing.assert_array_equal(found["rain"].values, frames[..., 0])


def test_a_gif_or_a_video_of_two_channels_is_refused(tmp_path):
    frames = frames_of((2, 8, 8, 2))
    for kind in ("mp4", "gif", "pictures"):
        message = r"frames have 2 channels, a (video|GIF|folder of pictures) holds 1 or 3; write .npy, .npz, .h5, .nc"
        with pytest.raises(InputError, match=message):
            check_output(registry.output_format(kind), form(frames), tmp_path / "a")
