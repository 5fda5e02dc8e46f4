"""Commands as a shell starts them, but forked from a process that has imported JAX already, which takes them two seconds.

For what they print and how they end; what depends on how a process begins is tested with fresh ones.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

_FORKS = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
_FORKS.set_forkserver_preload(["stlight_jax.cli"])


def run(*arguments: str, folder: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    """`python *arguments`, a script or `-m MODULE` first, with what it wrote to standard output and standard error."""
    with tempfile.TemporaryDirectory() as place:
        written = [pathlib.Path(place) / name for name in ("out", "error")]
        process = _FORKS.Process(target=_run, args=(arguments, folder, written))
        process.start()
        process.join(120)
        process.kill()
        return subprocess.CompletedProcess(arguments, process.exitcode, *(path.read_text() for path in written))


def _run(arguments: tuple[str, ...], folder: pathlib.Path, written: list[pathlib.Path]) -> None:
    for number, path in enumerate(written, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    sys.path.insert(0, str(ROOT))
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
