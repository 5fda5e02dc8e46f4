"""The wheel and the sdist in fresh virtual environments, without a checkout; `make test-wheel` installs them, for minutes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.archives import build, copy_sources

pytestmark = pytest.mark.wheel

SMALL = [
    "--config.model.hidden_dim=16", "--config.model.depth=2", "--config.model.scan_unroll=1",
    "--config.data.sequences_per_epoch=16", "--config.data.validation_sequences=4", "--config.data.test_sequences=4",
    "--config.train.epochs=1", "--config.train.checkpoint_every=2",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_installed_archive_trains_evaluates_and_predicts_in_an_empty_folder(tmp_path, kind):
    for name in ("sources", "built", "empty"):
        (tmp_path / name).mkdir()
    archive = build(copy_sources(tmp_path / "sources"), kind, tmp_path / "built")
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(program, *arguments):
        result = subprocess.run(
            [program, *arguments], cwd=tmp_path / "empty", env=environment, capture_output=True, text=True, timeout=1800
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    call(sys.executable, "-m", "venv", tmp_path / "venv")
    call(programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", archive)
    call(programs / "stlight", "train", "--config=moving_mnist:tiny", "--workdir=run", *SMALL)
    assert "stlight" in call(programs / "stlight", "evaluate", "--workdir=run").lower()
    np.save(tmp_path / "empty" / "frames.npy", np.random.default_rng(0).integers(0, 255, (10, 32, 32), np.uint8))
    call(programs / "stlight", "predict", "frames.npy", "--workdir=run")
    assert np.load(tmp_path / "empty" / "frames_predicted.npy").shape[0] == 10
    assert (tmp_path / "empty" / "run" / "eval" / "report.html").stat().st_size > 1000
    names = call(programs / "stlight", "inspect", "--help")
    assert "moving_mnist:L" in names
    where = call(programs / "python", "-c", "import stlight_jax.configs as c; print(c.__path__[0])")
    assert where.strip().startswith(str(tmp_path / "venv"))
