"""Commands as a shell starts them, but forked from a process that has imported JAX already, which takes them two seconds.

For what they print and their exit status; how a process begins, and what it still does when Python ends, needs a fresh one.
"""

import importlib
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

_SECONDS = 120
_FORKS = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
_FORKS.set_forkserver_preload(["stlight_jax.commands.run_command", "jax"])


def run(*arguments: str, folder: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    """`python *arguments`, a script or `-m MODULE` first, with what it wrote to standard output and standard error."""
    with tempfile.TemporaryDirectory() as place:
        written = [pathlib.Path(place) / name for name in ("out", "error")]
        for path in written:
            path.touch()
        process = _FORKS.Process(target=_run, args=(arguments, folder, written, dict(os.environ)))
        process.start()
        process.join(_SECONDS)
        out, error = (path.read_text() for path in written)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, _SECONDS, out, error)
        return subprocess.CompletedProcess(arguments, process.exitcode, out, error)


def call(name: str, *arguments: str) -> None:
    """`stlight NAME *arguments` in this process; what it cannot do is raised."""
    command = importlib.import_module(f"stlight_jax.commands.{name}").COMMAND
    command.run(command.parse([f"stlight {name}", *arguments]))


def _run(arguments: tuple[str, ...], folder: pathlib.Path, written: list[pathlib.Path], environment: dict[str, str]) -> None:
    for number, path in enumerate(written, 1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(ROOT))
    import jax

    # JAX reads it when it is imported, which was long ago.
    jax.config.update("jax_disable_most_optimizations", environment.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1")
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")
