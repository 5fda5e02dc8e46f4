"""Hand-written CPU kernels in C++: compiled on first use, stored in the user's cache, called by XLA."""

import concurrent.futures
import ctypes
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence

import jax
import jaxlib
from absl import logging

from stlight_jax.console.messages import one_line, print_message
from stlight_jax.errors import InputError
from stlight_jax.storage import caches
from stlight_jax.storage.atomic import write_atomic

_FOLDER = pathlib.Path(__file__).parent
_COMPILER_SECONDS = 900  # half a minute on a quiet core, and longer beside other work


class CpuLibrary:
    """Kernels that are compiled together.

    Args:
      use: Their purpose, for messages.
      sources: Names of C++ files in this folder.
      targets: Names of the kernels, under which XLA calls them.
    """

    def __init__(self, use: str, sources: Sequence[str], targets: Sequence[str]):
        self._use = use
        self._sources = [_FOLDER / name for name in sources]
        self._targets = targets
        self._lock = threading.Lock()
        self._reason: str | None = None  # None before the first use
        self._has_warned = False

    def available(self) -> bool:
        """Returns whether programs traced now for a CPU can use the kernels; warns once if they cannot be compiled.

        If the default platform is not the CPU, the answer is False, because a CPU program is then meant for another machine.
        """
        if jax.default_backend() != "cpu":
            return False
        reason = self.why_unavailable()
        if reason and not self._has_warned:
            logging.warning("XLA's slower loops are used, because the CPU kernels are not available: %s", reason)
            self._has_warned = True
        return not reason

    def why_unavailable(self) -> str:
        """Compiles and registers the kernels on first use.

        Returns:
          An empty text; the reason, on one line, if the kernels are not available.
        """
        with self._lock:
            if self._reason is None:
                self._reason = self._register()
            return self._reason

    def _register(self) -> str:
        given = os.environ.get("CXX", "")
        try:
            compiler = shlex.split(given) or [next(filter(shutil.which, ("c++", "g++", "clang++")), "c++")]
        except ValueError as error:  # a quotation mark that is not closed
            return f"CXX is {given}, which is no command: {one_line(error)}"
        if shutil.which(compiler[0]) is None:
            if given:
                return f"CXX is {compiler[0]}, which does not exist"
            return "no C++ compiler was found; install g++ or clang, or set CXX"
        try:
            library = self.load(compiler)
        except subprocess.TimeoutExpired:
            return f"the C++ compiler did not finish in {_COMPILER_SECONDS} s"
        except (OSError, subprocess.SubprocessError) as error:
            return f"the C++ compiler failed: {one_line(error)}"
        for target in self._targets:
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
        return ""

    def load(self, compiler: Sequence[str]) -> ctypes.CDLL:
        """Loads the library from the cache, after compiling it if the cache has no undamaged one.

        Args:
          compiler: Command of the C++ compiler.

        Raises:
          OSError: The compiler cannot be started.
          subprocess.SubprocessError: It fails, or takes too long.
        """
        tune = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
        options = ["-std=c++17", "-O3", tune, "-ffp-contract=fast", "-fPIC", "-isystem", jax.ffi.include_dir()]
        version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=_COMPILER_SECONDS).stdout
        contents = [path.read_bytes() for path in (*self._sources, *sorted(_FOLDER.glob("cpu_*.h")))]
        recipe = f"{contents!r} {compiler} {version!r} {options} {jaxlib.__version__} {caches.processor()}"
        name = f"kernels-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
        folder = caches.folder() / "kernels"
        for library in sorted(folder.glob(f"{name}-*.so")):
            try:
                # A truncated library kills the process that calls it.
                if library.stem.endswith(_checksum(library.read_bytes())):
                    return ctypes.CDLL(str(library))
                logging.warning("%s is damaged and is compiled again", library)
                library.unlink(missing_ok=True)
            except OSError as error:  # rights are missing, the disk is for data only, or another process removed the file
                logging.warning("%s cannot be used and is compiled again: %s", library, one_line(error))
        print_message(f"compiling the CPU kernels for {self._use} on this processor, once ...")
        with tempfile.TemporaryDirectory(prefix="stlight_kernels_") as temporary:

            def run(arguments: list[pathlib.Path | str], output: str) -> pathlib.Path:
                path = pathlib.Path(temporary) / output
                command = [*compiler, *options, *map(str, arguments), "-o", str(path)]
                subprocess.run(command, check=True, capture_output=True, timeout=_COMPILER_SECONDS)
                return path

            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = list(pool.map(lambda source: run(["-c", source], f"{source.stem}.o"), self._sources))
            compiled = run(["-shared", *objects], "kernels.so")
            content = compiled.read_bytes()
            library = folder / f"{name}-{_checksum(content)}.so"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(library, content)  # several processes may do so at the same time
                return ctypes.CDLL(str(library))
            except (OSError, InputError) as error:
                print_message(f"the CPU kernels are for this process only, {folder} cannot hold them: {one_line(error)}")
                return ctypes.CDLL(str(compiled))


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
