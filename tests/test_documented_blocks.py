"""The Python blocks of all pages run, and so do the shell blocks of the tutorials, in the order of the page.

They run in a folder with the data of the examples. `stlight train` takes a few steps only. Installations are left out, and
the copy of the examples out of a wheel.
"""

import os
import re
import shutil
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from stlight_jax.config import sections
from tests.conftest import ROOT
from tests.test_documented_commands import PAGES

STLIGHT = f"""#!{sys.executable}
import sys
from stlight_jax.__main__ import main
if sys.argv[1] == "train":
    few = ["--config.train.steps=4", "--config.train.checkpoint_every=4"]
    if "--config=moving_mnist:tiny" in sys.argv:
        few += ["--config.data.validation_sequences=16", "--config.data.test_sequences=40"]
    sys.argv[1:] = [word for word in sys.argv[1:] if not word.startswith("--minutes=")] + few
sys.exit(main())
"""
SHELL_TOO = {
    *(f"docs/tutorials/{name}.md" for name in ("first_forecast", "train_and_resume", "your_own_frames")),
    *(f"docs/how_to/{name}.md" for name in ("clock_and_static_fields", "deploy", "earlier_periods")),
}
FIRST = {"docs/how_to/deploy.md": "stlight train --config=moving_mnist:tiny --workdir=runs/mine"}
LEFT_OUT = "pip install|copytree"
SHIPPED = "docs/tutorials/first_forecast.md"  # its network is the same on every machine, so its figures are, too
WITH_PYTHON = [path.relative_to(ROOT).as_posix() for path in PAGES if "```python" in path.read_text()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the data of the examples and hourly frames, and a command `stlight` that trains for four steps."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name, frames in hourly_frames().items():
        with netCDF4.Dataset(tmp_path / name, "w") as file:
            file.createDimension("time", len(frames))
            for axis, side in zip("yx", frames.shape[1:], strict=True):
                file.createDimension(axis, side)
            file.createVariable("time", "i4", ("time",)).units = "hours since 2019-03-01"
            file["time"][:] = np.arange(len(frames))
            file.createVariable("value", "f4", ("time", "y", "x"))[:] = frames
    np.save(tmp_path / "orography.npy", np.arange(256.0).reshape(16, 16))
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 256, (2, 10, 32, 32, 1), np.uint8))
    command = tmp_path / "bin" / "stlight"
    command.parent.mkdir()
    command.write_text(STLIGHT)
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("COLUMNS", "200")


def hourly_frames():
    """Two files of 16 x 16 pixels with a daily rhythm."""
    hours = np.arange(600)[:, None, None]
    daily = 10 + np.sin(2 * np.pi * hours / 24) + np.random.default_rng(0).normal(0, 0.1, (600, 16, 16))
    return {"taxis.nc": daily, "t2m.nc": 270 + daily}


def run_shell(block):
    """Runs a block by a shell that stops at the first failure, and returns all output."""
    done = subprocess.run(["sh", "-e"], input=block, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def missing_lines(shown, output):
    """The lines of a documented output whose words are not the words of one line of the real output, in their order.

    A documented table may leave columns out, and a long line may be wrapped.
    """
    lines = [line.split() for line in output.splitlines()]
    joined = " ".join(output.split())
    return [
        line
        for line in shown.splitlines()
        if " ".join(line.split()) not in joined and not any(_is_part(line.split(), words) for words in lines)
    ]


def _is_part(words, of):
    rest = iter(of)
    return all(word in rest for word in words)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted({*WITH_PYTHON, *SHELL_TOO}))
@pytest.mark.usefixtures("folder")
def test_the_blocks_of_a_page_run(name):
    if "```python\nimport torch" in (ROOT / name).read_text():
        pytest.importorskip("torch")
    outputs = [run_shell(FIRST[name])] if name in FIRST else []
    parsers = [PythonCodeBlockParser(), *(CodeBlockParser(language, lambda example: None) for language in ("sh", "text"))]
    page = Document.parse(str(ROOT / name), *parsers)
    if name.endswith("extend_the_package.md"):
        page.namespace.update(vars(sections))
    for example in page.examples():
        language = re.match(r" *```(\w+)", page.text[example.start :])[1]
        if language == "python":
            example.evaluate()
        elif language == "sh" and name in SHELL_TOO and not re.search(LEFT_OUT, example.parsed):
            outputs.append(run_shell(example.parsed))
        elif language == "text" and name == SHIPPED:
            assert not missing_lines(example.parsed, "\n".join(outputs))


def test_lines_that_the_output_lacks_are_found():
    output = "│ a name │ 1 │ 2 │ 3 │\nwrote a.gif\n"
    assert missing_lines("│ a name │ 1 │ 3 │\nwrote\na.gif", output) == []
    assert missing_lines("│ a name │ 1 │ 4 │\nwrote b.gif", output) == ["│ a name │ 1 │ 4 │", "wrote b.gif"]
    assert missing_lines("a name wrote a.gif", output) == ["a name wrote a.gif"]
