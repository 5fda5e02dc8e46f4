"""Runs the commands of a tutorial and records their output, of which the page shows a part.

    python benchmarks/tutorials.py --page=your_own_frames

The blocks of docs/tutorials/PAGE.md run one after the other in a temporary folder with a copy of `examples/`, but for
installations. A command that the page has twice is stopped by Ctrl-C after a minute the first time. The output is written to
benchmarks/results/tutorials/PAGE.txt, the strip of pictures of an evaluation to PAGE.png.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from absl import flags

from stlight_jax.commands.run_command import run_script

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "tutorials"
_SECONDS_BEFORE_STOP = 60
_WIDTH = 160  # columns of the terminal, for whole tables


def blocks(page: str) -> list[tuple[str, str]]:
    """Returns language and text of the blocks of a page that run."""
    text = (ROOT / "docs" / "tutorials" / f"{page}.md").read_text()
    found = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(language, block) for language, block in found if not re.search("pip install|copytree", block)]


def record(page: str, folder: pathlib.Path) -> str:
    """Runs the blocks of a page in a folder, and returns them with their output."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    rest = blocks(page)
    python = printed = ""
    parts = []
    while rest:
        language, block = rest.pop(0)
        if language == "sh":
            output = _run(["sh", "-ec", block], folder, stop=("sh", block) in rest)
        else:  # with the blocks before it, whose output is not repeated
            python += block
            printed, earlier = _run([sys.executable, "-c", python], folder), printed
            output = printed.removeprefix(earlier)
        parts.append(re.sub("^", "$ " if language == "sh" else ">>> ", block.rstrip(), flags=re.MULTILINE) + f"\n{output}")
        print(parts[-1], flush=True)
    tables = sorted(folder.glob("runs/*/eval/table.txt"))
    return "\n".join([*parts, *(f"{table.relative_to(folder)}\n{table.read_text()}" for table in tables)])


def _run(command: list[str], folder: pathlib.Path, *, stop: bool = False) -> str:
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": str(_WIDTH)}
    options = {"cwd": folder, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **options, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=_SECONDS_BEFORE_STOP if stop else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate()
    if process.returncode and not stop:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}:\n{output}")
    return output.replace(str(folder), "FOLDER").replace(str(pathlib.Path.home()), "~")


def main() -> None:
    """Records the page of the flag."""
    with tempfile.TemporaryDirectory() as folder:
        text = record(flags.FLAGS.page, pathlib.Path(folder))
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{flags.FLAGS.page}.txt").write_text(text)
        for picture in pathlib.Path(folder).glob("runs/*/eval/prediction.png"):
            shutil.copy(picture, RESULTS / f"{flags.FLAGS.page}.png")


if __name__ == "__main__":
    flags.DEFINE_string("page", None, "Name of a page in docs/tutorials, without its ending.", required=True)
    run_script(main)
