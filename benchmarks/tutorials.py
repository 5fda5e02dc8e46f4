"""Runs the commands of a tutorial and records their output, of which the page shows a part.

    python benchmarks/tutorials.py --page=your_own_frames

The blocks of docs/tutorials/PAGE.md run one after the other in a temporary folder with a copy of `examples/`, but for
installations. A command that the page has twice is stopped by Ctrl-C after a minute the first time. The output is written to
benchmarks/results/tutorials/PAGE.txt, the strip of pictures of an evaluation, or strip.png, to PAGE.png. Tables and verdicts
that the page shows get the figures of the record.
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
import textwrap

from absl import flags

from stlight_jax.commands.run_command import run_script
from stlight_jax.errors import InputError

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "tutorials"
_SECONDS_BEFORE_STOP = 60
_WIDTH = 160  # columns of the terminal, for whole tables
_SHOWN_WIDTH = 100  # columns of a paragraph in a block of a page


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


def refreshed(page: pathlib.Path, record: str) -> str:
    """Returns the text of a page with the figures of a record in its blocks with a table or a verdict.

    A table keeps its columns and its rows, which can be some of the recorded ones; the numbers of a row's name can differ.

    Raises:
      InputError: the record lacks a table or the verdict.
    """

    def replaced(block: re.Match[str]) -> str:
        try:
            return _refreshed(block[0], record)
        except InputError as error:
            raise InputError(f"{page}: {error}; change the page, or its commands and record it again") from None

    return re.sub(r"(?<=```text\n)(.*?)(?=^```)", replaced, page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _refreshed(block: str, record: str) -> str:
    if block.startswith("Overall, "):
        verdict = re.search(r"^Overall, .*?(?=\n\n|\nall tables|\Z)", record, re.DOTALL | re.MULTILINE)
        if verdict is None:
            raise InputError("the record has no verdict, a paragraph that begins with 'Overall, '")
        return textwrap.fill(" ".join(verdict[0].split()), _SHOWN_WIDTH) + "\n"
    if not block.startswith("┃"):
        return block
    header, *rows = map(_cells, block.splitlines())
    labels = {_without_numbers(row[0]) for row in rows}
    for table in re.findall(r"^┃.*?(?=^└)", record, re.DOTALL | re.MULTILINE):
        recorded, *lines = [_cells(line) for line in table.splitlines() if line[0] in "┃│"]
        if set(header) <= set(recorded) and labels <= {_without_numbers(line[0]) for line in lines}:
            places = [recorded.index(name) for name in header]
            chosen = [[line[place] for place in places] for line in lines if _without_numbers(line[0]) in labels]
            return _table([header, *chosen])
    names = ", ".join(header), ", ".join(row[0] for row in rows)
    raise InputError("no table of the record has the columns '{}' and the rows '{}'".format(*names))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[┃│]", line)[1:-1]]


def _without_numbers(label: str) -> str:
    return re.sub(r"[\d,]+", "", label)


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for number, (label, *values) in enumerate(rows):
        cells = [label.ljust(widths[0]), *(value.rjust(width) for value, width in zip(values, widths[1:], strict=True))]
        border = "│" if number else "┃"
        lines.append(f"{border} {f' {border} '.join(cells)} {border}\n")
    return "".join(lines)


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
    page = ROOT / "docs" / "tutorials" / f"{flags.FLAGS.page}.md"
    with tempfile.TemporaryDirectory() as folder:
        text = record(page.stem, pathlib.Path(folder))
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{page.stem}.txt").write_text(text)
        page.write_text(refreshed(page, text))
        for pattern in ("runs/*/eval/prediction.png", "strip.png"):
            for picture in pathlib.Path(folder).glob(pattern):
                shutil.copy(picture, RESULTS / f"{page.stem}.png")


if __name__ == "__main__":
    flags.DEFINE_string("page", None, "Name of a page in docs/tutorials, without its ending.", required=True)
    run_script(main)
