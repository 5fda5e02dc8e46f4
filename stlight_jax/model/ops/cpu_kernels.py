"""The hand-written CPU kernels of `cpu_kernels.cc`: compiled on first use, kept in the user's cache, called through XLA."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading

import jax
import jaxlib
import numpy as np
from absl import logging

from stlight_jax.console.messages import print_message
from stlight_jax.storage import caches

WIDTHS = (1, 3, 5, 7, 9, 11)  # of kernels
MIN_CHANNELS = 16  # as many as the widest vector holds
_SOURCE = pathlib.Path(__file__).with_name("cpu_kernels.cc")
_TARGETS = ("stlight_convolve", "stlight_filter_gradient", "stlight_channel_sums")
_SECONDS = 300
_ONE_AT_A_TIME = threading.Lock()


def available() -> bool:
    """Whether programs traced now for a CPU can use the kernels; says so once if this machine cannot make them.

    False where another platform is the default: a CPU program made there is made for somewhere else.
    """
    return jax.default_backend() == "cpu" and not _warn_once(why_unavailable())


def why_unavailable() -> str:
    """Empty if the kernels can be used; they are compiled and registered then. Otherwise the reason, in one line."""
    with _ONE_AT_A_TIME:
        return _registered()


def convolve(x: jax.Array, kernel: jax.Array, dilation: int, flip: bool) -> jax.Array:
    """Float32 `[b, h, w, d]` with `[k_h, k_w, 1, d]` -> `[b, h, w, d]`; `flip` turns the kernel by half a turn."""
    call = jax.ffi.ffi_call("stlight_convolve", jax.ShapeDtypeStruct(x.shape, x.dtype), vmap_method="sequential")
    return call(x, kernel, dilation=np.int64(dilation), flip=flip)


def filter_gradient(x: jax.Array, cotangent: jax.Array, kernel_sides: tuple[int, int], dilation: int) -> jax.Array:
    """Float32 `[b, h, w, d]` twice -> `[k_h, k_w, 1, d]`."""
    shape = jax.ShapeDtypeStruct((*kernel_sides, 1, x.shape[-1]), x.dtype)
    return jax.ffi.ffi_call("stlight_filter_gradient", shape, vmap_method="sequential")(
        x, cotangent, dilation=np.int64(dilation)
    )


def channel_sums(a: jax.Array, b: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Float32 `[b, h, w, d]` twice and `[d]` -> `[d]` twice: the sums over all pixels of a and of a * (b - center)."""
    shape = jax.ShapeDtypeStruct(center.shape, center.dtype)
    return tuple(jax.ffi.ffi_call("stlight_channel_sums", (shape, shape), vmap_method="sequential")(a, b, center))


@functools.cache
def _warn_once(reason: str) -> str:
    if reason:
        logging.warning("slower loops of XLA's are used, for the CPU kernels are not there: %s", reason)
    return reason


@functools.cache
def _registered() -> str:
    given = os.environ.get("CXX", "")
    compiler = shlex.split(given) or [next(filter(shutil.which, ("c++", "g++", "clang++")), "c++")]
    if shutil.which(compiler[0]) is None:
        if given:
            return f"CXX names a compiler that is not there, {compiler[0]}"
        return "there is no C++ compiler; install g++ or clang, or set CXX"
    try:
        library = _loaded(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        return f"the C++ compiler failed: {_telling_line(error)}"
    for target in _TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return ""


def _loaded(compiler: list[str]) -> ctypes.CDLL:
    """The library, from the cache if it is there and whole."""
    tune = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    options = ["-std=c++17", "-O3", tune, "-ffp-contract=fast", "-fPIC", "-shared", "-isystem", jax.ffi.include_dir()]
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=_SECONDS).stdout
    recipe = f"{_SOURCE.read_bytes()} {compiler} {version} {options} {jaxlib.__version__} {caches.processor()}"
    name = f"kernels-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    folder = caches.folder() / "kernels"
    for library in sorted(folder.glob(f"{name}-*.so")):
        # A library that has lost its end kills the process that calls it.
        if library.stem.endswith(_checksum(library)):
            return ctypes.CDLL(str(library))
        logging.warning("%s is damaged and is made anew", library)
        library.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        print_message("compiling the CPU kernels for this processor, once ...")
    except OSError as error:
        print_message(
            f"compiling the CPU kernels, for this process only, for they cannot be kept in {folder} ({error.strerror}) ..."
        )
        folder = pathlib.Path(tempfile.mkdtemp(prefix="stlight_kernels_"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Several processes may be at it; each moves a whole file into place.
    handle, unfinished = tempfile.mkstemp(dir=folder, prefix=name, suffix=".tmp")
    os.close(handle)
    try:
        command = [*compiler, *options, str(_SOURCE), "-o", unfinished]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        os.chmod(unfinished, 0o755)
        library = folder / f"{name}-{_checksum(pathlib.Path(unfinished))}.so"
        os.replace(unfinished, library)
    finally:
        pathlib.Path(unfinished).unlink(missing_ok=True)
    return ctypes.CDLL(str(library))


def _checksum(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _telling_line(error: Exception) -> str:
    """The first line with an error in it of what a compiler wrote, else what Python says."""
    written = (getattr(error, "stderr", None) or b"").decode(errors="replace").splitlines()
    return next((line.strip() for line in written if "error:" in line), str(error).splitlines()[0])
