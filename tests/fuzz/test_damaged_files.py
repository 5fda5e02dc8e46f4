"""Damaged files of every kind are read, or refused in one line that names the file; see `python -m tests.fuzz --help`."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.commands import ROOT


def read_damaged(group, cases, jobs=1):
    """Reads damaged files in a process of their own, since this one has imported JAX."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", f"--group={group}", f"--cases={cases}", f"--jobs={jobs}"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


def test_damaged_frames_are_read_or_refused():
    read_damaged("readers", 340)


def test_damaged_networks_are_read_or_refused():
    read_damaged("networks", 30)


@pytest.mark.torch
def test_damaged_weights_are_read_or_refused():
    read_damaged("torch", 150)


@pytest.mark.fuzz
@pytest.mark.parametrize(("group", "cases"), [("readers", 9000), ("networks", 500), ("torch", 500)])
def test_thousands_of_damaged_files_are_read_or_refused(group, cases):
    if group == "torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("needs PyTorch")
    read_damaged(group, cases, jobs=os.cpu_count())
