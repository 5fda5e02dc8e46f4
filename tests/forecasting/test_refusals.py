"""`stlight predict`: one clear line for what cannot be, before any work, and nothing lost."""

import os
import shutil
import types

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.forecasting.request import InputReader
from tests.forecasting.line import Line, movie, run, saved


def test_what_is_there_is_kept_unless_told_otherwise(tmp_path, current_folder):
    source = saved(tmp_path / "a.npy", movie())
    (current_folder / "b.npy").write_text("before")
    with pytest.raises(InputError, match="b.npy exists; choose another name .--out=NAME., or pass --overwrite"):
        run(source, out="b.npy")
    run(source, out="b.npy", overwrite=True)
    assert np.load("b.npy").shape == (2, 8, 10)
    with pytest.raises(InputError, match="a.npy is, or contains, .*a.npy, which is read"):
        run(source, out=str(source), overwrite=True)
    (current_folder / "c").mkdir()
    (current_folder / "c" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="c is a folder with letter.txt in it"):
        run(source, out="c", overwrite=True)


def test_more_than_disk_or_memory_hold_is_refused_before_any_work(tmp_path, current_folder, monkeypatch):
    source = saved(tmp_path / "a.npy", movie())
    with pytest.raises(InputError, match=r"--horizon=1000000000000: .* would take 320.0 TB of memory, and .*; predict fewer"):
        run(source, out="b.npy", horizon=10**12)  # of 8 x 10 float32
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(total=1000, free=159))
    with pytest.raises(InputError, match=r"b.npy would take 160 bytes, and 159 bytes are free in .*; predict less"):
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
        (movie()[0], {}, "a.npy has 1 frame; the model sees 3, so at least 3 are needed"),
        (movie(channels=3), {}, r"a.npy has frames of shape \[8, 10, 3\], 3 channels; the model sees 1"),
        (np.full((5, 8, 10, 1), np.nan), {}, "all values of the frames to predict from are missing"),
        (np.zeros((5, 8, 10, 1), complex), {}, "holds complex128; expected integers, floats or bool"),
        (movie(), {"horizon": 0}, "--horizon=0: give at least 1"),
        (movie(), {"horizon": -3}, "--horizon=-3: give at least 1"),
        (movie(), {"start": 2}, "--start=2: a.npy has 12 frames, and 3 must come before; give 3 to 12"),
        (movie(), {"start": -10}, "--start=-10: a.npy has 12 frames, and 3 must come before; give -9 to -1, or 3 to 12"),
        (movie(), {"start": 13}, "--start=13: a.npy has 12 frames, and 3 must come before; give 3 to 12"),
        (movie(1), {"start": 5}, "a.npy has 1 frame; the model sees 3, so at least 3 are needed"),
        (movie(), {"every": 2}, "--every=2: use it with --rolling"),
        (movie(), {"every": 0, "rolling": True}, "--every=0: give at least 1"),
        (movie(), {"every": 1, "rolling": True, "out": "b.mp4"}, "overlap, or lie apart, do not make one sequence"),
        (movie(), {"rolling": True, "out": "b.png"}, "a strip shows one forecast"),
        (movie(), {"out": "b.doc"}, "--out=b.doc: no format ends in .doc; choose one of .mp4, .gif"),
        (movie(), {"out": "b.tif"}, "--out=b.tif: no format .* .hdf5, .nc, .nc4, .netcdf, .* pictures are written to a folder"),
        (movie(), {"kind": "tif"}, "--kind=tif: .* pictures are written to a folder: --kind=pictures --out=FOLDER"),
        (movie(), {"out": "gs://bucket/b.npy"}, "predictions are written to local disks"),
        (movie(), {"kind": "doc"}, "--kind=doc: choose one of"),
        (movie(), {"kind": "gif", "out": "b.npy"}, "--out=b.npy and --kind=gif are of different kinds"),
        (movie(), {"kind": "npy", "out": "b"}, "--out=b has no ending; name the file b.npy"),
        (movie(), {"json": "b.txt"}, "--json=b.txt: expected the name of a file that ends in .json"),
        (movie(), {"report": "b.txt"}, "--report=b.txt: expected the name of a file that ends in .html"),
        (movie(), {"truth": "nowhere.npy"}, "nowhere.npy: no such file or folder"),
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
    with pytest.raises(InputError, match="b.mp4: frames have 2 channels, a video holds 1 or 3"):
        run(source, Line(in_channels=2, out_channels=2), out="b.mp4")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.nc", "a.gif", "a.mp4", "a.png"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY junk", b"GIF89a"])
def test_files_that_are_empty_or_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        run(tmp_path / name)


def test_an_option_of_the_training_that_does_not_fit_is_named_as_such(tmp_path):
    description = {"config": {"dataset": "frames", "data": {"fill_value": -9999.0}}}
    path = saved(tmp_path / "a.npy", movie())
    reader = InputReader.for_model(path, {}, description, 1)
    with pytest.raises(InputError, match="--fill_value is -9999, .* or none; --fill_value comes from the training"):
        reader.open(path)
    assert len(InputReader.for_model(path, {"fill_value": None}, description, 1).open(path)) == 1
