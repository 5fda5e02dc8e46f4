"""Fixtures of tests in which training runs meet faults, or begin at a shortcut."""

import dataclasses
import resource
import shutil
import subprocess

import pytest

from stlight_jax.data.datasets.moving_mnist import MovingMnist
from tests.training.faults import run_config
from tests.training.runs import command, run_to_end
from tests.training.waves import Waves


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    result = run_to_end(command(folder, run_config()))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def limited():
    """Limits the size of this process's files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def immutable():
    """Makes folders that even root cannot write to."""
    made = []

    def make(folder):
        done = shutil.which("chattr") and subprocess.run(["chattr", "+i", folder], capture_output=True, check=False)
        if not done or done.returncode:
            pytest.skip("no folder can be made immutable here")
        made.append(folder)

    yield make
    for folder in made:
        subprocess.run(["chattr", "-i", folder], check=True)


@pytest.fixture
def waves(small_run, monkeypatch):
    """Makes the data of the small run, 3 -> 2 frames, waves of a known linear recurrence."""
    scaling = dataclasses.replace(MovingMnist().open_test(small_run.data, 5).scaling, dtype="float32", high=(1.0,))
    sets = Waves(scaling), Waves(scaling, seed=1)
    monkeypatch.setattr("stlight_jax.training.setup.open_training", lambda _: sets)
    return small_run
