"""`--overwrite` replaces predictions, and nothing else."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.forecasting.outputs import check_free
from tests.forecasting.line import Line, movie, run, saved


def content(folder):
    return {str(item): item.read_bytes() for item in pathlib.Path(folder).rglob("*") if item.is_file()}


def refused(message, source, **settings):
    """With and without --overwrite; everything stays as it was."""
    before = content(".")
    for overwrite in (True, False):
        with pytest.raises(InputError, match=message if overwrite else ".") as told:
            run(source, overwrite=overwrite, **settings)
        assert "\n" not in str(told.value)
        assert content(".") == before


def test_a_folder_of_ones_own_stays_whatever_is_in_it(current_folder):
    source = saved(current_folder / "a.npy", movie())
    (current_folder / "mine").mkdir()
    np.save("mine/precious.npy", np.arange(9))
    refused("mine is a folder with precious.npy in it, which predict has not written", source, out="mine")
    pictures = saved(current_folder / "other", movie())
    pictures.joinpath("frame0.png").rename(pictures / "00012.png")
    refused("other is a folder with 00012.png in it", source, out="other")


def test_a_folder_of_predictions_is_replaced_as_long_as_nothing_else_is_in_it(current_folder):
    source = saved(current_folder / "a.npy", movie(12))
    run(source, out="b", horizon=4)
    run(source, out="b", horizon=2, overwrite=True)
    assert sorted(item.name for item in pathlib.Path("b").glob("*.png")) == ["00012.png", "00013.png"]
    shutil.copytree("b", "c")
    run(source, out="c", horizon=3, overwrite=True)  # it may have been moved
    assert len(list(pathlib.Path("c").glob("*.png"))) == 3
    np.save("b/precious.npy", np.arange(9))
    refused("b is a folder with precious.npy in it", source, out="b")
    (current_folder / "empty").mkdir()
    run(source, out="empty", overwrite=True)
    assert len(list(pathlib.Path("empty").glob("*.png"))) == 2


@pytest.mark.parametrize("kind", ["npy", "pictures"])
def test_what_comes_to_be_there_meanwhile_stays(current_folder, monkeypatch, kind):
    """Two runs with one destination, or a user who copies something there."""
    place = current_folder / ("b.npy" if kind == "npy" else "b")
    first_steps = Line.__call__

    def late(self, *args, **kwargs):
        place.mkdir() if kind == "pictures" else place.write_text("precious")
        return first_steps(self, *args, **kwargs)

    monkeypatch.setattr(Line, "__call__", late)
    source = saved(current_folder / "a.npy", movie(12))
    with pytest.raises(InputError, match=r"b(\.npy)? was created by another process during this run and was not overwritten"):
        run(source, out=place.name, kind=kind)
    assert list(place.iterdir()) == [] if kind == "pictures" else place.read_text() == "precious"
    assert {item.name for item in current_folder.iterdir()} == {"a.npy", place.name}


@pytest.mark.parametrize("before", [True, False])
def test_what_comes_into_a_folder_meanwhile_stays_with_overwrite_too(current_folder, monkeypatch, before):
    first_steps, source = Line.__call__, saved(current_folder / "a.npy", movie(12))
    if before:
        run(source, out="b", kind="pictures")

    def late(self, *args, **kwargs):
        (current_folder / "b").mkdir(exist_ok=True)
        (current_folder / "b" / "precious.txt").write_text("mine")
        return first_steps(self, *args, **kwargs)

    monkeypatch.setattr(Line, "__call__", late)
    with pytest.raises(InputError, match=r"b is a folder that contains precious.txt, which this program did not write"):
        run(source, out="b", kind="pictures", overwrite=True)
    assert (current_folder / "b" / "precious.txt").read_text() == "mine"
    assert len(list((current_folder / "b").glob("*.png"))) == (2 if before else 0)
    assert {item.name for item in current_folder.iterdir()} == {"a.npy", "b"}


@pytest.mark.parametrize("name", ["r.html", "r.json"])
def test_a_page_or_figures_that_come_meanwhile_stay(current_folder, monkeypatch, name):
    first_steps = Line.__call__

    def late(self, *args, **kwargs):
        pathlib.Path(name).write_text("precious")
        return first_steps(self, *args, **kwargs)

    monkeypatch.setattr(Line, "__call__", late)
    source = saved(current_folder / "a.npy", movie(12))
    with pytest.raises(InputError, match=f"{name} was created by another process during this run"):
        run(source, out="b.npy", report="r.html", json="r.json")
    assert pathlib.Path(name).read_text() == "precious"


def test_pages_and_figures_lie_beside_what_they_belong_to(current_folder):
    source = saved(current_folder / "a.npy", movie(12))
    saved(current_folder / "pics", movie())
    refused("r.json lies in b, the folder of predictions", source, out="b", json="b/r.json")
    refused("b/deep/r.html lies in b, the folder of predictions", source, out="b", report="b/deep/r.html")
    refused("r.html lies in pics, which is read", "pics", out="b", report="pics/r.html")
    saved(current_folder / "radar.2020", movie())
    run("radar.2020", report="")
    run("pics", out="deep.er.npy", report="")
    assert {item.name for item in current_folder.glob("*.html")} == {"radar.2020_predicted.html", "deep.er.html"}


def test_devices_are_no_destination(current_folder):
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        check_free(pathlib.Path("/dev/null"), (), overwrite=True)


def test_a_folder_of_several_files_is_replaced_too(current_folder):
    (current_folder / "many").mkdir()
    for name in "ab":
        saved(current_folder / "many" / f"{name}.npy", movie())
    for kind in ("npy", "pictures"):
        run("many", out=f"b_{kind}", kind=kind)
        run("many", out=f"b_{kind}", kind=kind, start=5, overwrite=True)
    assert sorted(item.name for item in pathlib.Path("b_npy").glob("*.npy")) == ["a.npy", "b.npy"]
    assert len(list(pathlib.Path("b_pictures").rglob("*.png"))) == 4
    np.save("b_pictures/a/precious.npy", np.arange(9))
    refused("b_pictures is a folder with a/precious.npy in it", "many", out="b_pictures", kind="pictures")


def test_a_folder_of_predictions_can_be_predicted_from(current_folder):
    run(saved(current_folder / "a.npy", movie(12)), out="b", horizon=4)
    run("b", out="c.npy")
    assert len(np.load("c.npy")) == 2


def test_what_is_read_is_never_replaced(current_folder):
    source = saved(current_folder / "a.npy", movie(12))
    saved(current_folder / "t.npy", movie(4))
    saved(current_folder / "pics", movie())
    refused("t.npy is, or contains, .*t.npy, which is read", source, truth="t.npy", out="t.npy")
    refused("frame2.png lies in pics, which is read", "pics", out="pics/frame2.png")
    refused("new.npy lies in pics, which is read", "pics", out="pics/new.npy")
    refused("pics is, or contains, pics, which is read", "pics", out="pics")
    saved(current_folder / "truth", movie(4))
    refused("next.png lies in truth, which is read", "pics", truth="truth", out="truth/next.png")
    (current_folder / "deep" / "er").mkdir(parents=True)
    refused(
        "deep is, or contains, .*deep/er/a.npy, which is read",
        saved(current_folder / "deep" / "er" / "a.npy", movie()),
        out="deep",
    )
    (current_folder / "link.npy").symlink_to(source)
    refused("a.npy is, or contains, .*, which is read", "link.npy", out="a.npy")
    (current_folder / "links").mkdir()
    (current_folder / "links" / "b.npy").symlink_to(source)
    refused("a.npy is, or contains, .*, which is read", "links", out="a.npy")
    refused("r.html lies in truth, which is read", "pics", truth="truth", out="b", report="truth/r.html")
    (current_folder / "gone.npy").symlink_to("nowhere.npy")
    with pytest.raises(InputError, match="gone.npy is a link to nowhere.npy, which does not exist"):
        run(source, out="gone.npy")


def test_a_file_does_not_take_the_place_of_a_folder_or_the_other_way_round(current_folder):
    source = saved(current_folder / "a.npy", movie())
    pathlib.Path("b").write_text("mine")
    refused("b is a file, and predictions are written to a folder; choose another name", source, out="b")
    pathlib.Path("c.npy").mkdir()
    refused("c.npy is a folder, and predictions are written to a file; choose another name", source, out="c.npy")
    for name in ("d.json", "d.html"):
        pathlib.Path(name).mkdir()
    refused("d.json is a folder", source, out="d.npy", json="d.json")
    refused("d.html is a folder", source, out="d.npy", report="d.html")


def test_a_strip_of_nothing_is_not_written(current_folder):
    source = saved(current_folder / "a.npy", np.full((12, 8, 10, 1), np.nan, np.float32))
    refused("all values of the frames to predict from are missing", source, out="b.png")


def test_a_strip_is_replaced(current_folder):
    source = saved(current_folder / "a.npy", movie())
    for _ in range(2):
        run(source, out="b.png", overwrite=True)
    assert Image.open("b.png").width > 0
