"""Runs, checkpoints, `.stlight` files and prepared data of stlight_jax 0.1 stay usable.

`fixtures/version_0_1.zip` holds files that 0.1 wrote, `fixtures/version_0_1.json` the numbers that it got from them;
`make_fixtures.py` makes both. Modules may move, so these tests use the commands and `from stlight_jax import Forecaster` only.
"""

import hashlib
import json
import zipfile

import numpy as np
import pytest

from stlight_jax import Forecaster
from tests import commands
from tests.compatibility import make_fixtures

EXPECTED = json.loads((make_fixtures.FIXTURES / "version_0_1.json").read_text())
STEP = make_fixtures.STEP
READING = "once; the frames are kept in"  # of own frames that are prepared now
# Relative. Results differ by 1e-6 at most if they are compiled fast, on eight devices or without the kernels for CPUs.
TOLERANCE = 1e-4
# Keys that the configs of the first checkpoints lack; 0.1 reads those checkpoints.
ADDED_LATER = {
    "model": ("rematerialise",),
    "data": ("validation",),
    "optimizer": (
        "schedule", "batch_scaling", "reference_batch_size", "beta1", "least_learning_rate", "warmup_epochs", "warmup_start",
    ),
    "train": ("accumulate", "ema_decay", "horizon"),
    "evaluation": ("horizon", "cycle"),
}  # fmt: skip

# The recipes of version 0.1 where those of `tiny` are others now.
MOVING_MNIST = (
    *make_fixtures.MOVING_MNIST, "--config.model.shortcut=none", "--config.train.ema_decay=0.0", "--config.train.loss=squared",
)  # fmt: skip
FRAMES = (*make_fixtures.FRAMES, "--config.optimizer.learning_rate=0.005", "--config.train.loss=squared")

pytestmark = pytest.mark.compiled_fast


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """As on a user's laptop, and as the fixtures were made."""
    monkeypatch.setenv("XLA_FLAGS", "")


def unpacked(folder, name):
    with zipfile.ZipFile(make_fixtures.FIXTURES / "version_0_1.zip") as archive:
        archive.extractall(folder, [member for member in archive.namelist() if member.startswith(f"{name}/")])
    return folder / name


@pytest.fixture
def moving_mnist(tmp_path):
    """A folder with a run, a file that was exported from it, and a prediction of each."""
    return unpacked(tmp_path, "moving_mnist")


@pytest.fixture
def frames(tmp_path):
    """A folder with a run on own frames that keeps a moving average, a prediction, and the frames, prepared and raw."""
    return unpacked(tmp_path, "frames")


@pytest.fixture
def old(moving_mnist):
    """The folder `moving_mnist` with the checkpoint's description as the first versions wrote it."""
    checkpoint = moving_mnist / "run" / "checkpoints" / str(STEP)
    content = json.loads((checkpoint / "_CHECKPOINT_METADATA").read_text())
    description = content["custom_metadata"]
    for section, keys in ADDED_LATER.items():
        for key in keys:
            del description["config"][section][key]
    for section in ("parallel", "profile"):
        del description["config"][section]
    for key in ("scaling", "frame_size"):
        del description[key]
    description["data"]["digits_sha256"] = description["data"].pop("sha256")
    written = json.dumps(content)
    (checkpoint / "_CHECKPOINT_METADATA").write_text(written)
    checksums = json.loads((checkpoint / "checksums.json").read_text())
    checksums["_CHECKPOINT_METADATA"] = hashlib.sha256(written.encode()).hexdigest()
    (checkpoint / "checksums.json").write_text(json.dumps(checksums))
    return moving_mnist


def run(*arguments, folder):
    """Runs a command of this version, which must succeed. Returns its standard error."""
    script = arguments[:1] if arguments[0] == "-m" else (str(commands.ROOT / arguments[0]),)
    result = commands.run(*script, *arguments[1:], folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stderr


def check_evaluation(folder, name, *flags):
    """Evaluates the run and compares its metrics with those of 0.1. Returns the command's standard error."""
    said = run("eval.py", "--workdir=run", *flags, folder=folder)
    results = json.loads((folder / "run" / "eval" / "metrics.json").read_text())
    expected = EXPECTED[name]["evaluation"]
    assert results["checkpoints"] == {"best": STEP}
    assert results["test_set"]["sequences"] == expected["sequences"]
    for model, metrics in expected["overall"].items():
        assert {metric: results["overall"][model][metric] for metric in metrics} == pytest.approx(metrics, rel=TOLERANCE), model
    assert results["per_lead_time"]["stlight"]["mse"] == pytest.approx(expected["per_lead_time"], rel=TOLERANCE)
    assert "trained on other data" not in (folder / "run" / "eval" / "table.txt").read_text()
    return said


def check_training(folder, name, flags):
    """Trains the run to its end and compares the last validation with that of 0.1. Returns the command's standard error."""
    said = run("train.py", *flags, "--workdir=run", folder=folder)
    expected = EXPECTED[name]
    assert f"resuming run at step {STEP} of {expected['total_steps']}\n" in said
    assert "changed config" not in said
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    assert last["step"] == expected["total_steps"]
    final = expected["final_validation"]
    if name == "frames":  # 0.1 averaged the statistics of averaged weights, which is worse than their own
        assert 0.95 * final["mse"] < last["mse"] < final["mse"]
    else:
        assert {metric: last[metric] for metric in final} == pytest.approx(final, rel=TOLERANCE)
    assert (folder / "run" / "checkpoints" / str(expected["total_steps"]) / "checksums.json").exists()
    return said


def check_prediction(folder, given, model, expected):
    run(*make_fixtures.prediction(given, model, "now.npy"), folder=folder)
    assert_same_prediction(np.load(folder / "now.npy"), np.load(folder / expected))


def assert_same_prediction(now, then):
    assert (now.dtype, now.shape) == (then.dtype, then.shape)
    np.testing.assert_allclose(now, then, rtol=0, atol=TOLERANCE * (np.nanmax(then) - np.nanmin(then)))


def key(files, options, version):
    """The end of the name of the folder in which 0.1 keeps prepared frames. Args: files: [[path, size, mtime in ns], ...]."""
    content = json.dumps([files, options, version], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_run_is_evaluated(moving_mnist):
    check_evaluation(moving_mnist, "moving_mnist")


def test_a_run_goes_on_to_its_end(moving_mnist):
    check_training(moving_mnist, "moving_mnist", MOVING_MNIST)


@pytest.mark.parametrize(("model", "expected"), [("run", "predicted.npy"), ("model.stlight", "predicted_by_file.npy")])
def test_a_run_and_a_file_predict(moving_mnist, model, expected):
    check_prediction(moving_mnist, "inputs.npy", f"--workdir={model}", expected)


def test_a_file_predicts_without_its_program(moving_mnist):
    """By its weights and this version's network."""
    forecaster = Forecaster.load(moving_mnist / "model.stlight", use_program=False)
    now = forecaster(np.load(moving_mnist / "inputs.npy"), horizon=5, dtype="float32")
    assert_same_prediction(now, np.load(moving_mnist / "predicted_by_file.npy"))


def test_a_checkpoint_of_the_first_versions_predicts(old):
    check_prediction(old, "inputs.npy", f"--workdir=run/checkpoints/{STEP}", "predicted.npy")


def test_keys_that_a_checkpoint_lacks_are_no_changes_of_the_config(old):
    """Of fewer epochs the run has all steps, so that no step is compiled."""
    flags = ("--config.train.epochs=20", "--allow_changes", "--workdir=run")
    said = run("train.py", *MOVING_MNIST, *flags, folder=old)
    assert "continuing with a changed config: train.epochs: 24 -> 20\n" in said
    assert f"run is complete: {STEP} of {STEP} steps are done" in said


@pytest.mark.long
def test_a_run_of_the_first_versions_is_evaluated_and_goes_on_to_its_end(old):
    check_evaluation(old, "moving_mnist")
    check_training(old, "moving_mnist", MOVING_MNIST)


def test_own_frames_that_were_prepared_are_found(frames):
    before = stamps(frames / "prepared")
    assert READING not in check_evaluation(frames, "frames")
    again = run("-m", "stlight_jax", "prepare", "frames", "--raw=frames.npy", "--out=prepared", folder=frames)
    assert "prepared/frames/1.0.0 is prepared already, from frames.npy; remove it to prepare the data anew" in again
    assert stamps(frames / "prepared") == before
    assert not (frames / "kept").exists()


def test_own_frames_that_were_kept_are_found_by_their_raw_file(frames):
    """The name of their folder depends on the raw file's path and time, so the fixture gets the one that 0.1 would give it."""
    kept = EXPECTED["frames"]["kept"]
    options, version = kept["options"], kept["version"]
    assert kept["name"] == f"frames.npy-{key([kept['raw']], options, version)}"  # a name that 0.1 did give
    raw = frames.resolve() / "frames.npy"
    stat = raw.stat()
    place = frames / "kept" / f"frames.npy-{key([[str(raw), stat.st_size, stat.st_mtime_ns]], options, version)}"
    place.parent.mkdir()
    (frames / "prepared").rename(place)
    before = stamps(place)
    assert READING not in check_evaluation(frames, "frames", "--data_root=frames.npy")
    assert stamps(place) == before
    assert list((frames / "kept").iterdir()) == [place]


def test_a_run_with_a_moving_average_predicts(frames):
    check_prediction(frames, "frames.npy", "--workdir=run", "predicted.npy")


def test_a_run_on_own_frames_goes_on_to_its_end(frames):
    check_training(frames, "frames", FRAMES)


@pytest.mark.long
def test_a_run_goes_on_with_frames_that_are_read_anew(frames):
    said = check_training(frames, "frames", (*FRAMES, "--config.data.root=frames.npy"))
    assert READING in said


@pytest.mark.long
def test_a_new_run_starts_from_the_weights(moving_mnist):
    flags = ("--config.train.epochs=1", "--config.train.init_from=run", "--workdir=new")
    said = run("train.py", *MOVING_MNIST, *flags, folder=moving_mnist)
    assert f"starting from the weights of run/checkpoints/{STEP}\n" in said
    assert (moving_mnist / "new" / "checkpoints" / "5" / "checksums.json").exists()


@pytest.mark.long
def test_a_file_is_exported_anew(moving_mnist):
    run("-m", "stlight_jax", "export", "--workdir=model.stlight", "--out=anew.stlight", folder=moving_mnist)
    check_prediction(moving_mnist, "inputs.npy", "--workdir=anew.stlight", "predicted_by_file.npy")
