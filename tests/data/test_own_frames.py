"""Own frames are read once and kept; bad ones get one line and leave nothing."""

import errno
import os
import types

import h5py
import numpy as np
import pytest
from etils import epath
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data import own_frames
from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.load import open_test, open_training
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.data.windows import permutation
from stlight_jax.storage import caches
from tests.data.window_arrays import IN, OUT, everything, load, slices, write


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


def record(messages):
    """A `print_message` that keeps the first line of each reading."""
    return lambda message: messages.append(message) if message.startswith("reading") else None


def test_own_frames_are_read_once_and_again_when_they_change(raw, kept, monkeypatch):
    write(raw)
    config = load("frames", raw, prepared=str(kept))
    asked = []
    monkeypatch.setattr(own_frames, "print_message", record(asked))
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
    monkeypatch.setattr(own_frames, "print_message", record(asked))
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


def pictures_beside_array(raw):
    write(raw, dtype=np.uint8, channels=1)
    (raw / "clip").mkdir()
    for number in range(20):
        colours = np.random.default_rng(number).integers(0, 255, (6, 5, 3), np.uint8)
        Image.fromarray(colours).save(raw / "clip" / f"{number:02}.png")


def dated_beside_undated(raw):
    frames = write(raw)
    np.savez(raw / "b.npz", v=frames, time=np.datetime64("2026-06-01T00", "h") + np.arange(len(frames)))


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (
            spoil(lambda a: np.full_like(a, 3)),
            {},
            "raw: all values of the training frames are 3, and a network cannot learn from constant data",
        ),
        (spoil(lambda a: np.full(a.shape, 7, np.uint8)), {}, "raw: all values of the training frames are 7"),
        (
            spoil(lambda a: np.full_like(a, np.nan)),
            {},
            "raw: all values of the training frames are missing; expected .*; check the files$",
        ),
        (spoil(no_second_channel), {}, "raw: all values of channel 2 of the training frames are missing"),
        (
            spoil(lambda a: np.full(a.shape, 9, np.int16)),
            {"fill_value": 9.0},
            "raw: all values .* are missing; expected values; check data.fill_value=9 and the files",
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
        (
            lambda raw: write(raw) is write(raw, name="b.npy", channels=1),
            {},
            "raw: a.npy has 2 channels and b.npy has 1 channel; expected the same number in all; train on files of one kind",
        ),
        (
            pictures_beside_array,
            {"split": "time"},
            "read clip like it with --config.data.channels=grey, or",
        ),
        (lambda raw: write(raw) is write(raw, name="b.npy", dtype=np.int16), {}, "b.npy has dtype int16, a.npy uint16"),
        (dated_beside_undated, {}, "b.npz#v has step 1 h, a.npy none; all sequences must agree; .* --config.data.time=none"),
        (lambda raw: raw.mkdir(), {}, "raw: found no files; expected videos"),
        (lambda raw: None, {}, "data.root is .*raw': no such file or folder; give --config.data.root=PATH"),
        (lambda raw: raw.mkdir() or (raw / "a.npy").write_bytes(b"text"), {}, "a.npy: .* found a file of another format"),
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


def test_a_channel_that_is_constant_keeps_its_constant(raw, kept, capfd):
    def constant(array):
        array[..., 0] = 2
        return array

    spoil(constant)(raw)
    config = load("frames", raw, prepared=str(kept), per_channel=True)
    training, _ = open_training(config)
    assert capfd.readouterr().err.count("channel 1 is 2 everywhere; a network cannot learn from it") == 1
    own = np.load(raw / "a.npy")[:42, ..., 1]
    assert training.scaling.low == (2.0, float(own.min()))
    assert training.scaling.high == (2.0, float(own.max()))
    assert training.scaling.filling[0] == 0
    config.data.per_channel = False
    assert open_training(config)[0].scaling.high == (2.0,)
    assert "channel 1 is 2 everywhere" in capfd.readouterr().err  # of frames that were kept, too


def test_an_empty_root_is_refused():
    with pytest.raises(
        InputError, match="data.root is empty; give --config.data.root=PATH, or --data_root=PATH to an evaluation, a file"
    ):
        open_training(load("frames", ""))


@pytest.mark.parametrize("where", ["/proc/kept", "file/kept", "file"])
def test_folders_that_cannot_be_written_are_named(raw, tmp_path, where):
    write(raw)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=f"{where}.* (cannot be written to|is a file)") as caught:
        open_training(load("frames", raw, prepared=str(tmp_path / where)))  # an absolute path stays what it is
    assert "\n" not in str(caught.value)


def test_frames_that_the_disk_cannot_hold_are_refused_before_they_are_read(raw, kept, monkeypatch):
    write(raw)
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(total=10**9, free=1000))
    with pytest.raises(InputError, match=r"frames of .* would take .* kB, and 1.0 kB are free in .*; name another folder"):
        open_training(load("frames", raw, prepared=str(kept)))
    assert not [path for path in kept.rglob("*") if path.is_file() and path.name != ".lock"]


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


def test_keys_that_prepared_frames_cannot_follow_are_refused(raw, tmp_path):
    write(raw, 100)
    folder = prepare_frames(epath.Path(raw), FramesOptions(gap=2), epath.Path(tmp_path / "out"))
    open_training(load("frames", tmp_path / "out"))  # what is left at its default is as it was prepared
    open_training(load("frames", tmp_path / "out", gap=2))
    with pytest.raises(InputError, match=rf"{folder} was prepared with other keys: data.gap is 3, prepared with 2; prepare"):
        open_training(load("frames", tmp_path / "out", gap=3))
    with pytest.raises(InputError, match="data.fill_value is 7.0, prepared with None"):
        open_training(load("frames", tmp_path / "out", fill_value=7.0))


def test_frames_are_read_anew_when_the_target_of_a_link_changes(raw, kept, monkeypatch):
    raw.mkdir()
    frames = np.random.default_rng(0).uniform(1, 9, (60, 8, 8)).astype("f4")
    target = raw.parent / "linked.h5"
    with h5py.File(target, "w") as file, h5py.File(raw / "a.h5", "w") as linking:
        file["rain"] = frames
        linking["rain"] = h5py.ExternalLink(str(target), "rain")
    config = load("frames", raw, prepared=str(kept), variable="rain")
    asked = []
    monkeypatch.setattr(own_frames, "print_message", record(asked))
    first, _ = open_training(config)
    open_training(config)
    assert len(asked) == 1
    with h5py.File(target, "r+") as file:
        file["rain"][:] = frames + 100
    second, _ = open_training(config)
    np.testing.assert_allclose(everything(second), everything(first) + 100, rtol=1e-6)
