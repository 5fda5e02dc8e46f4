"""`stlight predict`: files in, files of their kind out; right along long sequences, and one clear line for what cannot be."""

import dataclasses
import html
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import types

import numpy as np
import pytest
from PIL import Image

from stlight_jax import Forecaster, InputError
from stlight_jax.data.opening import open_test
from stlight_jax.data.readers import raw
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference import clips, trained
from stlight_jax.inference import predict as predict_module
from stlight_jax.inference.predict import Request, predict
from stlight_jax.model.stlight import STLightConfig
from tests.conftest import ROOT, load_config

RNG = np.random.default_rng(0)


class Line:
    """Stands for a forecaster: every pixel goes on along the line through its first and its last frame.

    What it predicts is known without it, and it takes no time.
    """

    def __init__(self, in_frames=3, out_frames=2, in_channels=1, out_channels=1, scaling=None, **description):
        self.model = STLightConfig(
            in_frames=in_frames, out_frames=out_frames, in_channels=in_channels, out_channels=out_channels,
            hidden_dim=8, depth=2, patch_size=2,
        )  # fmt: skip
        self.scaling = scaling or Scaling()
        self.description = {"name": "line", **description}
        self.source = "line"
        self.calls = []

    def __call__(self, frames, horizon=None, dtype=None, ready=None):
        self.calls.append(frames.shape)
        if ready is not None:
            ready(horizon)
        return self.of(frames, horizon or self.model.out_frames).astype(dtype)

    def of(self, frames, horizon):
        """[b, t, h, w, c] -> [b, horizon, h, w, c']."""
        frames = np.asarray(frames, np.float64)[..., : self.model.out_channels]
        first, last = frames[:, :1], frames[:, -1:]
        ahead = np.arange(1, horizon + 1)[:, None, None, None]
        return last + (last - first) / (frames.shape[1] - 1) * ahead


def movie(frames=12, size=(8, 10), channels=1, dtype=np.uint8, scale=1.0):
    """[t, h, w, c], brightening slowly, each pixel at a pace of its own."""
    start, pace = RNG.random((2, *size, channels))
    values = (40 + 60 * start + (1 + 2 * pace) * np.arange(frames)[:, None, None, None]) * scale
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def as_integers(frames, dtype=np.uint8):
    limits = np.iinfo(dtype)
    return np.clip(np.rint(frames), limits.min, limits.max).astype(dtype)


@pytest.fixture(autouse=True)
def current_folder(tmp_path, monkeypatch):
    """Where the command is run."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def saved(path, frames, **others):
    """By the ending: [t, h, w] of one channel."""
    frames = frames[..., 0] if frames.shape[-1] == 1 else frames
    if path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".npz":
        np.savez(path, rain=frames, **others)
    elif path.suffix == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["deep/rain"] = frames
            file["deep/rain"].attrs["unit"] = "mm"
    elif path.suffix == ".gif":
        first, *rest = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=rest, duration=40)
    elif path.suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "0"})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
            for frame in frames:
                picture = np.repeat(frame[..., None], 3, -1)
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    else:
        path.mkdir()
        for place, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"frame{place}.png")
    return path


def run(path, model=None, **settings):
    return predict(Request(str(path), **{"report": "none", **settings}), model or Line())


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
    with pytest.raises(InputError, match="b.npy is neither a file nor a folder; give another name"):
        run(saved(tmp_path / "a.npy", movie()), out="b.npy", overwrite=True)
    with pytest.raises(InputError, match="b.npy is a pipe or a device, which cannot be read twice; save what it holds"):
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


def test_metrics_are_those_that_numpy_computes(tmp_path, capsys):
    frames = movie(12, dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    frames[10, 3, 4] = np.nan
    scaling = Scaling("float32", (20.0,), (220.0,), missing=True, filling=(0.5,))
    model = Line(scaling=scaling)
    results = run(saved(tmp_path / "a.npy", frames), model, start=-3, horizon=4, json="b.json", out="b.npy")
    prediction = model.of(frames[None, 6:9], 4)[0, :3]  # of the fourth frame nobody knows the truth
    truth = frames[9:].astype(np.float64)
    for name, guess in (("stlight", prediction), ("copy_last_frame", frames[8:9].astype(np.float64))):
        errors = guess - truth
        squares = np.nansum(np.square(errors / 200), axis=(1, 2, 3))
        leads = results["per_lead_time"][name]
        np.testing.assert_allclose(leads["mse"][:3], squares, rtol=1e-4)
        np.testing.assert_allclose(leads["mae"][:3], np.nansum(np.abs(errors / 200), axis=(1, 2, 3)), rtol=1e-4)
        assert np.isnan(leads["mse"][3])
        assert results["overall"][name]["mse"] == pytest.approx(squares.mean(), rel=1e-4)
        units = results["rmse_in_units"][name]
        assert units["overall"] == pytest.approx(np.sqrt(np.nanmean(np.square(errors))), rel=1e-5)
        np.testing.assert_allclose(units["per_lead_time"][:3], np.sqrt(np.nanmean(np.square(errors), (1, 2, 3))), rtol=1e-5)
    shown = capsys.readouterr().out
    assert "copy last frame" in shown
    assert "1 forecast " in shown
    assert f"{results['rmse_in_units']['stlight']['overall']:.4g}" in shown
    written = json.loads((tmp_path / "here" / "b.json").read_text())
    assert written["per_lead_time"]["stlight"]["mse"][3] is None
    missing = np.where(np.isnan(truth), np.nan, 0)
    energies = [
        [np.nansum(np.square(np.diff(of + missing, axis=axis)), (1, 2, 3)) for axis in (1, 2)] for of in (prediction, truth)
    ]
    sharp = np.sum(energies[0], 0) / np.sum(energies[1], 0)
    assert written["sharpness"]["windows"] == 1
    np.testing.assert_allclose(written["sharpness"]["per_lead_time"][:3], sharp, rtol=1e-4)


def test_everything_is_written_before_anything_is_printed(tmp_path, current_folder, monkeypatch):
    def fail(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", fail)
    with pytest.raises(BrokenPipeError):
        run(saved(tmp_path / "a.npy", movie()), start=-3, out="b.npy", report="", json="b.json")
    assert sorted(item.name for item in current_folder.iterdir()) == ["b.html", "b.json", "b.npy"]


@pytest.mark.parametrize("settings", [{"start": -3}, {"rolling": True}, {"truth": "true.npy"}])
def test_frames_too_small_for_ssim_have_the_other_metrics(tmp_path, current_folder, capsys, settings):
    frames = movie(size=(4, 6), dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    saved(current_folder / "true.npy", frames)
    results = run(saved(tmp_path / "a.npy", frames), out="b.npy", report="", json="b.json", **settings)
    assert np.isfinite(np.load("b.npy")).all()
    assert pathlib.Path("b.html").exists()
    shown = capsys.readouterr()
    assert shown.err.count("no SSIM of frames of 4 x 6: it needs at least 7 x 7") == 1
    starts = range(3, 12, 2) if "rolling" in settings else [9 if "start" in settings else 12]
    errors = []
    for start in starts:
        truth = frames[start : start + 2] if start < 12 else frames[:2]
        errors.append(Line().of(frames[None, start - 3 : start], 2)[0, : len(truth)] / 255 - truth / 255)
    errors = np.concatenate(errors)
    overall = results["overall"]["stlight"]
    assert overall["mse"] == pytest.approx(np.square(errors).sum((1, 2, 3)).mean(), rel=1e-4)
    assert overall["mae"] == pytest.approx(np.abs(errors).sum((1, 2, 3)).mean(), rel=1e-4)
    assert overall["psnr"] == pytest.approx(-10 * np.log10(np.square(errors).mean((1, 2, 3))).mean(), rel=1e-4)
    assert np.isnan([overall["ssim"], overall["ssim_unit_range"]]).all()
    assert json.loads(pathlib.Path("b.json").read_text())["overall"]["stlight"]["ssim"] is None
    run(tmp_path / "a.npy", out="c.npy")
    assert "no SSIM" not in capsys.readouterr().err  # there is no truth


def test_a_page_and_the_terminal_say_the_same_of_channels_with_ranges_of_their_own(tmp_path, capsys):
    frames = movie(channels=2, dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    model = Line(in_channels=2, out_channels=2, scaling=Scaling("float32", (0.0, 20.0), (200.0, 220.5)))
    results = run(saved(tmp_path / "a.npy", frames), model, start=-2, out="b.npy", report="")
    assert "rmse_per_value" not in results
    listed = []
    for name, guess in (("STLight", model.of(frames[None, 7:10], 2)[0]), ("copy last frame", frames[9:10])):
        each = np.sqrt(np.square(guess - frames[10:].astype(float)).mean((0, 1, 2)))
        listed.append(f"{name} {each[0]:.4g}, {each[1]:.4g}")
    remark = f"RMSE of a single value in each channel's units: {'; '.join(listed)}."
    assert remark in capsys.readouterr().out
    assert remark in html.unescape(pathlib.Path("b.html").read_text())


def test_truth_from_another_file_is_found_by_its_dates(tmp_path, capsys):
    frames = movie(14)
    hours = np.datetime64("2020-01-01T00") + np.arange(14)
    saved(tmp_path / "a.npz", frames[:9], time=hours[:9])
    saved(tmp_path / "b.npz", frames[5:], time=hours[5:])
    saved(tmp_path / "c.npz", frames[11:], time=hours[11:])
    saved(tmp_path / "d.npy", frames[9:])
    by_date = run(tmp_path / "a.npz", truth=str(tmp_path / "b.npz"), out="b.npy")
    saved(tmp_path / "e.npy", frames[:9])
    by_order = run(tmp_path / "e.npy", truth=str(tmp_path / "d.npy"), out="c.npy")
    in_one = run(saved(tmp_path / "f.npy", frames), start=9, out="d.npy")
    assert by_date["per_lead_time"] == by_order["per_lead_time"] == in_one["per_lead_time"]
    told = " ".join(capsys.readouterr().err.split())
    assert "true frames: 2 of b.npz#rain from frame 4 on (by their dates)" in told
    assert "true frames: 2 of d.npy from frame 0 on (from its first one on, for not both have dates)" in told
    with pytest.raises(InputError, match="c.npz#rain has no frame of 2020-01-01T09:00:00, the first one predicted"):
        run(tmp_path / "a.npz", truth=str(tmp_path / "c.npz"), out="e.npy")


def test_rolling_equals_calling_the_forecaster_window_by_window(tmp_path):
    frames = movie(30, dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    source = saved(tmp_path / "a.npy", frames)
    model = Line()
    joined = run(source, model, rolling=True, horizon=4, out="joined.npy")
    truth = np.concatenate([model.of(frames[None, s - 3 : s], 4)[0] for s in range(3, 30, 4)])[: 30 - 3]
    np.testing.assert_allclose(np.load("joined.npy"), truth[..., 0], rtol=1e-5)
    assert joined["windows"] == 7
    squares = np.square((truth - frames[3:]) / 255).sum((1, 2, 3))
    per_lead = [squares[lead::4].mean() for lead in range(4)]  # the last window has three true frames
    np.testing.assert_allclose(joined["per_lead_time"]["stlight"]["mse"], per_lead, rtol=1e-4)
    assert joined["overall"]["stlight"]["mse"] == pytest.approx(squares.mean(), rel=1e-4)

    run(source, model, rolling=True, horizon=4, every=3, start=5, out="apart.npz")
    starts = list(range(5, 30, 3))
    truth = np.stack([model.of(frames[None, s - 3 : s], 4)[0] for s in starts])
    found = np.load("apart.npz")
    np.testing.assert_allclose(found["frames"], truth[..., 0], rtol=1e-5)
    assert found["start"].tolist() == starts
    assert {shape[0] for shape in model.calls} <= {7, 8}  # one program for each run


def test_rolling_netcdf_has_the_times_of_the_starts(tmp_path):
    xarray = pytest.importorskip("xarray")
    hours = np.datetime64("2020-02-28T14") + np.arange(12) * np.timedelta64(1, "h")
    data = xarray.Dataset({"rain": (("time", "y", "x"), movie(dtype=np.float32)[..., 0])}, {"time": hours})
    data.to_netcdf(tmp_path / "a.nc")
    run(tmp_path / "a.nc", rolling=True, every=1, out="b.nc")
    with xarray.open_dataset("b.nc") as found:
        assert found["rain"].shape == (9, 2, 8, 10)
        assert (found["start_time"].values == hours[3:]).all()
    run(tmp_path / "a.nc", rolling=True, out="c.nc")
    with xarray.open_dataset("c.nc") as found:
        assert (found["time"].values == hours[3:]).all()
        assert found["rain"].shape == (9, 8, 10)


@pytest.mark.parametrize("dims", [("lead", "y", "x"), ("time", "window", "start"), ("time", "lead", "start_time")])
def test_rolling_netcdf_finds_names_that_are_free(tmp_path, dims):
    xarray = pytest.importorskip("xarray")
    hours = np.datetime64("2020-02-28T14") + np.arange(12) * np.timedelta64(1, "h")
    frames = movie(dtype=np.float32)
    data = xarray.Dataset({"rain": (dims, frames[..., 0])}, {dims[0]: hours, dims[1]: np.arange(8), dims[2]: np.arange(10)})
    data.to_netcdf(tmp_path / "a.nc")
    run(tmp_path / "a.nc", rolling=True, every=1, out="b.nc")
    with xarray.open_dataset("b.nc") as found:
        truth = np.stack([Line().of(frames[None, s - 3 : s], 2)[0, ..., 0] for s in range(3, 12)])
        np.testing.assert_allclose(found["rain"].values, truth, rtol=1e-5)
        windows, leads, *space = found["rain"].dims
        assert space == list(dims[1:])
        assert found[leads].values.tolist() == [1, 2]
        along = {name: item.values.tolist() for name, item in found.variables.items() if item.dims == (windows,)}
        assert list(range(3, 12)) in along.values()
        assert hours[3:].astype("M8[ns]").tolist() in along.values()
    # What was written goes on in turn, window after window; its lead times are channels.
    run("b.nc", Line(3, 2, 2, 2), out="c.nc", rolling=True, every=1)
    with xarray.open_dataset("c.nc") as found:
        assert found["rain"].shape == (6, 2, 2, 8, 10)


def test_gaps_in_time_are_an_error_at_the_end_and_left_out_along_the_way(tmp_path):
    frames = movie(20)
    hours = np.datetime64("2020-01-01T00") + np.array([*range(10), *range(12, 22)])
    source = saved(tmp_path / "a.npz", frames, time=hours)
    with pytest.raises(InputError, match=r"there is a jump before frame 10 \(2020-01-01T12\); choose another --start"):
        run(source, start=12)
    results = run(source, rolling=True, out="b.npz")
    found = np.load("b.npz")
    starts = [s for s in range(3, 20, 2) if not s - 3 < 10 < min(s + 2, 20)]
    places = [place for s in starts for place in range(s, min(s + 2, 20))]
    assert results["windows"] == len(starts)
    assert results["windows_left_out_across_gaps"] == 9 - len(starts)
    assert found["time"].tolist() == hours[places].tolist()
    truth = np.concatenate([Line().of(frames[None, s - 3 : s], 2)[0] for s in starts])[: len(places)]
    np.testing.assert_array_equal(found["rain"], as_integers(truth)[..., 0])
    assert run(source, start=12, out="c.npz", reading={"time": "none"})["windows"] == 1
    # Truth ends where time jumps; times go on.
    results = run(source, start=9, horizon=3, out="d.npz")
    assert np.isfinite(results["per_lead_time"]["stlight"]["mse"]).tolist() == [True, False, False]
    assert np.load("d.npz")["time"].tolist() == (hours[9] + np.arange(3)).tolist()


@pytest.mark.parametrize("torn", [0, 1])
def test_a_sequence_without_forecasts_is_named(tmp_path, capsys, torn):
    folder, hours = tmp_path / "many", np.datetime64("2020-01-01T00") + np.arange(12)
    folder.mkdir()
    for number in range(2):
        times = hours + np.arange(12) // 3 * 5 * (number == torn)  # never four frames without a gap
        saved(folder / f"{number}.npz", movie(), time=times)
    results = run(folder, rolling=True, out="b", json="b.json")
    assert [item.name for item in pathlib.Path("b").glob("*.npz")] == [f"{1 - torn}.npz_rain.npz"]
    told = f"no forecast, and no file, of {torn}.npz#rain: nowhere are 3 frames, and those to predict, without a gap in time"
    assert told in capsys.readouterr().err
    assert results["sequences_without_forecasts"] == [f"{torn}.npz#rain"]


def test_rolling_along_a_long_file_takes_little_memory(tmp_path, monkeypatch):
    frames = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (10_000, 40, 40))  # 16 MB
    frames[:] = (np.arange(10_000) % 200)[:, None, None]
    frames.flush()
    del frames
    monkeypatch.setattr(raw, "BLOCK_BYTES", 2**20)
    monkeypatch.setattr(clips, "_BYTES_AT_ONCE", 2**20)
    source = tmp_path / "a.npy"
    run(source, rolling=True, horizon=50, start=9_900, out="warm.npy")
    tracemalloc.start()
    results = run(source, rolling=True, horizon=50, out="b.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert results["windows"] == 200
    assert np.load("b.npy", mmap_mode="r").shape == (9_997, 40, 40)
    assert peak < 12e6  # the file has 16, its predictions as float32 have 64


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
    np.testing.assert_array_equal(np.load(found / "deep_a.npz_rain.npz")["rain"], truth[1, ..., 0])
    with pytest.raises(InputError, match="holds 2 sequences, each of which goes into a file of its own"):
        run(folder, out="e.npy")
    run(folder, out="f", kind="png", start=4)
    assert len(list((tmp_path / "here" / "f").glob("*.png"))) == 2


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
    assert f"{name} has no place for the fill value {fill:g}; arrays are written as float32" in told
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
    assert np.load("b.npy").shape == (2, 8, 10, 1)


def test_a_window_without_any_value_is_missing_and_does_not_end_a_long_run(tmp_path):
    frames = movie(12, dtype=np.float32)
    frames[3:6] = np.nan
    results = run(saved(tmp_path / "a.npy", frames), rolling=True, horizon=3, out="b.npy")
    assert results["windows_without_values"] == 1
    found = np.load("b.npy")
    assert np.isnan(found[3:6]).all()
    assert np.isfinite(found[[0, 1, 2]]).all()


def kept_pages(monkeypatch):
    """What pages are made of; they are empty."""
    pages = []

    def keep(path, *content):
        path.touch()
        pages.append((path, *content))

    monkeypatch.setattr(predict_module, "_write_report", keep)
    return pages


def test_clips_for_a_page(tmp_path, monkeypatch):
    frames = movie(40, dtype=np.float32)
    frames += 30 * np.random.default_rng(5).random(frames.shape).astype(np.float32)
    frames[30] += 100
    frames[21:23, 1:] = np.nan  # hardly anything to be wrong in, but that is more wrong than elsewhere
    frames[21:23, 0] += 25
    pages = kept_pages(monkeypatch)
    results = run(saved(tmp_path / "a.npy", frames), rolling=True, out="b.npy", report="")
    ((_, of, shown, _),) = pages
    assert (tmp_path / "here" / "b.html").is_file()
    assert of is results
    errors, per_value = {}, {}
    for start in range(3, 40, 2):
        truth = frames[start : start + 2]
        guess = Line().of(frames[None, start - 3 : start], 2)[0, : len(truth)]
        errors[start] = (
            np.nansum(np.square((guess - truth) / 255), (1, 2, 3)).sum() / (~np.isnan(guess - truth)).any((1, 2, 3)).sum()
        )
        per_value[start] = np.nanmean(np.square((guess - truth) / 255))
    ordered = sorted(per_value, key=per_value.get)
    assert min(errors, key=errors.get) != ordered[0]
    wanted = {}  # none is shown twice
    for name, start in ("first", 3), ("best", ordered[0]), ("median", ordered[(len(ordered) - 1) // 2]), ("worst", ordered[-1]):
        wanted.setdefault(start, []).append(name)
    titles = [f"{' and '.join(names).capitalize()}: a.npy, frame {start}" for start, names in wanted.items()]
    assert [clip.title for clip in shown] == titles
    for clip in shown:
        start = int(clip.title.rpartition(" ")[2])
        np.testing.assert_allclose(clip.inputs, frames[start - 3 : start] / 255, rtol=1e-5)
        known = frames[start : start + 2] / 255
        np.testing.assert_allclose(clip.truth[: len(known)], known, rtol=1e-5)
        assert np.isnan(clip.truth[len(known) :]).all()
        np.testing.assert_allclose(clip.prediction, Line().of(frames[None, start - 3 : start], 2)[0] / 255, rtol=1e-4)
        said = [float(number) for number in re.fullmatch("MSE (.*), (.*) per value", clip.note).groups()]
        assert said == pytest.approx([errors[start], per_value[start]], rel=6e-3)


def test_the_first_clip_may_be_the_best_too(tmp_path, monkeypatch):
    frames = movie(40, dtype=np.float32)
    frames[5:] += 30 * RNG.random(frames[5:].shape).astype(np.float32)  # only the first forecast can be right
    pages = kept_pages(monkeypatch)
    run(saved(tmp_path / "a.npy", frames), rolling=True, out="b.npy", report="")
    assert [clip.title.partition(":")[0] for clip in pages[0][2]] == ["First and best", "Median", "Worst"]


def test_a_page_shows_forecasts_with_and_without_truth(tmp_path):
    """The last forecast is known in part: what is not known of its truth is missing."""
    source = saved(tmp_path / "a.npy", movie(12))
    run(source, out="b.npy", report="")
    text = pathlib.Path("b.html").read_text()
    assert "a.npy: predicted" in text
    assert ">Metrics<" not in text
    run(source, start=11, out="c.npy", report="c.html")
    text = pathlib.Path("c.html").read_text()
    for heading in ("Metrics", "Forecasts", "Lead time", "Provenance"):
        assert f">{heading}</h2>" in text
    content = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    (clip,) = content["clips"]
    assert [(row["name"], row["of"]) for row in clip["rows"]] == [
        ("input", 3), ("truth", 2), ("prediction", 2), ("difference", 2),
    ]  # fmt: skip


def test_what_is_there_is_kept_unless_told_otherwise(tmp_path, current_folder):
    source = saved(tmp_path / "a.npy", movie())
    (current_folder / "b.npy").write_text("before")
    with pytest.raises(InputError, match="b.npy is there already; give another name .--out=NAME., or --overwrite"):
        run(source, out="b.npy")
    run(source, out="b.npy", overwrite=True)
    assert np.load("b.npy").shape == (2, 8, 10)
    with pytest.raises(InputError, match="a.npy is, or holds, what is read from"):
        run(source, out=str(source), overwrite=True)
    (current_folder / "c").mkdir()
    (current_folder / "c" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="c is a folder with letter.txt in it"):
        run(source, out="c", overwrite=True)


def test_a_page_that_is_there_is_named_by_its_own_option(tmp_path, current_folder):
    source = saved(tmp_path / "a.npy", movie())
    (current_folder / "b.html").write_text("before")
    with pytest.raises(InputError, match="b.html is there already; give another name .--report=NAME., or --overwrite"):
        run(source, out="b.npy", report="")
    assert os.listdir(current_folder) == ["b.html"]


def test_more_than_disk_or_memory_hold_is_refused_before_any_work(tmp_path, current_folder, monkeypatch):
    source = saved(tmp_path / "a.npy", movie())
    with pytest.raises(
        InputError, match=r"--horizon=1000000000000: .* would take 320,000.0 GB of memory, and .*; predict fewer"
    ):
        run(source, out="b.npy", horizon=10**12)  # of 8 x 10 float32
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(total=1000, free=159))
    with pytest.raises(InputError, match=r"b.npy would take 0.0 GB, and 0.0 GB are free there; predict less"):
        run(source, out="b.npy", horizon=2)  # of 8 x 10 bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(total=1000, free=160))
    run(source, out="b.npy", horizon=2)
    assert os.listdir(current_folder) == ["b.npy"]


def test_interrupted_it_leaves_nothing(tmp_path, current_folder):
    model = Line()
    model.of = lambda frames, horizon: (_ for _ in ()).throw(KeyboardInterrupt)
    for kind in ("npy", "npz", "h5", "nc", "gif", "mp4"):
        with pytest.raises(KeyboardInterrupt):
            run(saved(tmp_path / "a.npy", movie(size=(16, 16))), model, rolling=True, out=f"b.{kind}")
    with pytest.raises(KeyboardInterrupt):
        run(saved(tmp_path / "a.npy", movie(size=(16, 16))), model, rolling=True, out="b")
    assert not list(current_folder.iterdir())


@pytest.mark.parametrize(
    ("frames", "settings", "message"),
    [
        (movie(2), {}, "a.npy has 2 frames; the model sees 3, so at least 3 are needed"),
        (movie(3), {"rolling": True}, "so at least 4 with --rolling are needed"),
        (movie(4), {"reading": {"frame_step": 2}}, "the model sees 3, 2 apart, so at least 5 are needed"),
        (movie()[0], {}, r"has shape \[8, 10\]; expected frames"),
        (movie(channels=3), {}, r"a.npy has frames of shape \[8, 10, 3\], 3 channels; the model sees 1"),
        (np.full((5, 8, 10, 1), np.nan), {}, "all values of the frames to predict from are missing"),
        (np.zeros((5, 8, 10, 1), complex), {}, "holds complex128; expected integers, floats or bool"),
        (movie(), {"horizon": 0}, "--horizon=0: give at least 1"),
        (movie(), {"horizon": -3}, "--horizon=-3: give at least 1"),
        (movie(), {"start": 2}, "--start=2: a.npy has 12 frames, and 3 must come before; give 3 to 12"),
        (movie(), {"start": -10}, "--start=-10: a.npy has 12 frames, and 3 must come before"),
        (movie(), {"start": 13}, "--start=13: a.npy has 12 frames; give 3 to 12"),
        (movie(), {"every": 2}, "--every=2: it goes with --rolling"),
        (movie(), {"every": 0, "rolling": True}, "--every=0: give at least 1"),
        (movie(), {"every": 1, "rolling": True, "out": "b.mp4"}, "forecasts that overlap, or lie apart, are no sequence"),
        (movie(), {"rolling": True, "out": "b.png"}, "a strip shows one forecast"),
        (movie(), {"out": "b.doc"}, "--out=b.doc: nothing writes .doc; end it in one of mp4, gif"),
        (movie(), {"out": "gs://bucket/b.npy"}, "predictions are written to local disks"),
        (movie(), {"kind": "doc"}, "--kind=doc: choose one of"),
        (movie(), {"kind": "gif", "out": "b.npy"}, "--out=b.npy and --kind=gif are of different kinds"),
        (movie(), {"kind": "npy", "out": "b"}, "--out=b has no ending; name the file b.npy"),
        (movie(), {"json": "b.txt"}, "--json=b.txt: expected the name of a file that ends in .json"),
        (movie(), {"report": "b.txt"}, "--report=b.txt: expected the name of a file that ends in .html"),
        (movie(), {"truth": "nowhere.npy"}, "nowhere.npy: there is no such file or folder"),
        (movie(), {"reading": {"layout": "nthwc"}}, "--layout=nthwc asks for 5 axes"),
        (movie(), {"reading": {"variable": "x"}}, "--variable is 'x', but a .npy file has no named arrays; leave"),
        (movie(), {"reading": {"fill_value": np.nan}}, "--fill_value=nan: give a number, or none"),
        (movie(dtype=np.float32), {"reading": {"fill_value": np.inf}}, "--fill_value=inf: give a number, or none"),
        (movie(), {"reading": {"height": 8}}, "--height=8 and --width=0: give both, each at least 1, or neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(tmp_path, current_folder, frames, settings, message):
    source = saved(tmp_path / "a.npy", frames)
    with pytest.raises(InputError, match=message) as told:
        run(source, **settings)
    assert "\n" not in str(told.value)
    assert not list(current_folder.iterdir())


def test_frames_of_two_channels_are_no_video(tmp_path):
    source = saved(tmp_path / "a.npy", movie(channels=2))
    with pytest.raises(InputError, match="b.mp4: frames of 2 channels are no pictures"):
        run(source, Line(in_channels=2, out_channels=2), out="b.mp4")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.nc", "a.gif", "a.mp4", "a.png"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY junk", b"GIF89a"])
def test_files_that_are_empty_or_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        run(tmp_path / name)


def command(*arguments, folder):
    """As a shell has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "stlight_jax", "predict", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_bad_flags_are_status_2_and_one_line(tmp_path):
    wanted = {
        ("a.npy", "--workdir=runs/a", "--model=tiny"): "error: give either --workdir=RUN, a model you have trained, or",
        ("gs://bucket/a.npy", "--model=tiny"): "error: gs://bucket/a.npy: frames are read from local folders; copy them",
        ("a.npy", "--model=tiny", "--fill_value=-inf"): "error: --fill_value=-inf: give a number, or none",
    }
    (tmp_path / "a.npy").touch()
    for arguments, message in wanted.items():
        started = command(*arguments, folder=tmp_path)
        out, err = started.communicate()
        assert started.returncode == 2
        assert err.startswith(message)
        assert (out, err.count("\n")) == ("", 1)


@pytest.fixture(scope="module")
def digits():
    """Two sequences of Moving MNIST that the shipped network has not seen, uint8 [2, 20, 32, 32, 1]."""
    return open_test(load_config("tiny")).frames(np.arange(2))


def test_the_shipped_network_by_the_command(tmp_path, digits):
    np.save(tmp_path / "a.npy", digits)
    flags = ("--model=tiny", "--start=10", "--out=b.npy", "--json=b.json", "--report=none")
    started = command("a.npy", *flags, folder=tmp_path)
    out, err = started.communicate()
    assert started.returncode == 0, err
    prediction = Forecaster.load("tiny")(digits[:, :10], dtype="float32")
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), np.clip(prediction, 0, 255), atol=0.51)
    results = json.loads((tmp_path / "b.json").read_text())
    squares = np.square(prediction / 255 - digits[:, 10:] / 255).sum((2, 3, 4))
    np.testing.assert_allclose(results["per_lead_time"]["stlight"]["mse"], squares.mean(0), rtol=1e-3)
    assert results["overall"]["stlight"]["mse"] < results["overall"]["copy_last_frame"]["mse"] / 2
    assert "2 forecasts" in out
    assert "copied" not in err


def test_the_flags_of_a_forecaster_reach_it(tmp_path, grey):
    """And in other units the training's fill value, by the file's description 0.25, is a number like others."""
    config = {"dataset": "frames", "data": {"fill_value": 0.25}}
    model = dataclasses.replace(grey, description={**grey.description, "config": config})
    trained.write(tmp_path / "m.stlight", model)
    frames = np.random.default_rng(2).random((3, 30, 40), np.float32)
    frames[:, 5, 5] = 0.25
    np.save(tmp_path / "a.npy", frames)
    flags = ("--rollout=frames", "--tile=24", "--overlap=6", "--value_range=0,1", "--horizon=3")
    started = command("a.npy", "--workdir=m.stlight", *flags, "--out=b.npy", "--report=none", folder=tmp_path)
    _, err = started.communicate()
    assert started.returncode == 0, err
    assert "cut into 4 tiles of at most 24 x 24, with an overlap of 6 pixels" in err
    settings = {"rollout": "frames", "tile": 24, "overlap": 6, "value_range": (0, 1)}
    forecaster = Forecaster.load(tmp_path / "m.stlight", **settings)
    expected = forecaster(frames, horizon=3)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), expected)
    for name in settings:  # each of them matters
        other = Forecaster(model, **{key: value for key, value in settings.items() if key != name})
        other._pass._programs = forecaster._programs  # many of which are compiled
        assert np.abs(other(frames, horizon=3) - expected).max() > 1e-3


def test_integers_that_are_no_fill_value_are_not_taken_for_one(tmp_path, grey):
    """--fill_value=none: what stood for missing values in training is a number like others in this file."""
    filled = dataclasses.replace(
        grey, description={"scaling": dataclasses.asdict(grey.scaling) | {"fill": 0.0, "missing": True}}
    )
    frames = np.random.default_rng(3).integers(1, 256, (3, 8, 12)).astype(np.uint8)
    frames[:, 4, 5] = 0
    forecaster = Forecaster(filled)
    run(saved(tmp_path / "a.npy", frames[..., None]), forecaster, out="b.npy", dtype="float32", reading={"fill_value": None})
    found = np.load("b.npy")
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, forecaster(frames.astype(np.float32)))
    assert np.isnan(forecaster(frames, dtype="float32")[:, 4, 5]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize(("number", "status", "said"), [("SIGINT", 130, "interrupted\n"), ("SIGTERM", 143, "terminated\n")])
def test_ctrl_c_and_sigterm_leave_nothing(tmp_path, digits, number, status, said):
    np.save(tmp_path / "a.npy", np.tile(digits[0], (5_000, 1, 1, 1)))
    started = command("a.npy", "--model=tiny", "--rolling", folder=tmp_path)
    while not list(tmp_path.glob(".a_predicted.unfinished*")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.1)
    started.send_signal(getattr(signal, number))
    out, err = started.communicate()
    assert started.returncode == status
    assert err.endswith(said)
    assert "Traceback" not in err
    assert out == ""
    assert {item.name for item in tmp_path.iterdir()} == {"a.npy", "here"}


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
