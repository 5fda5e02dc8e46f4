"""The parcel for a bare machine with a GPU: which files it has, and their sizes."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
import zipfile
from collections.abc import Iterator

from benchmarks.gpu import flat_state
from stlight_jax.errors import InputError

FILE_BYTES, ALL_BYTES = 16 * 2**20, 60 * 2**20
_ROOT = pathlib.Path(__file__).parents[2]
_CODE = ("stlight_jax/**/*", "configs/*.py", "benchmarks/*.py", "benchmarks/gpu/**/*")
_PURE_PYTHON = ("optax", "ml-collections")  # dependencies that a machine with JAX and Flax may lack


def pack(parcel: pathlib.Path, results: pathlib.Path, mnist: str = "") -> None:
    """Writes the parcel.

    Args:
      parcel: folder; an existing parcel is replaced.
      results: folder of earlier visits' results.
      mnist: folder of MNIST's idx files; "" for none.

    Raises:
      InputError: the parcel's folder holds other files, images are missing, or the parcel is too large.
    """
    if parcel.exists():
        if any(parcel.iterdir()) and not (parcel / "start.py").exists():
            raise InputError(f"{parcel} holds other files; expected a parcel or no folder; name another --out")
        shutil.rmtree(parcel)
    parcel.mkdir(parents=True)
    with zipfile.ZipFile(parcel / "code.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in _code():
            archive.write(path, name)
    images = _images(mnist) if mnist else []
    flat_state.copy_compressed(flat_state.find(results), parcel)
    earlier = results.glob("results.json")
    for path in (pathlib.Path(__file__).with_name("start.py"), *images, *earlier):
        shutil.copyfile(path, parcel / path.name)
    check_sizes(parcel)


def check_sizes(parcel: pathlib.Path) -> None:
    """Checks the sizes of a parcel's files.

    Raises:
      InputError: a file, or all together, are too large.
    """
    sizes = {path.name: path.stat().st_size for path in parcel.iterdir()}
    for name, size in sizes.items():
        if size > FILE_BYTES:
            raise InputError(f"{parcel / name} has {size:,} bytes; expected at most {FILE_BYTES:,}; compress it with gzip")
    if sum(sizes.values()) > ALL_BYTES:
        raise InputError(f"{parcel} has {sum(sizes.values()):,} bytes; expected at most {ALL_BYTES:,}; leave out --mnist")


def _code() -> Iterator[tuple[pathlib.Path, str]]:
    """Yields files and their names in the archive."""
    for pattern in _CODE:
        for path in sorted(_ROOT.glob(pattern)):
            if path.is_file() and not {"__pycache__", "shipped"} & set(path.parts):
                yield path, str(path.relative_to(_ROOT))
    for package in _PURE_PYTHON:
        for file in importlib.metadata.files(package) or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                yield pathlib.Path(file.locate()), f"site/{file}"


def _images(mnist: str) -> list[pathlib.Path]:
    found = sorted(pathlib.Path(mnist).glob("*-images-idx3-ubyte*"))
    splits = [path.name.partition("-")[0] for path in found]
    if sorted(splits) != ["t10k", "train"]:
        raise InputError(
            f"{mnist} has {[path.name for path in found]}; expected train- and t10k-images-idx3-ubyte.gz; see --mnist"
        )
    return found
