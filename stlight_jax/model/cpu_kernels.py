"""The hand-written CPU kernels of `cpu_kernels.cc`: compiled on first use, kept in the user's cache, called through XLA."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

import jax
import jaxlib
import numpy as np
from absl import logging

from stlight_jax import caches
from stlight_jax.progress import say

_SOURCE = pathlib.Path(__file__).with_name("cpu_kernels.cc")
_TARGETS = ("stlight_convolve", "stlight_filter_gradient", "stlight_channel_sums")
_SECONDS = 300


@functools.cache
def why_unavailable() -> str:
    """Empty if the kernels can be used; they are compiled and registered then. Otherwise the reason, in one line."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None or shutil.which(compiler) is None:
        return f"no C++ compiler was found ({compiler or 'c++, g++ or clang++'}); install one, or set CXX"
    try:
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        return f"{compiler} could not compile them: {_last_line(error)}"
    for target in _TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return ""


@functools.cache
def available() -> bool:
    """Whether the kernels can be used; says so once if they cannot."""
    reason = why_unavailable()
    if reason:
        logging.warning("slower loops of XLA's are used, for the CPU kernels are not there: %s", reason)
    return not reason


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


def _compiled(compiler: str) -> pathlib.Path:
    """The library, compiled for this processor if it is not in the cache yet."""
    tune = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    options = ["-std=c++17", "-O3", tune, "-ffp-contract=fast", "-fPIC", "-shared", "-isystem", jax.ffi.include_dir()]
    recipe = f"{_SOURCE.read_bytes()} {compiler} {options} {jaxlib.__version__} {caches.processor()}"
    name = f"kernels-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.so"
    folder = caches.folder() / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
    except OSError:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="stlight_kernels_"))
    library = folder / name
    if not library.exists():
        say("compiling the CPU kernels for this processor, once ...")
        # Several processes may be at it; each moves a whole file into place.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=name, suffix=".tmp", delete=False) as unfinished:
            path = pathlib.Path(unfinished.name)
        try:
            command = [compiler, *options, str(_SOURCE), "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
            path.replace(library)
        finally:
            path.unlink(missing_ok=True)
    return library


def _last_line(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return next((line.strip() for line in text.splitlines() if "error" in line), text.strip().splitlines()[-1])
