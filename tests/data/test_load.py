"""From a config and raw files to training, validation and test sequences: a user's own frames, and the benchmarks."""

import errno
import os
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax import InputError
from stlight_jax.data import load as loading
from stlight_jax.data.datasets import KittiCaltech, Kth, TaxiBJ
from stlight_jax.data.datasets.frames import FramesOptions
from stlight_jax.data.load import open_test, open_training
from stlight_jax.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from stlight_jax.data.prepare import prepare, prepare_frames
from stlight_jax.data.windows import permutation
from stlight_jax.storage import caches
from tests.conftest import ROOT
from tests.data.datasets import test_kitti_caltech, test_kth, test_taxibj

IN, OUT = 3, 2
LENGTH = IN + OUT


def load(name, root, **data):
    """A config of `configs/` for windows of 3 and 2 frames."""
    namespace = {}
    exec((ROOT / "configs" / f"{name}.py").read_text(), namespace)
    config = namespace["get_config"]()
    config.model.update(in_frames=IN, out_frames=OUT)
    config.data.root = str(root)
    config.data.update(data)
    config.train.update(batch_size=4, seed=7)
    return config


def write(folder, frames=60, dtype=np.uint16, seed=0, name="a.npy", channels=2):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    array = (
        rng.random((frames, 6, 5, channels)) if np.dtype(dtype).kind == "f" else rng.integers(3, 250, (frames, 6, 5, channels))
    )
    array = array.astype(dtype)
    np.save(folder / name, array)
    return array


def slices(array, stride=1):
    return np.stack([array[first : first + LENGTH] for first in range(0, len(array) - LENGTH + 1, stride)])


def everything(source, epoch=0):
    return source.frames(np.arange(len(source)), epoch)


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


@pytest.mark.parametrize("memory", [0, 256])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_own_frames_are_cut_into_windows(raw, kept, memory, dtype):
    array = write(raw, dtype=dtype)
    config = load("frames", raw, prepared=str(kept), memory=memory, stride=2, evaluation_stride=3)
    config.evaluation.horizon = 3
    training, validation = open_training(config)
    expected = slices(array[:42], 2)
    assert training.shape == expected.shape[1:]
    for epoch in range(3):
        np.testing.assert_array_equal(everything(training, epoch), expected[permutation(len(expected), 7, epoch)])
    np.testing.assert_array_equal(everything(validation), array[None, 42:48])


def test_validation_and_test_keep_their_order_and_have_the_horizon_of_evaluations(raw, kept):
    array = write(raw, 100, np.float32)
    config = load("frames", raw, prepared=str(kept), evaluation_stride=2)
    config.evaluation.horizon = 5
    _, validation = open_training(config)
    test = open_test(config)
    for source, first, end in ((validation, 70, 80), (test, 80, 100)):
        expected = np.stack([array[start : start + 8] for start in range(first, end - 7, 2)])
        np.testing.assert_array_equal(everything(source), expected)
        np.testing.assert_array_equal(everything(source, epoch=5), expected)
        seen = [frames[mask] for frames, mask in evaluation_batches(source, 3)]
        np.testing.assert_array_equal(np.concatenate(seen), expected)
        assert not source.description["published"]
    config.train.horizon = 20
    assert open_training(config)[0].shape[0] == 23


@pytest.mark.parametrize("memory", [0, 256])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_every_batch_and_a_resumed_run_sees_the_tail(raw, kept, memory, processes):
    write(raw)
    training, _ = open_training(load("frames", raw, prepared=str(kept), memory=memory, evaluation_stride=1))
    last = 2 * steps_per_epoch(len(training), 4) + 3
    whole = list(training_batches(training, 4, 0, last))
    order = [permutation(len(training), 7, epoch) for epoch in range(3)]
    by_hand = training._windows
    for step, batch in enumerate(whole):
        epoch, position = divmod(step, len(training) // 4)
        places = by_hand.frames(order[epoch][4 * position : 4 * position + 4])
        np.testing.assert_array_equal(batch, np.stack([training._clips.frames[row] for row in places]))
    parts = [list(training_batches(training, 4, 0, last, index, processes)) for index in range(processes)]
    for step, batch in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), batch)
    for first in (1, last // 2, last - 1, last):
        tail = list(training_batches(training, 4, first, last))
        assert len(tail) == last - first
        for here, there in zip(tail, whole[first:], strict=True):
            np.testing.assert_array_equal(here, there)


def test_the_past_reaches_over_the_borders_of_splits(raw, kept):
    array = write(raw, 100, np.float32)
    config = load("frames", raw, prepared=str(kept), gap=2)
    config.evaluation.cycle = 24
    _, validation = open_training(config)
    test = open_test(config)
    for source, begin in ((validation, 72), (test, 82)):
        before, there = source.frames_before(np.arange(len(source)), 24, OUT)
        for number in range(len(source)):
            wanted = begin + number + IN - 24 + np.arange(OUT)
            assert there[number] == (not {70, 71, 80, 81} & set(wanted.tolist()))
            if there[number]:
                np.testing.assert_array_equal(before[number], array[wanted])
        assert there.any()
    assert not validation.frames_before(np.arange(2), 90, OUT)[1].any()
    config.evaluation.cycle = 0
    assert open_test(config)._past == ()


def test_own_frames_are_read_once_and_again_when_they_change(raw, kept, monkeypatch):
    write(raw)
    config = load("frames", raw, prepared=str(kept))
    asked = []
    monkeypatch.setattr(loading, "print_message", asked.append)
    first = open_training(config)[0].description
    assert len(asked) == 1
    assert open_training(config)[0].description == first
    assert open_test(config).description["folder"] == first["folder"]
    config.data.update(memory=0, stride=3, frame_step=2, evaluation_stride=1)  # make no difference to what is kept
    config.model.update(in_frames=2, out_frames=1)
    open_training(config)
    assert len(asked) == 1
    config.model.update(in_frames=IN, out_frames=OUT)
    # Of the same size, and within the same second.
    stamp = os.stat(raw / "a.npy").st_mtime_ns
    changed = write(raw, seed=1)
    os.utime(raw / "a.npy", ns=(stamp, stamp - stamp % 10**9 + (stamp + 1000) % 10**9))
    config.data.update(stride=1, frame_step=1)
    training, _ = open_training(config)
    assert len(asked) == 2
    assert training.description["sha256"] != first["sha256"]
    np.testing.assert_array_equal(everything(training), slices(changed[:42])[permutation(38, 7, 0)])
    for data in ({"gap": 1}, {"value_low": 0.0, "value_high": 300.0}, {"height": 4, "width": 4}):
        config.data.update(data)
        open_training(config)
    assert len(asked) == 5
    (raw / ".hidden").write_text("makes no difference, nor do links that lead in circles, or nowhere")
    (raw / "again").symlink_to(raw)
    (raw / "nowhere.txt").symlink_to(raw / "nothing")
    open_training(config)
    assert len(asked) == 5


def test_what_is_kept_may_lie_beside_the_files(raw, monkeypatch):
    write(raw)
    config = load("frames", raw, prepared=str(raw / "kept"))
    asked = []
    monkeypatch.setattr(loading, "print_message", asked.append)
    for _ in range(3):
        open_training(config)
    assert len(asked) == 1
    config.data.prepared = str(raw)
    with pytest.raises(InputError, match="data.prepared is .*, the same folder as data.root; choose another one"):
        open_training(config)


def test_what_is_kept_is_in_the_users_cache_unless_told(raw, tmp_path, monkeypatch):
    write(raw)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    training, _ = open_training(load("frames", raw / "a.npy"))
    assert training.description["folder"].startswith(f"{caches.folder()}/frames/a.npy-")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_training(load("frames", "~/raw/a.npy", prepared="~/kept"))[0].description["sha256"]
    assert (tmp_path / "kept").is_dir()


def test_a_folder_that_was_prepared_is_used_as_it_is(raw, tmp_path):
    array = write(raw)
    folder = prepare_frames(epath.Path(raw), FramesOptions(), epath.Path(tmp_path / "out"))
    for root in (tmp_path / "out", folder):
        training, _ = open_training(load("frames", root, prepared="/proc/never"))
        assert training.description["folder"] == str(folder)
        np.testing.assert_array_equal(everything(training), slices(array[:42])[permutation(38, 7, 0)])


@pytest.mark.parametrize(
    ("dtype", "data", "low", "high"),
    [
        (np.uint8, {}, (0.0,), (255.0,)),
        (np.uint16, {}, "min", "max"),
        (np.float32, {}, "min", "max"),
        (np.float32, {"per_channel": True}, "each", "each"),
        (np.uint16, {"value_low": 0.0, "value_high": 65535.0}, (0.0,), (65535.0,)),
        (np.uint8, {"value_low": 0.0, "value_high": 250.0, "per_channel": True}, (0.0,), (250.0,)),
    ],
)
def test_the_range_is_that_of_the_training_frames(raw, kept, dtype, data, low, high):
    array = write(raw, dtype=dtype)
    train = array[:42].astype(np.float64)
    scaling = open_test(load("frames", raw, prepared=str(kept), **data)).scaling
    expected = {
        "min": (train.min(),),
        "max": (train.max(),),
        "each": (tuple(train.min((0, 1, 2))), tuple(train.max((0, 1, 2)))),
    }
    assert scaling.low == (expected[low][0] if low == "each" else expected.get(low, low))
    assert scaling.high == (expected[high][1] if high == "each" else expected.get(high, high))
    assert scaling.dtype == np.dtype(dtype).name
    assert not scaling.missing


def test_bytes_that_are_0_and_1_are_a_mask(raw, kept):
    raw.mkdir()
    np.save(raw / "a.npy", (np.arange(60 * 30).reshape(60, 6, 5) % 2).astype(np.uint8))
    scaling = open_test(load("frames", raw, prepared=str(kept))).scaling
    assert (scaling.low, scaling.high) == ((0.0,), (1.0,))


@pytest.mark.parametrize("fill", [None, float("nan"), 249.0])
def test_missing_values_are_marked_and_filled_with_the_mean(raw, kept, fill):
    array = write(raw, dtype=np.uint16 if fill == 249 else np.float32)
    gone = np.random.default_rng(3).random(array.shape) < 0.2
    array[gone] = 249 if fill == 249 else np.nan
    gone |= array == 249
    np.save(raw / "a.npy", array)
    for _ in range(2):  # read, and found again
        test = open_test(load("frames", raw, prepared=str(kept), fill_value=fill))
    frames = everything(test)
    scaled, here = test.scaling.to_network(frames)
    np.testing.assert_array_equal(here, ~slices(gone[48:]))
    train = np.where(gone, np.nan, array.astype(np.float64))[:42]
    low, high = np.nanmin(train), np.nanmax(train)
    filling = (np.nanmean(train, (0, 1, 2)) - low) / (high - low)
    expected = np.where(slices(gone[48:]), filling, (slices(array[48:]).astype(np.float64) - low) / (high - low))
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-6)


def spoil(change):
    def spoiled(raw):
        array = write(raw, dtype=np.float32)
        np.save(raw / "a.npy", change(array))

    return spoiled


def one_bad_value(array):
    array[45, 2, 3, 1] = 1.5  # of the validation frames
    return array


def no_second_channel(array):
    array[..., 1] = np.nan
    return array


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (
            spoil(lambda a: np.full_like(a, 3)),
            {},
            "raw: all values of the training frames are 3: there is nothing to learn from",
        ),
        (spoil(lambda a: np.full(a.shape, 7, np.uint8)), {}, "raw: all values of the training frames are 7"),
        (spoil(lambda a: np.full_like(a, np.nan)), {}, "raw: channel 1 of the training frames has no values, all are missing"),
        (spoil(no_second_channel), {}, "raw: channel 2 of the training frames has no values"),
        (
            spoil(lambda a: np.full(a.shape, 9, np.int16)),
            {"fill_value": 9.0},
            "raw: channel 1 .* has no values, all are missing",
        ),
        (
            spoil(one_bad_value),
            {"value_low": 0.0, "value_high": 1.0},
            r"raw: a.npy, frame 45: value 1.5 lies outside the declared range 0 to 1 \(data.value_low, data.value_high\)",
        ),
        (spoil(lambda a: np.where(a > 0.9, np.inf, a)), {}, "a.npy, frame 0: found an infinite value"),
        (spoil(lambda a: a), {"value_low": 0.0}, "data.value_low and data.value_high belong together"),
        (spoil(lambda a: a), {"value_low": 2.0, "value_high": 1.0}, "data.value_low is 2.0 and data.value_high 1.0"),
        (spoil(lambda a: a), {"height": 4}, "data.height is 4 and data.width 0; give both or neither"),
        (spoil(lambda a: a[:2]), {}, "no frames for the split validation"),
        (spoil(lambda a: a), {"test_fraction": 0.95}, "data.validation_fraction is 0.1 and data.test_fraction 0.95"),
        (lambda raw: write(raw) is write(raw, name="b.npy", channels=1), {}, r"b.npy has shape \(6, 5, 1\), a.npy \(6, 5, 2\)"),
        (lambda raw: write(raw) is write(raw, name="b.npy", dtype=np.int16), {}, "b.npy has dtype int16, a.npy uint16"),
        (lambda raw: raw.mkdir(), {}, "raw: found no files; expected videos"),
        (lambda raw: None, {}, "data.root is .*raw': there is no such file or folder"),
        (lambda raw: raw.mkdir() or (raw / "a.npy").write_bytes(b"text"), {}, "a.npy is damaged, or not what its name says"),
    ],
)
def test_bad_frames_get_one_line_and_leave_nothing(raw, kept, make, data, message):
    make(raw)
    config = load("frames", raw, prepared=str(kept), **data)
    for opened in (open_training, open_test, open_training):  # the second time, too
        with pytest.raises(InputError, match=message) as caught:
            opened(config)
        assert "\n" not in str(caught.value)
    assert not [path for path in kept.glob("*/*/*") if path.name != ".lock"]
    assert not list(kept.rglob("*incomplete*"))


@pytest.mark.parametrize("fill", [None, 250.0])
def test_what_is_missing_has_no_part_in_resized_frames(raw, kept, fill):
    """Each frame is of one value, which every mean of known pixels must be."""
    array = np.broadcast_to(np.arange(60)[:, None, None, None], (60, 8, 12, 1)).astype(np.float32 if fill is None else np.uint8)
    gone = np.random.default_rng(0).random(array.shape) < 0.2
    gone[:, :, 8:] = True
    gone[40:] = False  # and frames of which nothing is missing
    array[gone] = np.nan if fill is None else fill
    raw.mkdir()
    np.save(raw / "a.npy", array)
    training, _ = open_training(load("frames", raw, prepared=str(kept), height=4, width=6, fill_value=fill))
    stored = training._clips.frames[np.arange(42)]
    assert stored.shape == (42, 4, 6, 1)
    known = ~np.isnan(stored) if fill is None else stored != fill
    values = np.broadcast_to(np.arange(42)[:, None, None, None], stored.shape)
    np.testing.assert_allclose(stored[known], values[known], rtol=1e-6)
    assert known[40:].all()
    assert not known[:40, :, 5:].any()  # no pixel below these is known
    assert known[:40, :, :3].mean() > 0.9  # and most below those are
    assert training.scaling.missing


def test_frames_fewer_than_a_window_are_refused_and_tell_where(raw, kept):
    write(raw, 20)
    with pytest.raises(
        InputError, match="your frames, validation, in .*kept.*: a window spans 5 frames .* jump has 2"
    ) as caught:
        open_training(load("frames", raw, prepared=str(kept)))
    assert "\n" not in str(caught.value)
    config = load("frames", raw, prepared=str(kept), validation_fraction=0.3, test_fraction=0.3)
    assert len(open_training(config)[1]) == 2
    config.model.in_frames = 50
    with pytest.raises(InputError, match="your frames, train, in .*: a window spans 52 frames"):
        open_training(config)


def test_a_channel_that_is_constant_has_no_range_of_its_own(raw, kept):
    def constant(array):
        array[..., 0] = 2
        return array

    spoil(constant)(raw)
    config = load("frames", raw, prepared=str(kept), per_channel=True)
    with pytest.raises(InputError, match="kept.*: the value range is 2 to 2: there is nothing to learn from constant data"):
        open_training(config)
    config.data.per_channel = False
    assert open_training(config)[0].scaling.high == (2.0,)


def test_an_empty_root_is_refused():
    with pytest.raises(InputError, match="data.root is empty; give --config.data.root=PATH, a file or folder of videos"):
        open_training(load("frames", ""))


@pytest.mark.parametrize("where", ["/proc/kept", "file/kept", "file"])
def test_folders_that_cannot_be_written_are_named(raw, tmp_path, where):
    write(raw)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=f"{where}.* (cannot be written to|is a file)") as caught:
        open_training(load("frames", raw, prepared=str(tmp_path / where)))  # an absolute path stays what it is
    assert "\n" not in str(caught.value)


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_nothing_stays(raw, kept, monkeypatch):
    write(raw)
    config = load("frames", raw, prepared=str(kept))
    for place in (
        "tensorflow_datasets.core.writer.Writer.write",
        "tensorflow_datasets.core.writer.Writer.finalize",
        "tensorflow_datasets.core.dataset_info.DatasetInfo.write_to_directory",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, no_space)
            with pytest.raises(InputError, match=r"1.0.0 could not be made from .*raw: .*No space left on device") as caught:
                open_training(config)
        assert "\n" not in str(caught.value)
        assert not [path for path in kept.glob("*/*/*") if path.name != ".lock"]
        assert not list(kept.rglob("*incomplete*"))
    assert len(open_training(config)[0])  # once there is room again


def test_a_defect_keeps_its_traceback_and_nothing_stays(raw, kept, monkeypatch):
    write(raw)

    def broken(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("stlight_jax.data.statistics.ChannelStatistics.add", broken)
    with pytest.raises(Exception, match="a defect") as caught:
        open_training(load("frames", raw, prepared=str(kept)))
    assert not isinstance(caught.value, InputError)
    assert not [path for path in kept.glob("*/*/*") if path.name != ".lock"]


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
    for builder, raw in ((Kth, "kth"), (TaxiBJ, "taxibj"), (KittiCaltech, "kitti")):
        prepare(builder(data_dir=str(base / "out"), file_format="array_record"), epath.Path(base / raw))
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
    held = {clip["name"].split("person")[1][:2] for clip in validation._clips.clips}
    trained = {clip["name"].split("person")[1][:2] for clip in training._clips.clips}
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
    before, there = test.frames_before(np.arange(len(test)), 4, 4)
    assert there.all()
    np.testing.assert_array_equal(before, frames[:, :4])
    for cycle in (5, 8, 9, 18):
        assert not test.frames_before(np.arange(len(test)), cycle, 4)[1].any()


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
    with pytest.raises(InputError, match="holds the data set taxibj; kth is wanted"):
        open_test(config)
    config.data.root = str(benchmarks / "out" / "kth" / "1.0.0")
    assert len(open_test(config))


def test_held_out_windows_whose_places_overlap_take_no_frames_from_training(tmp_path):
    folder = tmp_path / "raw" / "kitticaltech_npy"
    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        np.save(folder / f"{split}_data.npy", test_kitti_caltech.images(80, number))
        np.save(folder / f"{split}_idx.npy", np.arange(20) * 3)  # windows of 11 frames, 3 apart
    prepare(KittiCaltech(data_dir=str(tmp_path / "out"), file_format="array_record"), epath.Path(tmp_path / "raw"))
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
    prepare(TaxiBJ(data_dir=str(tmp_path / "out"), file_format="array_record"), epath.Path(tmp_path / "raw"))
    config = load("taxibj", tmp_path / "out", validation="held_out", validation_fraction=0.1)
    config.model.update(in_frames=4, out_frames=4)
    training, validation = open_training(config)
    assert (len(training), len(validation)) == (30 - 3 - 7, 3)
    seen, kept_back = (
        {frame.tobytes() for frames in everything(source) for frame in frames} for source in (training, validation)
    )
    assert not seen & kept_back
    assert len(seen) == 20 + 7


def test_keys_that_prepared_frames_cannot_follow_are_refused(raw, tmp_path):
    write(raw, 100)
    folder = prepare_frames(epath.Path(raw), FramesOptions(gap=2), epath.Path(tmp_path / "out"))
    open_training(load("frames", tmp_path / "out"))  # what is left at its default is as it was prepared
    open_training(load("frames", tmp_path / "out", gap=2))
    with pytest.raises(InputError, match=rf"{folder} was prepared with other keys: data.gap is 3, prepared with 2; prepare"):
        open_training(load("frames", tmp_path / "out", gap=3))
    with pytest.raises(InputError, match="data.fill_value is 7.0, prepared with None"):
        open_training(load("frames", tmp_path / "out", fill_value=7.0))


@pytest.mark.parametrize("name", ["moving_mnist", "kth", "frames"])
def test_advice_on_slow_data_names_keys_that_there_are(name):
    config = load(name, "")
    advice = loading.advice_on_slow_data(config)
    assert "fewer processes per host" in advice
    keys = re.findall(r"data\.(\w+)", advice)
    assert keys == (["memory"] if "memory" in config.data else [])
    assert not keys or f"({config.data.memory} MiB)" in advice
