"""From OpenSTL's files to training, validation and test windows of the benchmarks."""

import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax import InputError
from stlight_jax.data.datasets.kitti_caltech import KittiCaltech
from stlight_jax.data.datasets.kth import Kth
from stlight_jax.data.datasets.taxibj import TaxiBJ
from stlight_jax.data.load import open_test, open_training
from stlight_jax.data.prepare import prepare
from stlight_jax.data.windows import permutation
from tests.data.datasets import test_kitti_caltech, test_kth, test_taxibj
from tests.data.prepared_arrays import shifted
from tests.data.window_arrays import LENGTH, everything, load


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    """KTH, TaxiBJ and KITTI -> Caltech, prepared from tiny raw files in one folder."""
    base = tmp_path_factory.mktemp("benchmarks")
    test_kth.write_tree(base / "kth")
    (base / "taxibj").mkdir()
    np.savez(base / "taxibj" / "dataset.npz", **test_taxibj.arrays())
    folder = base / "kitti" / "kitticaltech_npy"
    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        np.save(folder / f"{split}_data.npy", test_kitti_caltech.images(80, number))
        np.save(folder / f"{split}_idx.npy", np.arange(6) * 13)
    for dataset, raw in ((Kth, "kth"), (TaxiBJ, "taxibj"), (KittiCaltech, "kitti")):
        prepare(dataset, epath.Path(base / raw), epath.Path(base / "out"))
    return base


def kth_windows(persons):
    """The first pixel of every frame of every window, as OpenSTL cuts them."""
    clips = [clip for clip in test_kth.NUMBERS if clip.split("person")[1][:2] in persons]
    frames = [test_kth.pixels(clip, number)[0, 0, 0] for clip in clips for number in test_kth.NUMBERS[clip]]
    return [frames[start : start + LENGTH] for start in test_kth.openstl_windows(clips, LENGTH)]


@pytest.mark.parametrize("memory", [0, 256])
def test_kth_is_cut_as_openstl_does_and_validated_on_its_test_set(benchmarks, memory):
    config = load("kth", benchmarks / "out", memory=memory)
    training, validation = open_training(config)
    test = open_test(config)
    expected = np.array(kth_windows(("01", "16", "02")), np.uint8)
    np.testing.assert_array_equal(everything(training, 1)[..., 5, 7, 0], expected[permutation(len(expected), 7, 1)])
    for source in (validation, test):
        np.testing.assert_array_equal(everything(source)[..., 5, 7, 0], np.array(kth_windows(("17", "25")), np.uint8))
        assert source.description["published"]
    assert not training.description["published"]
    assert len(open_test(load("kth", benchmarks / "out", stride=1))) > len(test)
    assert not open_test(load("kth", benchmarks / "out", stride=1)).description["published"]


@pytest.mark.parametrize(("fraction", "persons"), [(0.01, {"02"}), (0.34, {"02", "16"}), (0.5, {"02", "16"})])
def test_held_out_persons_are_not_trained_on(benchmarks, fraction, persons):
    # Clips of persons 01 (boxing), 16 (clapping, too short here unless windows are) and 02 (running).
    config = load("kth", benchmarks / "out", validation="held_out", validation_fraction=fraction)
    config.model.update(in_frames=2, out_frames=1)
    training, validation = open_training(config)
    held = {clip["name"].split("person")[1][:2] for clip in validation._clips.table}
    trained = {clip["name"].split("person")[1][:2] for clip in training._clips.table}
    assert held == persons
    assert trained == {"01", "02", "16"} - persons
    places = [set(source._windows.frames(np.arange(len(source))).ravel().tolist()) for source in (training, validation)]
    assert not places[0] & places[1]


def test_nothing_may_be_left_to_train_on(benchmarks):
    with pytest.raises(InputError, match="data.validation_fraction is 0.9: nothing is left to train on of 3 clip"):
        open_training(load("kth", benchmarks / "out", validation="held_out", validation_fraction=0.9))


def test_held_out_items_of_one_clip_share_no_frames_with_the_others(benchmarks):
    config = load("kitti_caltech", benchmarks / "out", validation="held_out", validation_fraction=0.3)
    config.model.update(in_frames=10, out_frames=1)
    training, validation = open_training(config)
    assert validation._windows.frames(np.arange(2))[:, 0].tolist() == [52, 65]
    assert training._windows.frames(np.arange(4))[:, 0].tolist() == [0, 13, 26, 39]
    assert (len(training), len(validation)) == (4, 2)
    # Five items of TaxiBJ, each of which shares frames with the next seven: none can be held out.
    with pytest.raises(InputError, match="nothing is left to train on of 1 clip"):
        open_training(load("taxibj", benchmarks / "out", validation="held_out"))


def test_colours_are_as_the_files_have_them_or_all_rgb(benchmarks):
    stored = {}
    for order in ("openstl", "rgb"):
        config = load("kitti_caltech", benchmarks / "out", colour_order=order)
        config.model.update(in_frames=10, out_frames=1)
        training, validation = open_training(config)
        stored[order] = everything(training), everything(validation), everything(open_test(config))
    raw = test_kitti_caltech.images(80, 1)
    expected = np.stack([raw[start : start + 11] for start in np.arange(6) * 13])
    np.testing.assert_array_equal(stored["openstl"][2], expected)
    np.testing.assert_array_equal(stored["rgb"][2], expected[..., ::-1])
    np.testing.assert_array_equal(stored["rgb"][1], expected[..., ::-1])  # the same frames for validation
    np.testing.assert_array_equal(stored["rgb"][0], stored["openstl"][0])  # KITTI is in RGB anyway


def test_the_past_of_a_benchmark_is_within_its_windows_stretch(benchmarks):
    """The items of TaxiBJ lie nobody knows how far apart."""
    config = load("taxibj", benchmarks / "out")
    config.model.update(in_frames=4, out_frames=4)
    config.evaluation.cycle = 4
    test = open_test(config)
    frames = everything(test)
    before, there = shifted(test, np.arange(len(test)), 4, 4)
    assert there.all()
    np.testing.assert_array_equal(before, frames[:, :4])
    for cycle in (5, 8, 9, 18):
        assert not shifted(test, np.arange(len(test)), cycle, 4)[1].any()


def test_benchmarks_that_are_not_prepared_say_how(tmp_path, benchmarks, monkeypatch):
    config = load("kth", tmp_path)
    how = "run `python -m stlight_jax prepare kth --raw=RAW --out=FOLDER` and give --config.data.root=FOLDER"
    with pytest.raises(InputError, match=f"data.root is .*, and kth is not prepared there; {re.escape(how)}"):
        open_training(config)
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    config.data.root = ""
    with pytest.raises(InputError, match="data.root is empty, so TFDS's default folder was searched, and kth is not prepared"):
        open_test(config)
    config.data.root = str(benchmarks / "out" / "taxibj" / "1.0.0")
    with pytest.raises(InputError, match="holds the data set taxibj; expected kth"):
        open_test(config)
    config.data.root = str(benchmarks / "out" / "kth" / "1.0.0")
    assert len(open_test(config))


def test_held_out_windows_whose_places_overlap_take_no_frames_from_training(tmp_path):
    folder = tmp_path / "raw" / "kitticaltech_npy"
    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        np.save(folder / f"{split}_data.npy", test_kitti_caltech.images(80, number))
        np.save(folder / f"{split}_idx.npy", np.arange(20) * 3)  # windows of 11 frames, 3 apart
    prepare(KittiCaltech, epath.Path(tmp_path / "raw"), epath.Path(tmp_path / "out"))
    config = load("kitti_caltech", tmp_path / "out", validation="held_out", validation_fraction=0.2)
    config.model.update(in_frames=10, out_frames=1)
    training, validation = open_training(config)
    firsts = [source._windows.frames(np.arange(len(source)))[:, 0].tolist() for source in (training, validation)]
    assert firsts == [[3 * i for i in range(13)], [48, 51, 54, 57]]  # 36 + 11 frames end before 48; 39 + 11 do not


def test_held_out_items_of_taxibj_leave_out_those_that_share_half_hours(tmp_path):
    items = {}
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 3)):
        half_hours = rng.uniform(-1, 1, (count + 7, 2, 32, 32)).astype(np.float32)
        whole = np.stack([half_hours[i : i + 8] for i in range(count)])  # an item begins half an hour after the one before
        items |= {f"X_{split}": whole[:, :4], f"Y_{split}": whole[:, 4:]}
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw" / "dataset.npz", **items)
    prepare(TaxiBJ, epath.Path(tmp_path / "raw"), epath.Path(tmp_path / "out"))
    config = load("taxibj", tmp_path / "out", validation="held_out", validation_fraction=0.1)
    config.model.update(in_frames=4, out_frames=4)
    training, validation = open_training(config)
    assert (len(training), len(validation)) == (30 - 3 - 7, 3)
    seen, kept_back = (
        {frame.tobytes() for frames in everything(source) for frame in frames} for source in (training, validation)
    )
    assert not seen & kept_back
    assert len(seen) == 20 + 7
