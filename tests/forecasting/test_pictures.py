"""`stlight predict` from pictures and animations: gaps, times in names, transparency."""

import datetime
import pathlib

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions
from tests.forecasting.line import Line, movie, run


def test_a_pause_among_the_frames_to_predict_from_is_refused(tmp_path):
    first, *rest = map(Image.fromarray, movie(8)[..., 0])
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=[100] * 5 + [5000] + [100] * 2)
    with pytest.raises(InputError, match="have a jump before frame 6; .*or ignore times with --time=none"):
        run(tmp_path / "a.gif", out="a.npy")
    run(tmp_path / "a.gif", out="a.npy", reading={"time": "none"})
    assert np.load("a.npy").shape == (2, 8, 10, 1)


def test_times_in_the_names_of_pictures_go_on(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    moments = np.datetime64("2026-06-01T23:35", "m") + 5 * np.arange(6)
    for moment, frame in zip(moments.tolist(), movie(6)[..., 0], strict=True):
        Image.fromarray(frame).save(tmp_path / "a" / f"rain_{moment:%Y%m%d%H%M}.png")
    run(tmp_path / "a", out="a.npz")
    assert np.array_equal(np.load("a.npz")["time"], np.datetime64("2026-06-02T00:05", "us") + np.array([0, 5 * 60_000_000]))
    assert "; --time=none ignores them" in "".join(capsys.readouterr())
    run(tmp_path / "a", out="b")
    assert sorted(path.name for path in pathlib.Path("b").glob("*.png")) == ["20260602T0005.png", "20260602T0010.png"]
    (again,) = open_sequences("b", ReadOptions())
    assert again.times.values.astype("M8[us]").tolist() == [datetime.datetime(2026, 6, 2, 0, minute) for minute in (5, 10)]


def test_transparent_pixels_are_transparent_in_the_output(tmp_path):
    (tmp_path / "a").mkdir()
    frames = movie(6)
    for place, frame in enumerate(frames):
        pixels = np.concatenate([frame, np.full_like(frame, 255)], -1)
        pixels[:3] = (200, 0)
        Image.fromarray(pixels, "LA").save(tmp_path / "a" / f"{place}.png")
    run(tmp_path / "a", out="b")
    (sequence,) = open_sequences("b", ReadOptions())
    found = np.concatenate(list(sequence.blocks()))
    expected = Line().of(frames[None, -3:], 2)[0]
    assert np.isnan(found[:, :3]).all()
    np.testing.assert_array_equal(found[:, 3:], np.rint(expected[:, 3:]))


@pytest.mark.parametrize(("out", "remarks"), [("b", 0), ("b.gif", 0), ("b.npy", 1)])
def test_pictures_need_no_other_type_for_missing_pixels(tmp_path, capsys, out, remarks):
    (tmp_path / "a").mkdir()
    for place, frame in enumerate(movie(6)):
        pixels = np.concatenate([frame, np.full_like(frame, 255)], -1)
        pixels[:3, :, 1] = 0
        Image.fromarray(pixels, "LA").save(tmp_path / "a" / f"{place}.png")
    run(tmp_path / "a", out=out)
    assert capsys.readouterr().err.count("cannot hold missing values; arrays are written as float32") == remarks
