"""`stlight predict`: files in, files of their kind out: names, types, units, dates and what is missing."""

import os
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling
from tests.forecasting.line import Line, as_integers, movie, run, saved


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "gif", "mp4", ""])
def test_every_kind_goes_on_in_its_own_kind(tmp_path, current_folder, kind):
    frames = movie(size=(16, 16))
    source = saved(tmp_path / (f"a.{kind}" if kind else "a"), frames)
    model = Line()
    results = run(source, model, horizon=4)
    truth = as_integers(model.of(frames[None, -3:], 4)[0])
    out = current_folder / (f"a_predicted.{kind}" if kind else "a_predicted")
    assert results["output"] == out.name
    assert [item.name for item in current_folder.iterdir()] == [out.name]
    assert model.calls == [(1, 3, 16, 16, 1)]
    if kind == "npy":
        found = np.load(out)[..., None]
    elif kind == "npz":
        found = np.load(out)["rain"][..., None]
    elif kind == "h5":
        with pytest.importorskip("h5py").File(out) as file:
            found = file["deep/rain"][...][..., None]
            assert file["deep/rain"].attrs["unit"] == "mm"
    elif kind == "gif":
        with Image.open(out) as image:
            assert image.info["duration"] == 40
            found = np.stack([(image.seek(i), np.asarray(image.convert("L")))[1] for i in range(image.n_frames)])[..., None]
    elif kind == "mp4":
        with pytest.importorskip("av").open(str(out)) as container:
            assert container.streams.video[0].average_rate == 25
            found = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])[..., :1]
        assert np.abs(found.astype(int) - truth).max() <= 8  # a lossy codec, both ways
        return
    else:
        pictures = sorted(out.glob("*.png"))
        assert [item.name for item in pictures] == [f"{place:05}.png" for place in range(12, 16)]
        found = np.stack([np.asarray(Image.open(item)) for item in pictures])[..., None]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, truth)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_pipes_are_neither_read_nor_written(tmp_path, current_folder):
    os.mkfifo("b.npy")
    with pytest.raises(InputError, match="b.npy is neither a file nor a folder; choose another name"):
        run(saved(tmp_path / "a.npy", movie()), out="b.npy", overwrite=True)
    with pytest.raises(InputError, match="b.npy is a pipe or a device, which cannot be read twice; save its content"):
        run(current_folder / "b.npy")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such names")
@pytest.mark.parametrize("name", ["grün 雨", "a%03d", "a[1]{2}#b?*", "a:b '\"$HOME"])
@pytest.mark.parametrize("kind", [".npy", ".npz", ".h5", ".nc", ".gif", ".mp4", ""])
def test_names_may_have_any_letters(current_folder, name, kind):
    source, frames = pathlib.Path(f"{name}{kind}"), movie(size=(16, 16))
    if kind == ".nc":
        pytest.importorskip("netCDF4")
        run(saved(pathlib.Path(f"{name}.npy"), frames), out=f"{name}.nc", horizon=9)
    elif kind == ".mp4":
        saved(current_folder / source.name, frames)
    else:
        saved(source, frames)
    run(source, report="")
    assert {f"{name}_predicted{kind}", f"{name}_predicted.html"} <= {item.name for item in current_folder.iterdir()}


@pytest.mark.parametrize(
    ("hours", "settings", "places"),
    [
        (range(12), {"reading": {"frame_step": 2}}, [13, 15]),
        (range(12), {"reading": {"frame_step": 2}, "start": 6, "horizon": 4}, [6, 8, 10, 12]),
        ([*range(6), *range(9, 19)], {"rolling": True}, [3, 4, 9, 10, 11, 12, 13, 14, 15]),
        (range(12), {"rolling": True, "reading": {"frame_step": 3}}, [9]),
    ],
)
def test_pictures_have_the_places_of_their_frames(tmp_path, hours, settings, places):
    times = np.datetime64("2020-01-01T00") + np.array(hours)
    run(saved(tmp_path / "a.npz", movie(len(times)), time=times), out="b", **settings)
    assert [int(item.stem) for item in sorted(pathlib.Path("b").glob("*.png"))] == places


@pytest.mark.parametrize("kind", ["a", "a.gif", "a.mp4"])
def test_grey_levels_of_pictures_keep_their_units_whatever_the_range(tmp_path, capsys, kind):
    frames = np.full((5, 16, 16, 1), 40, np.uint8)
    frames[:, 0, 0, 0] = range(5)  # a GIF keeps equal frames as one
    source = saved(tmp_path / kind, frames)
    run(source, Line(scaling=Scaling("uint8", (16.0,), (235.0,))), out=f"b{source.suffix}")
    assert "grey levels of pictures are written as they are" in capsys.readouterr().err
    if kind == "a.mp4":
        with pytest.importorskip("av").open("b.mp4") as container:
            found = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    else:
        found = np.asarray(Image.open("b/00005.png" if kind == "a" else "b.gif").convert("L"))
    assert np.abs(found[..., 8:, 8:].astype(int) - 40).max() <= (3 if kind == "a.mp4" else 0)  # a lossy codec, both ways


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_types_are_kept_unless_another_is_asked_for(tmp_path, dtype):
    frames = movie(dtype=dtype, scale=7)
    model = Line(scaling=Scaling("float32", (0.0,), (2000.0,)))
    run(saved(tmp_path / "a.npy", frames), model, out="b.npy")
    truth = model.of(frames[None, -3:], 2)[0, ..., 0]
    found = np.load("b.npy")
    assert found.dtype == dtype
    np.testing.assert_allclose(found, truth if np.dtype(dtype).kind == "f" else np.rint(truth), rtol=1e-6)
    run(saved(tmp_path / "a.npy", frames), model, out="c.npy", dtype="float32")
    np.testing.assert_allclose(np.load("c.npy"), truth, rtol=1e-6)


def test_another_kind_by_the_ending(tmp_path, capsys):
    frames = movie(size=(16, 16), dtype=np.float32)
    source = saved(tmp_path / "a.npz", frames, time=np.datetime64("2020-02-28T20") + np.arange(12))
    model = Line(scaling=Scaling("float32", (0.0,), (200.0,)))
    truth = model.of(frames[None, -3:], 2)[0]
    for kind in ("npy", "h5", "nc", "gif", "mp4", "png"):
        run(source, model, out=f"b.{kind}")
    run(source, model, out="b")
    np.testing.assert_allclose(np.load("b.npy"), truth[..., 0], rtol=1e-6)
    with pytest.importorskip("xarray").open_dataset("b.nc") as data:
        np.testing.assert_allclose(data["rain"].values, truth[..., 0], rtol=1e-6)
        hours = np.datetime64("2020-02-29T08") + np.arange(2)
        assert (data["time"].values == hours).all()
    levels = np.rint(truth / 200 * 255)
    np.testing.assert_array_equal(np.asarray(Image.open("b/00012.png")), levels[0, ..., 0])
    with Image.open("b.gif") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("L")), levels[0, ..., 0])
    assert Image.open("b.png").width > 3 * 96  # a column for each input
    assert "values are mapped from 0..200 to 0..255 for pictures" in capsys.readouterr().err


def test_netcdf_goes_on_in_time_units_and_dimensions(tmp_path):
    xarray, netCDF4 = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    frames = movie(dtype=np.float32)[..., 0]
    frames[:, 2, 3] = np.nan
    hours = np.datetime64("2020-02-28T14") + np.arange(12) * np.timedelta64(1, "h")
    data = xarray.Dataset(
        {"rain": (("time", "lat", "lon"), frames, {"units": "mm"})},
        {"time": hours, "lat": np.linspace(50, 53, 8), "lon": np.linspace(3, 7, 10)},
    )
    encoding = {"time": {"units": "hours since 1900-01-01"}, "rain": {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}}
    data.to_netcdf(tmp_path / "a.nc", encoding=encoding)
    run(tmp_path / "a.nc", horizon=3)
    with xarray.open_dataset("a_predicted.nc") as found, xarray.open_dataset(tmp_path / "a.nc") as source:
        assert (found["time"].values == hours[-1] + np.arange(1, 4) * np.timedelta64(1, "h")).all()
        xarray.testing.assert_identical(found["lat"], source["lat"])
        truth = Line().of(source["rain"].values[None, -3:, ..., None], 3)[0, ..., 0]
        np.testing.assert_allclose(found["rain"].values, truth, atol=0.0051)
        assert np.isnan(found["rain"].values[:, 2, 3]).all()
        assert found["rain"].attrs == {"units": "mm"}
    with netCDF4.Dataset("a_predicted.nc") as found:
        assert found["time"].units == "hours since 1900-01-01"


def test_items_of_one_array_are_stacked_and_other_sequences_files_of_a_folder(tmp_path):
    clips = np.stack([movie(6) for _ in range(10)])  # [n, t, h, w, c]
    np.save(tmp_path / "a.npy", clips)
    model = Line()
    run(tmp_path / "a.npy", model, out="b.npy")
    truth = as_integers(model.of(clips[:, -3:], 2))
    np.testing.assert_array_equal(np.load("b.npy"), truth)
    assert {shape[0] for shape in model.calls} == {8}
    run(tmp_path / "a.npy", out="c", kind="gif")
    assert len(list((tmp_path / "here" / "c").glob("*.gif"))) == 10
    run(tmp_path / "a.npy", rolling=True, every=1, out="d.npy")
    assert np.load("d.npy").shape == (10, 3, 2, 8, 10, 1)
    folder = tmp_path / "many"
    (folder / "deep").mkdir(parents=True)
    saved(folder / "a.npy", clips[0])
    saved(folder / "deep" / "a.npz", clips[1])
    run(folder)
    found = tmp_path / "here" / "many_predicted"
    np.testing.assert_array_equal(np.load(found / "a.npy"), truth[0, ..., 0])
    np.testing.assert_array_equal(np.load(found / "deep_a.npz")["rain"], truth[1, ..., 0])
    with pytest.raises(InputError, match="holds 2 sequences, each of which needs a file of its own"):
        run(folder, out="e.npy")
    run(folder, out="f", kind="png", start=4)
    assert len(list((tmp_path / "here" / "f").glob("*.png"))) == 2


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5", ".gif", ""])
@pytest.mark.parametrize("out", [{}, {"out": "b"}, {"out": "b", "kind": "npz"}, {"out": "b", "kind": "pictures"}])
def test_a_folder_with_one_sequence_is_written_in_the_form_of_one_with_two(current_folder, ending, out):
    """Two cameras, or files of two stations; `deep` keeps them apart from files that would be joined."""
    for count in (1, 2):
        folder = current_folder.parent / f"in{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"deep{number}").mkdir()
            saved(folder / f"deep{number}" / f"{'ab'[number]}{ending}", movie(channels=1))
        run(folder, **{**out, **({"out": f"b{count}"} if out else {})})
    one, two = (
        sorted(str(item.relative_to(name)) for item in pathlib.Path(name).rglob("*") if item.is_file())
        for name in (("b1", "b2") if out else ("in1_predicted", "in2_predicted"))
    )
    assert one == [name for name in two if not name.startswith("deep1")]
    endings = {"npz": ".npz", "pictures": ".png"}.get(out.get("kind"), ending or ".png")
    assert {pathlib.Path(name).suffix for name in one if ".stlight" not in name} == {endings}


def test_frames_that_are_no_pictures_are_written_to_a_folder_in_the_inputs_format(current_folder):
    source = saved(current_folder.parent / "x.npz", movie(channels=2))
    run(source, Line(in_channels=2, out_channels=2), out="b")
    assert np.load("b/x.npz")["rain"].shape == (2, 8, 10, 2)


def test_names_of_files_hold_the_array_only_where_they_must(current_folder):
    folder = current_folder.parent / "many"
    folder.mkdir()
    for name in ("x.npz", "radar.2020.npz"):
        np.savez(folder / name, volume=movie()[..., 0])
    np.savez(folder / "two.npz", rain=movie()[..., 0], snow=movie()[..., 0])
    np.save(folder / "items.npy", np.stack([movie(), movie()]))
    run(folder, out="b")
    names = {item.name for item in pathlib.Path("b").iterdir() if not item.name.startswith(".")}
    assert names == {"x.npz", "radar.2020.npz", "two_rain.npz", "two_snow.npz", "items_0.npy", "items_1.npy"}


def test_reading_as_in_training(tmp_path, capsys):
    frames = movie(13)
    path = tmp_path / "a.npz"
    masked = np.zeros((8, 10), bool)
    masked[0, 0] = True
    np.savez(path, rain=frames[..., 0], wind=frames[..., 0] + 1, gone=masked)
    config = {"dataset": "frames", "data": {"variable": "wind", "mask": "gone", "frame_step": 2, "height": 0, "width": 0}}
    model = Line(config=config)
    run(path, model, out="b.npz")
    truth = model.of(frames[None, [8, 10, 12]] + 1, 2)[0, ..., 0]
    found = np.load("b.npz")["wind"]
    assert found.dtype == np.float32  # nothing else can say what is missing
    assert np.isnan(found[:, 0, 0]).all()
    np.testing.assert_allclose(found[:, 1:], truth[:, 1:], rtol=1e-6)
    assert "as in training: --variable=wind, --mask=gone, --frame_step=2" in capsys.readouterr().err
    run(path, model, out="c.npz", reading={"variable": "rain", "frame_step": 1, "mask": ""})
    np.testing.assert_array_equal(np.load("c.npz")["rain"], as_integers(model.of(frames[None, -3:], 2))[0, ..., 0])
    run(saved(tmp_path / "plain.npy", frames), model, out="d.npy")  # has no names to choose among
    assert np.load("d.npy").shape == (2, 8, 10)


def test_fill_values_stand_for_what_is_missing_in_the_output(tmp_path):
    frames = movie(dtype=np.uint16)
    frames[:, 1, 2] = 65535
    frames[0, 4, 4] = 65535
    config = {"dataset": "frames", "data": {"fill_value": 65535.0}}
    run(saved(tmp_path / "a.npy", frames), Line(config=config), out="b.npy")
    found = np.load("b.npy")
    assert found.dtype == np.uint16
    assert (found == 65535).sum() == 2  # one pixel of two frames
    assert (found[:, 1, 2] == 65535).all()


@pytest.mark.parametrize(("dtype", "fill"), [(np.int32, 1e20), (np.int32, 0.5), (np.int64, 1e20), (bool, 1.0)])
def test_a_fill_value_that_integers_cannot_hold_makes_floats_of_them(tmp_path, capsys, dtype, fill):
    frames = movie(dtype=np.float32).astype(dtype)
    frames[:, 2, 3] = 0
    model = Line(scaling=Scaling("float32", (0.0,), (200.0,)))
    run(saved(tmp_path / "a.npz", frames), model, out="b.npz", reading={"fill_value": fill}, start=-2)
    found, told = np.load("b.npz")["rain"], capsys.readouterr().err
    assert found.dtype == np.float32
    name = np.dtype(dtype).name
    assert f"{name} cannot hold the fill value {fill:g}; arrays are written as float32" in told
    if dtype is not bool:
        np.testing.assert_allclose(found, model.of(frames[None, -5:-2], 2)[0, ..., 0], rtol=1e-6)


def test_a_fill_value_that_a_small_float_cannot_hold_becomes_nan(tmp_path, capsys):
    frames = movie(dtype=np.float32)
    frames[:, 2, 3] = 1e20
    model = Line(scaling=Scaling("float32", (0.0,), (200.0,)))
    run(saved(tmp_path / "a.npy", frames), model, out="b.npy", dtype="float16", reading={"fill_value": 1e20})
    assert np.isnan(np.load("b.npy")).sum() == np.isnan(np.load("b.npy")[:, 2, 3]).sum() == 2
    assert "float16 cannot hold the fill value 1e+20; missing values are written as NaN" in capsys.readouterr().err


def test_resizing_and_another_number_of_channels(tmp_path):
    frames = movie(size=(16, 20), channels=3)
    run(saved(tmp_path / "a.npy", frames), Line(in_channels=3, out_channels=1), out="b.npy", reading={"height": 8, "width": 10})
    assert np.load("b.npy").shape == (2, 16, 20, 1)


def test_a_forecast_of_resized_frames_goes_back_to_the_grid_of_the_input(tmp_path, capsys):
    t, y, x = np.ogrid[:14, :16, :20]
    frames = (100.0 + 3 * y + 2 * x + t)[..., None].astype(np.float32)  # a plane stays itself, but for the edges
    frames[:, :, :4] = np.nan
    model = Line(scaling=Scaling("float32", (0.0,), (255.0,), missing=True))
    source = saved(tmp_path / "a.npy", frames)
    results = run(source, model, out="b.npy", start=-2, reading={"height": 8, "width": 10})
    found = np.load("b.npy")
    np.testing.assert_allclose(found[:, 3:-3, 7:-3], frames[12:, 3:-3, 7:-3, 0], rtol=1e-5)
    assert np.isnan(found[:, :, :3]).all()
    assert not np.isnan(found[:, :, 6:]).any()
    assert results["overall"]["stlight"]["mse"] < 1e-6  # of the network's frames
    assert "predicted at 8 x 10 pixels; written at the input's 16 x 20" in capsys.readouterr().err


@pytest.mark.long
def test_radar_taxi_and_kth(test_data, monkeypatch, tmp_path):
    """Real files: a fixed mask by its fill value, hours with gaps, an old video."""
    model = Line(6, 6, scaling=Scaling("uint16", (0.0,), (500.0,), True, 65535.0))
    options = {"reading": {"fill_value": 65535.0}, "start": -6}
    results = run(test_data / "radar_knmi" / "knmi_5min_20100826.npz", model, out="radar.npz", **options)
    found, truth = (np.load(path)["precip"] for path in ("radar.npz", test_data / "radar_knmi" / "knmi_5min_20100826.npz"))
    assert found.dtype == np.uint16
    assert ((found == 65535) == (truth[-6:] == 65535)).all()
    error = model.of(truth[None, -12:-6, ..., None], 6)[0, ..., 0] - truth[-6:]
    assert results["rmse_per_value"]["stlight"] == pytest.approx(
        np.sqrt(np.square(error[truth[-6:] != 65535]).mean()), rel=1e-4
    )

    taxi = Line(4, 4, 2, 2, Scaling("float32", (0.0,), (1000.0,)))
    results = run(test_data / "taxinyc" / "taxinyc_2012_2014_16x8.npz", taxi, rolling=True, out="taxi.npz")
    with np.load(test_data / "taxinyc" / "taxinyc_2012_2014_16x8.npz") as source, np.load("taxi.npz") as found:
        hours, key = source["hours_since_1970"], "hours_since_1970"
        assert set(found[key]) <= set(hours)
        assert found["flow"].shape[1:] == source["flow"].shape[1:]
        runs = np.split(hours, np.flatnonzero(np.diff(hours) != 1) + 1)
        too_early = np.concatenate([part[:4] for part in runs])  # nothing was known before
        assert not set(found[key]) & set(too_early)
    assert 0 < results["windows_left_out_across_gaps"] <= 2 * len(runs)

    pytest.importorskip("av")
    run(test_data / "kth_openstl_clips" / "test_example.avi", Line(), out="kth.npy")
    assert np.load("kth.npy").shape == (2, 32, 32, 1)
