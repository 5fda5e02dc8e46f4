"""The hand-written CPU kernels (`cpu_*.cc`): compiled on first use, stored in the user's cache, called by XLA."""

import concurrent.futures
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
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from absl import logging
from jax.typing import DTypeLike

from stlight_jax.console.messages import one_line, print_message
from stlight_jax.errors import InputError
from stlight_jax.storage import caches
from stlight_jax.storage.atomic import write_atomic

WIDTHS = (1, 3, 5, 7, 9, 11)  # of depthwise kernels
MIN_CHANNELS = 16  # the widest vector holds so many
_TILE_CHANNELS = 32  # the widest tile of a product holds so many
_FOLDER = pathlib.Path(__file__).parent
_SOURCES = sorted(_FOLDER.glob("cpu_*.cc"))
_TARGETS = (
    "stlight_convolve",
    "stlight_filter_gradient",
    "stlight_channel_sums",
    "stlight_mixers_float32",
    "stlight_mixers_bfloat16",
    "stlight_training_forward_float32",
    "stlight_training_forward_bfloat16",
    "stlight_training_backward_float32",
    "stlight_training_backward_bfloat16",
)
_COMPILER_SECONDS = 300
_REGISTRATION_LOCK = threading.Lock()


def available() -> bool:
    """Returns whether programs traced now for a CPU can use the kernels; warns once if they cannot be compiled.

    If the default platform is not the CPU, the answer is False, because a CPU program is then meant for another machine.
    """
    return jax.default_backend() == "cpu" and not _warn_once(why_unavailable())


def why_unavailable() -> str:
    """Compiles and registers the kernels on first use.

    Returns:
      An empty text; the reason, on one line, if the kernels are not available.
    """
    with _REGISTRATION_LOCK:
        return _registered()


def convolve(x: jax.Array, kernel: jax.Array, dilation: int, flip: bool) -> jax.Array:
    """Convolves each channel with its own kernel.

    Args:
      x: float32 `[b, h, w, d]`.
      kernel: float32 `[k_h, k_w, 1, d]`.
      dilation: Distance between neighbouring taps, in pixels.
      flip: Whether to rotate the kernel by 180 degrees.

    Returns:
      float32 `[b, h, w, d]`.
    """
    call = jax.ffi.ffi_call("stlight_convolve", jax.ShapeDtypeStruct(x.shape, x.dtype), vmap_method="sequential")
    return call(x, kernel, dilation=np.int64(dilation), flip=flip)


def filter_gradient(x: jax.Array, cotangent: jax.Array, kernel_sides: tuple[int, int], dilation: int) -> jax.Array:
    """Returns the gradient of the convolution with respect to its kernel.

    Args:
      x: float32 `[b, h, w, d]`.
      cotangent: float32 `[b, h, w, d]`.
      kernel_sides: (k_h, k_w).
      dilation: As in `convolve`.

    Returns:
      float32 `[k_h, k_w, 1, d]`.
    """
    shape = jax.ShapeDtypeStruct((*kernel_sides, 1, x.shape[-1]), x.dtype)
    return jax.ffi.ffi_call("stlight_filter_gradient", shape, vmap_method="sequential")(
        x, cotangent, dilation=np.int64(dilation)
    )


def channel_sums(a: jax.Array, b: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums a and a * (b - center) over all pixels.

    Args:
      a: float32 `[b, h, w, d]`.
      b: float32 `[b, h, w, d]`.
      center: float32 `[d]`.

    Returns:
      float32 `[d]` twice.
    """
    shape = jax.ShapeDtypeStruct(center.shape, center.dtype)
    sums, products = jax.ffi.ffi_call("stlight_channel_sums", (shape, shape), vmap_method="sequential")(a, b, center)
    return sums, products


def mixers(x: jax.Array, params: Mapping[str, Any], dilation: int) -> jax.Array:
    """Applies a stack of mixer blocks with folded batch norms.

    Args:
      x: float32 or bfloat16 `[b, h, w, d]`.
      params: float32 parameters of `MixerBlock`, stacked: the first axis is the block.
      dilation: Distance between neighbouring taps of the far convolution, in pixels.

    Returns:
      `[b, h, w, d]` of the same type.
    """
    channels = x.shape[-1]
    padded = -(-channels // _TILE_CHANNELS) * _TILE_CHANNELS  # room for the weights of a block, in the order of the product
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    shapes = (like, like, jax.ShapeDtypeStruct((channels * padded,), jnp.float32))
    layers = [params[name] for name in ("near", "far", "spatial_norm", "pointwise", "pointwise_norm")]
    arguments = [layer[name] for layer in layers for name in ("kernel", "bias", "factor", "summand") if name in layer]
    call = jax.ffi.ffi_call(f"stlight_mixers_{x.dtype.name}", shapes, vmap_method="sequential")
    return call(x, *arguments, dilation=np.int64(dilation))[0]


def supports_mixers(dtype: DTypeLike, channels: int, widths: Sequence[int]) -> bool:
    """Returns whether `mixers` supports a type, a number of channels and widths of depthwise kernels."""
    fits = channels >= _TILE_CHANNELS and set(widths) <= set(WIDTHS)
    return fits and (dtype == jnp.float32 or (dtype == jnp.bfloat16 and channels % 2 == 0))


@functools.cache
def _warn_once(reason: str) -> str:
    if reason:
        logging.warning("XLA's slower loops are used, because the CPU kernels are not available: %s", reason)
    return reason


@functools.cache
def _registered() -> str:
    given = os.environ.get("CXX", "")
    compiler = shlex.split(given) or [next(filter(shutil.which, ("c++", "g++", "clang++")), "c++")]
    if shutil.which(compiler[0]) is None:
        if given:
            return f"CXX is {compiler[0]}, which does not exist"
        return "no C++ compiler was found; install g++ or clang, or set CXX"
    try:
        library = _loaded(compiler)
    except subprocess.TimeoutExpired:
        return f"the C++ compiler did not finish in {_COMPILER_SECONDS} s"
    except (OSError, subprocess.SubprocessError) as error:
        return f"the C++ compiler failed: {one_line(error)}"
    for target in _TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return ""


def _loaded(compiler: list[str]) -> ctypes.CDLL:
    """Returns the library, from the cache if it contains an undamaged one."""
    tune = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    options = ["-std=c++17", "-O3", tune, "-ffp-contract=fast", "-fPIC", "-isystem", jax.ffi.include_dir()]
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=_COMPILER_SECONDS).stdout
    contents = [path.read_bytes() for path in (*_SOURCES, *sorted(_FOLDER.glob("cpu_*.h")))]
    recipe = f"{contents!r} {compiler} {version!r} {options} {jaxlib.__version__} {caches.processor()}"
    name = f"kernels-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    folder = caches.folder() / "kernels"
    for library in sorted(folder.glob(f"{name}-*.so")):
        # A truncated library kills the process that calls it.
        if library.stem.endswith(_checksum(library.read_bytes())):
            return ctypes.CDLL(str(library))
        logging.warning("%s is damaged and is compiled again", library)
        library.unlink(missing_ok=True)
    print_message("compiling the CPU kernels for this processor, once ...")
    with tempfile.TemporaryDirectory(prefix="stlight_kernels_") as temporary:

        def run(arguments: list[pathlib.Path | str], output: str) -> pathlib.Path:
            path = pathlib.Path(temporary) / output
            command = [*compiler, *options, *map(str, arguments), "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True, timeout=_COMPILER_SECONDS)
            return path

        with concurrent.futures.ThreadPoolExecutor(len(_SOURCES)) as pool:
            objects = list(pool.map(lambda source: run(["-c", source], f"{source.stem}.o"), _SOURCES))
        compiled = run(["-shared", *objects], "kernels.so")
        content = compiled.read_bytes()
        library = folder / f"{name}-{_checksum(content)}.so"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(library, content)  # several processes may do so at the same time
        except (OSError, InputError) as error:
            print_message(f"the CPU kernels are for this process only, they cannot be stored in {folder}: {one_line(error)}")
            library = compiled
        return ctypes.CDLL(str(library))


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
