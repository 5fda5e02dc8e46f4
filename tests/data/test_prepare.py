"""`python -m stlight_jax prepare` as people run it: what it prints, and what is left when it is stopped."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from etils import epath

from stlight_jax.data.datasets.kth import Kth
from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.data.prepare import prepare
from stlight_jax.data.prepared import find_prepared
from stlight_jax.data.stored_frames import StoredFrames
from stlight_jax.errors import InputError
from tests import commands
from tests.conftest import ROOT
from tests.data.datasets import test_kth

COMMAND = ("-m", "stlight_jax", "prepare")


def run(*arguments):
    return commands.run(*COMMAND, *map(str, arguments))


def lines(text):
    """Without what libraries may say before they can be told not to."""
    return [line for line in text.splitlines() if line and not re.match(r"WARNING: All log|[IW]0000 ", line)]


def one_error(result, message):
    assert result.returncode == 2, (result.stdout, result.stderr)
    *progress, error = lines(result.stderr)
    assert not [line for line in progress if "Error" in line or "Traceback" in line], result.stderr
    assert error.startswith("error: ")
    assert re.search(message, error), error


@pytest.fixture
def blocked(tmp_path):
    """A KTH tree with a pipe in place of an image, and a program that has come as far as this."""
    raw, out = test_kth.write_tree(tmp_path / "raw"), tmp_path / "out"
    image = raw / "running" / "person02_running_d3_uncomp" / "image_9995.png"
    content = image.read_bytes()
    image.unlink()
    os.mkfifo(image)
    # A shell's background jobs ignore interrupts, and so would the process.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, *COMMAND, "kth", f"--raw={raw}", f"--out={out}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    pipe = None
    try:
        for _ in range(600):
            assert process.poll() is None, process.communicate()
            try:
                pipe = os.open(image, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # as long as nobody reads
                time.sleep(0.1)
            else:
                break
        assert pipe is not None

        def mend():
            image.unlink()
            image.write_bytes(content)

        yield process, raw, out, mend
    finally:
        process.kill()
        process.communicate()
        if pipe is not None:
            os.close(pipe)


def unfinished(out):
    return [path for path in (out / "kth").iterdir() if path.name != ".lock"] if (out / "kth").is_dir() else []


def check_kth(out):
    folder = find_prepared("kth", str(out), "")
    frames = StoredFrames(folder, "test", 0)
    values = [
        test_kth.pixels(clip, number)[0, 0, 0]
        for clip, numbers in test_kth.NUMBERS.items()
        if "person17" in clip or "person25" in clip
        for number in numbers
    ]
    assert frames[np.arange(len(frames))][:, 3, 3, 0].tolist() == values
    assert sorted(path.name for path in (out / "kth").iterdir()) == [".lock", "1.0.0"]
    assert [path.name for path in out.iterdir()] == ["kth"]


@pytest.mark.long
def test_a_preparation_that_is_killed_is_cleaned_up_and_made_anew(blocked):
    process, raw, out, mend = blocked
    assert len(unfinished(out)) == 2  # the data, and TFDS's folder for downloads
    # A second one, while the first is at work.
    message = f"^{out}/kth is being prepared by process {process.pid}; wait for it, or name another folder$"
    with pytest.raises(InputError, match=message):
        prepare(Kth, epath.Path(raw), epath.Path(out))
    assert len(unfinished(out)) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(unfinished(out)) == 2
    assert find_prepared("kth", str(out), "") is None

    mend()
    result = run("kth", f"--raw={raw}", f"--out={out}")
    assert result.returncode == 0, result.stderr
    assert f"prepared in {out}/kth/1.0.0; --config.data.root={out} finds it" in result.stderr
    check_kth(out)
    # Windows of 20 and 30 frames are longer than anything in this tree, whatever others have counted in the whole of KTH.
    cells = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in result.stdout.splitlines() if re.match("[│┃]", line)]
    assert cells == [
        ["split", "clips", "frames", "windows of 20", "windows of 30"],
        ["train", "3", "26", "0", "0"],
        ["test", "3", "21", "0", "0"],
    ]
    differs = [line for line in result.stdout.splitlines() if line.startswith("differs: ")]
    assert differs == [
        "differs: train, windows of 20: 0 here, 8,488 published (PredRNN, thread 15)",
        "differs: train, windows of 30: 0 here, 4,940 published (paper)",
        "differs: train, windows of 30: 0 here, 5,200 published (OpenSTL's documents)",
        "differs: test, windows of 20: 0 here, 5,041 published (PredRNN, thread 15)",
        "differs: test, windows of 30: 0 here, 3,030 published (paper)",
        "differs: test, windows of 30: 0 here, 3,167 published (OpenSTL's documents)",
    ]

    before = {path: path.stat().st_mtime_ns for path in (out / "kth" / "1.0.0").iterdir()}
    again = run("kth", f"--raw={raw}", f"--out={out}")
    assert again.returncode == 0
    assert again.stdout == result.stdout
    assert f"{out}/kth/1.0.0 is prepared already, from {raw}; remove it to prepare the data anew" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "kth" / "1.0.0").iterdir()} == before


def test_a_preparation_that_is_interrupted_leaves_nothing(blocked):
    process, _, out, _ = blocked
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert lines(stderr)[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert unfinished(out) == []


def test_mistakes_get_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("kth", f"--raw={tmp_path}/empty", f"--out={tmp_path}/out")
    one_error(result, re.escape(f"{tmp_path}/empty is an empty folder; expected the raw files of kth"))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"]
    assert not list((tmp_path / "out").rglob("*incomplete*"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"raw": "nowhere"}, "--raw=.*/nowhere: no such file or folder"),
        ({"raw": "file"}, "--raw=.*/file is a file; expected the folder with the raw files of kth"),
        ({"raw": "raw"}, "raw: expected a folder for each action, found none for boxing"),
        ({"raw": "raw", "out": "/proc/prepared"}, "/proc/prepared cannot be written to"),
        ({"raw": "raw", "out": "file"}, "/file is a file; expected a folder"),
        ({"raw": "raw", "config": "configs/frames.py"}, "--config is for frames; the other data sets have no choices"),
        ({"raw": "empty", "dataset": "frames"}, "/empty: found no files; expected videos"),
        ({"raw": "raw", "dataset": "frames"}, "/raw: found no files; expected videos"),
    ],
)
def test_further_mistakes(tmp_path, given, message):
    (tmp_path / "raw" / "x").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    given = {"dataset": "kth", "out": "out", **given}
    given |= {name: str(tmp_path / given[name]) for name in ("raw", "out")}
    with pytest.raises(InputError, match=message) as caught:
        commands.call("prepare", *(f"--{name}={value}" for name, value in given.items()))
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"]
    assert not list((tmp_path / "out").rglob("*incomplete*"))


def test_tildes_are_expanded(tmp_path, monkeypatch, capsys):
    test_kth.write_tree(tmp_path / "raw")
    monkeypatch.setenv("HOME", str(tmp_path))
    commands.call("prepare", "kth", "--raw=~/raw", "--out=~/out")
    assert f"prepared in {tmp_path}/out/kth/1.0.0" in capsys.readouterr().err
    check_kth(tmp_path / "out")


def test_frames_with_and_without_a_config(tmp_path, capsys):
    array = np.random.default_rng(0).integers(0, 1000, (30, 6, 5)).astype(np.uint16)
    np.save(tmp_path / "a.npy", array)
    commands.call("prepare", "frames", f"--raw={tmp_path}/a.npy", f"--out={tmp_path}/out")
    printed, said = capsys.readouterr()
    assert f"prepared in {tmp_path}/out/frames/1.0.0; --config.data.root={tmp_path}/out finds it" in said
    assert "divided by time, with 0 frames left out between splits: train 21 frames, validation 3 frames" in said
    train = array[:21]
    assert f"channel 1: {train.min()} to {train.max()}, mean {train.mean():.4g}" in said
    assert re.search(r"train +│ +1 +│ +21 ", printed)
    message = "frames/1.0.0 was prepared with other keys of data; remove it, or choose another folder"
    with pytest.raises(InputError, match=message):
        prepare_frames(epath.Path(tmp_path / "a.npy"), FramesOptions(gap=1), epath.Path(tmp_path / "out"))
    fractions = ("--config.data.validation_fraction=0.1", "--config.data.test_fraction=0.3")
    configured = ("--config=configs/frames.py", "--config.data.gap=1", *fractions)
    other = run("frames", f"--raw={tmp_path}/a.npy", f"--out={tmp_path}/other", *configured)
    assert other.returncode == 0, other.stderr
    assert "divided by time, with 1 frames left out between splits: train 18 frames, validation 2 frames" in other.stderr
    frames = StoredFrames(find_prepared("frames", f"{tmp_path}/other", ""), "test", 0)
    np.testing.assert_array_equal(frames[np.arange(8)][..., 0], array[22:])


FULL = """
import resource
import sys

from etils import epath
from tensorflow_datasets.core import shuffle

from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.errors import InputError

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
raw, out = epath.Path(sys.argv[1]), epath.Path(sys.argv[2])
for buckets in (False, True):
    if buckets:  # what does not fit into memory is sorted through files of TFDS's own
        shuffle.MAX_MEM_BUFFER_SIZE, shuffle.BUCKETS_NUMBER = 1000, 3
    try:
        prepare_frames(raw, FramesOptions(), out)
    except InputError as error:
        print("error:", error)
    print(out.exists())
"""


def test_a_disk_that_is_full_is_told_in_one_line(tmp_path):
    """Files may not grow beyond a limit, which the writers of TFDS and ArrayRecord meet as they meet a full disk."""
    raw, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(raw, np.random.default_rng(0).integers(0, 256, (200, 64, 64)).astype(np.uint8))
    given = [sys.executable, "-c", FULL, str(raw), str(out)]
    result = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    by_array_record, left, by_buckets, left_again = result.stdout.splitlines()
    start = f"error: {out}/frames/1.0.0 could not be made from {raw}: "
    assert re.fullmatch(f"{start}.*File too large.*array_record.*", by_array_record)
    assert re.fullmatch(f"{start}.*bucket_.*File too large.*", by_buckets)
    assert left == left_again == "False"


def test_a_folder_that_is_no_whole_data_set_is_named(tmp_path):
    (tmp_path / "out" / "kth" / "1.0.0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"kth/1.0.0 holds no whole data set, dataset_info.json is missing; remove it"):
        prepare(Kth, epath.Path(test_kth.write_tree(tmp_path / "raw")), epath.Path(tmp_path / "out"))


def test_a_preparation_that_fails_leaves_nothing_and_can_be_run_again(tmp_path):
    raw = test_kth.write_tree(tmp_path / "raw")
    image = raw / "walking" / "person25_walking_d1_uncomp" / "image_0007.png"  # the very last one
    content = image.read_bytes()
    image.write_bytes(b"text")
    for _ in range(2):
        with pytest.raises(InputError, match="image_0007.png: expected an image"):
            prepare(Kth, epath.Path(raw), epath.Path(tmp_path / "out"))
        assert unfinished(tmp_path / "out") == []
    image.write_bytes(content)
    with contextlib.redirect_stdout(None):
        prepare(Kth, epath.Path(raw), epath.Path(tmp_path / "out"))
    check_kth(tmp_path / "out")


def test_what_is_wrong_with_raw_frames_is_said_whatever_else_is_in_the_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other").write_text("")
    with pytest.raises(InputError, match="nothing.npy: no such file or folder"):
        prepare_frames(epath.Path(tmp_path / "nothing.npy"), FramesOptions(), epath.Path(tmp_path / "out"))
    assert (tmp_path / "out" / "other").exists()
