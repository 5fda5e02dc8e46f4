"""Makes the fixtures of `test_version_0_1.py`.

This script is run with stlight_jax 0.1 at commit 2fb036a, and kept so that the fixtures can be made again: copy this folder
into the folder `tests` of a checkout of that commit, run `.venv/bin/python -m tests.compatibility.make_fixtures` there (a
minute), and copy the folder `fixtures` back. It runs the commands as users do, on one CPU device.

`fixtures/version_0_1.zip` holds the files, `fixtures/version_0_1.json` the numbers to compare with. A run is packed as a
process that is killed after its first checkpoint leaves it; the last validation is that of the same run, trained to its end.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np

import stlight_jax

CHECKOUT = pathlib.Path(stlight_jax.__file__).parent.parent
FIXTURES = pathlib.Path(__file__).parent / "fixtures"
STEP = 100  # of the one checkpoint in each run
# Fixed, for the name of the folder in which own frames are kept depends on their path and time.
PLACE = pathlib.Path("/tmp/stlight_jax_0_1")
RAW_TIME_NS = 1_700_000_000_123_456_789

SMALL = (
    "--config.model.in_frames=3", "--config.model.out_frames=2", "--config.model.hidden_dim=8", "--config.model.depth=4",
    "--config.model.far_kernel=5", "--config.model.scan_unroll=1", "--config.train.batch_size=8", "--config.train.epochs=24",
    f"--config.train.checkpoint_every={STEP}", "--config.train.keep_checkpoints=2", "--config.train.log_every=10",
    "--config.train.tensorboard=False", "--config.evaluation.batch_size=8", "--config.evaluation.pictures=1",
)  # fmt: skip
MOVING_MNIST = (
    f"--config={CHECKOUT}/configs/moving_mnist.py:tiny", *SMALL,
    "--config.data.image_size=16", "--config.data.digit_size=7", "--config.data.sequences_per_epoch=40",
    "--config.data.validation_sequences=16", "--config.data.test_sequences=16",
)  # fmt: skip
FRAMES = (
    f"--config={CHECKOUT}/configs/frames.py:tiny", *SMALL,
    "--config.data.root=prepared", "--config.data.prepared=kept", "--config.train.ema_decay=0.8",
)  # fmt: skip


def main() -> None:
    assert stlight_jax.__version__ == "0.1.0", stlight_jax.__version__
    PLACE.mkdir()
    try:
        expected = {"moving_mnist": moving_mnist(PLACE / "moving_mnist"), "frames": frames(PLACE / "frames")}
        FIXTURES.mkdir(exist_ok=True)
        (FIXTURES / "version_0_1.json").write_text(json.dumps(expected, indent=1) + "\n")
        pack(FIXTURES / "version_0_1.zip")
    finally:
        shutil.rmtree(PLACE)


def moving_mnist(folder: pathlib.Path) -> dict:
    """A run, a file exported from it, and a prediction of each. Returns the numbers to compare with."""
    folder.mkdir()
    command("train.py", *MOVING_MNIST, "--workdir=whole", folder=folder)
    as_killed(folder)
    np.save(folder / "inputs.npy", blobs(3, 16).astype(np.uint8))
    command(*prediction("inputs.npy", "--workdir=run", "predicted.npy"), folder=folder)
    command("-m", "stlight_jax", "export", "--workdir=run", "--out=model.stlight", folder=folder)
    command(*prediction("inputs.npy", "--workdir=model.stlight", "predicted_by_file.npy"), folder=folder)
    return told(folder)


def frames(folder: pathlib.Path) -> dict:
    """A run on own frames that keeps a moving average, a prediction, and the frames: float32 with missing values."""
    folder.mkdir()
    raw = folder / "frames.npy"
    values = np.round(250 + 0.2 * blobs(72, 12)).astype(np.float32)
    values[:, 4, 5] = values[20:30, 8:10, 3] = np.nan
    np.save(raw, values)
    os.utime(raw, ns=(RAW_TIME_NS, RAW_TIME_NS))
    command("-m", "stlight_jax", "prepare", "frames", "--raw=frames.npy", "--out=prepared", folder=folder)
    command("train.py", *FRAMES, "--workdir=whole", folder=folder)
    as_killed(folder)
    command(*prediction("frames.npy", "--workdir=run", "predicted.npy"), folder=folder)
    expected = told(folder)
    # The same from the raw file, prepared in a folder whose name 0.1 chooses.
    command("eval.py", "--workdir=run", "--data_root=frames.npy", folder=folder)
    assert evaluation(folder) == expected["evaluation"]
    (kept,) = (path for path in (folder / "kept").iterdir() if path.is_dir())
    (prepared,) = (folder / "prepared" / "frames").glob("*/metadata.json")
    expected["kept"] = {
        "name": kept.name,
        "raw": [str(raw), raw.stat().st_size, RAW_TIME_NS],
        "options": json.loads(prepared.read_text())["options"],
        "version": prepared.parent.name,
    }
    shutil.rmtree(folder / "kept")
    shutil.rmtree(folder / "run" / "eval")
    return expected


def blobs(count: int, side: int) -> np.ndarray:
    """float64 [count, side, side] in 0 to 255: two spots that go round."""
    rows, columns = np.mgrid[:side, :side] / side
    frames = np.zeros((count, side, side))
    for phase, pace in ((0.0, 0.35), (2.0, -0.2)):
        angle = phase + pace * np.arange(count)[:, None, None]
        squares = np.square(rows - 0.5 - 0.3 * np.sin(angle)) + np.square(columns - 0.5 - 0.3 * np.cos(angle))
        frames += 120 * np.exp(-squares / 0.02)
    return np.round(frames)


def as_killed(folder: pathlib.Path) -> None:
    """Copies the run `whole` to `run`, without anything that came after its first checkpoint."""
    shutil.copytree(folder / "whole", folder / "run")
    for path in (folder / "run" / "checkpoints").iterdir():
        if path.name.isdigit() and int(path.name) > STEP:
            shutil.rmtree(path)
    log = folder / "run" / "metrics.jsonl"
    lines = [line for line in log.read_text().splitlines(keepends=True) if json.loads(line)["step"] <= STEP]
    log.write_text("".join(lines))
    environment = json.loads((folder / "run" / "environment.json").read_text())
    (folder / "run" / "environment.json").write_text(json.dumps({**environment, "platform": "Linux"}, indent=2) + "\n")


def prediction(given: str, model: str, out: str) -> tuple[str, ...]:
    """The command for five frames, of which the network gives two at a time."""
    return "-m", "stlight_jax", "predict", given, model, "--horizon=5", "--dtype=float32", f"--out={out}", "--report=none"


def told(folder: pathlib.Path) -> dict:
    """The evaluation of `run` and the last validation of `whole`, which are cleared away."""
    command("eval.py", "--workdir=run", folder=folder)
    lines = [json.loads(line) for line in (folder / "whole" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    expected = {
        "evaluation": evaluation(folder),
        "total_steps": last["step"],
        "final_validation": {name: last[name] for name in ("mse", "mae", "ssim")},
    }
    shutil.rmtree(folder / "run" / "eval")
    shutil.rmtree(folder / "whole")
    return expected


def evaluation(folder: pathlib.Path) -> dict:
    """The numbers of the run's evaluation that are compared."""
    results = json.loads((folder / "run" / "eval" / "metrics.json").read_text())
    return {
        "overall": {name: results["overall"][name] for name in ("stlight", "copy_last_frame", "best_constant_image")},
        "per_lead_time": results["per_lead_time"]["stlight"]["mse"],
        "sequences": results["test_set"]["sequences"],
    }


def command(name: str, *arguments: str, folder: pathlib.Path) -> None:
    script = (name,) if name == "-m" else (str(CHECKOUT / name),)
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX": ".*/",  # no folders of this machine in exported programs
    }
    subprocess.run([sys.executable, *script, *arguments], cwd=folder, env=environment, check=True)


def pack(out: pathlib.Path) -> None:
    """Packs everything below `PLACE`; times of files are left out."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(PLACE.rglob("*")):
            if path.name != ".lock":
                name = path.relative_to(PLACE).as_posix() + ("/" if path.is_dir() else "")
                content = b"" if path.is_dir() else path.read_bytes()
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    main()
