"""Every script in examples/ runs as it is, and its last lines show what its docstring promises."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path):
    """Runs an example from a folder with the data of the examples, and returns its output."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")

    def run_example(name, *arguments):
        command = [sys.executable, f"examples/{name}.py", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "XLA_FLAGS": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_example


@pytest.mark.long
def test_an_array_is_forecast_better_than_its_last_frame(run):
    rows = re.findall(r"^ +\d+ +([\d.]+) +([\d.]+)$", run("forecast_array"), re.MULTILINE)
    assert len(rows) == 10
    assert all(float(network) < float(repeated) for network, repeated in rows)


@pytest.mark.long
def test_fine_tuning_lowers_the_error_on_new_frames(run):
    before, after = re.findall(r"mean squared error ([\d.]+)", run("fine_tune"))
    assert float(after) < float(before)


@pytest.mark.long
def test_a_custom_loop_trains_a_network_that_beats_the_last_frame(run):
    network, repeated = re.findall(r"^test.*error ([\d.]+)$", run("custom_training"), re.MULTILINE)
    assert float(network) < float(repeated)


@pytest.mark.long
def test_nowcasts_have_scores_between_0_and_1_of_each_lead_time(run):
    rows = re.findall(r"^  (network|last frame) +((?:[\d.]+ ?)+)$", run("nowcast", "20"), re.MULTILINE)
    assert [name for name, _ in rows] == ["network", "last frame"] * 2
    assert all(0 <= float(value) <= 1 for _, values in rows for value in values.split())
    assert {len(values.split()) for _, values in rows} == {7}


@pytest.mark.long
def test_a_served_network_answers_with_a_forecast(run):
    assert run("serve").splitlines()[-1] == "forecast: uint8, (10, 32, 32)"


def test_every_example_is_short_and_begins_with_what_it_shows():
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert len(scripts) == 5
    for script in scripts:
        assert len(script.read_text().splitlines()) <= 65
        assert script.read_text().startswith('"""')
