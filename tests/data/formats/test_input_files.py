"""What is found below a path, in which order, and under which names."""

import re

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions

FRAMES = np.zeros((3, 6, 5), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name in ("b/clip10.npy", "b/clip2.npy", "a.npy", ".hidden.npy", ".git/x.npy", "B/.x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, FRAMES) if name.endswith("npy") else (tmp_path / name).write_bytes(b"")
    for name in ("b/pictures/1.png", "b/pictures/2.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(FRAMES[0]).save(tmp_path / name)
    (tmp_path / "README.md").write_text("read me")
    return tmp_path


def names(path):
    return [s.name for s in open_sequences(path, ReadOptions())]


def test_folders_are_searched_in_natural_order(folder, capsys):
    assert names(folder) == ["a.npy", "b/clip2.npy", "b/clip10.npy", "b/pictures"]
    assert names(str(folder / "b")) == ["clip2.npy", "clip10.npy", "pictures"]
    assert "left out files of other kinds: 1 .md" in capsys.readouterr().err


def test_a_file_goes_by_its_name(folder):
    assert names(folder / "b" / "clip2.npy") == ["clip2.npy"]
    assert names(folder / "b" / "pictures") == ["pictures"]


def test_links_in_a_circle_are_followed_once(folder):
    (folder / "b" / "round").symlink_to(folder)
    assert names(folder) == ["a.npy", "b/clip2.npy", "b/clip10.npy", "b/pictures"]


def test_files_share_the_origin_of_their_dates(tmp_path):
    hours = np.datetime64("2020-01-01T00") + np.arange(5)
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 6, 5)), time=hours[3:])
    np.savez(tmp_path / "b.npz", x=np.zeros((4, 6, 5)), time=hours[:4])
    assert [s.ticks.tolist() for s in open_sequences(tmp_path, ReadOptions())] == [[3, 4], [0, 1, 2, 3]]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="nothing: no such file or folder"):
        names(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"found no files; expected videos \(.mp4"):
        names(tmp_path)
    for name in ("a.txt", "b.txt", "c"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="found 2 .txt, 1 without suffix; expected videos .* folders of pictures .* arrays"):
        names(tmp_path)
    with pytest.raises(InputError, match=r"a.txt: found 1 .txt; expected videos"):
        names(tmp_path / "a.txt")
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a.png is one picture; expected the folder"):
        names(tmp_path / "a.png")
    with pytest.raises(InputError, match="read from local folders"):
        names("gs://bucket/frames")


@pytest.mark.parametrize(("key", "choices"), [("layout", "auto, thw, thwc"), ("channels", "auto, grey, rgb")])
def test_options_that_do_not_exist(tmp_path, key, choices):
    with pytest.raises(InputError, match=f"data.{key} is 'x'; choose one of {choices}"):
        open_sequences(tmp_path, ReadOptions(**{key: "x"}))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.grib2", "grib_to_netcdf -o OUT.nc FILE, or xarray.open_dataset"),
        ("a.npy.gz", "unpack them"),
        ("a.bufr", "convert it to netCDF"),
        ("a.mat", "scipy.io.loadmat"),
        ("a.csv", "pandas or numpy.loadtxt"),
        ("a.json", "xarray's to_netcdf or to_zarr"),
        ("a.pt", "load them with torch"),
    ],
)
def test_other_kinds_are_named_with_a_way_to_convert_them(tmp_path, name, advice, capsys):
    (tmp_path / name).write_text("x")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=f"found 1 .{name.rsplit('.', 1)[-1]}; .* not read; .*{re.escape(advice)}"):
            names(path)
    np.save(tmp_path / "b.npy", FRAMES)
    assert names(tmp_path) == ["b.npy"]
    assert advice in capsys.readouterr().err


def test_equal_remarks_are_made_once(tmp_path):
    for number in range(9):
        np.savez(tmp_path / f"{number}.npz", x=np.zeros((2 + number % 2, 6, 5)), date=np.arange(2 + number % 2))
    remarks = [remark for s in open_sequences(tmp_path, ReadOptions()) for remark in s.remarks]
    assert remarks.count("float64 is read as float32 (9 sequences)") == 1
    assert len(remarks) == 2
