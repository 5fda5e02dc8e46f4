"""The HDF5 format, read slice by slice through h5py."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.array_slicing import StoredArray
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.named_arrays import extra_arrays, open_arrays
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.value_conversion import to_stored

_POINTERS = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS")  # attributes that point into the file that has them


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    import h5py

    (path,) = files
    datasets: list[Any] = []
    with read_errors(path), h5py.File(path, "r") as file:
        file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        arrays = [
            StoredArray(key, item.shape, item.dtype, functools.partial(_opened, path, key))
            for item in datasets
            if item.shape is not None and (key := item.name.lstrip("/"))  # an empty dataset has no shape
        ]
    return open_arrays(path, FORMAT.name, name, arrays, options)


@contextlib.contextmanager
def _opened(path: epath.Path, key: str) -> Iterator[Any]:
    import h5py

    with h5py.File(path, "r") as file:
        yield file[key]


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes the array under its name with the attributes of the source, then times and the starts of windows."""
    import h5py

    with h5py.File(path, "w") as file:
        chunks = (*(1 for _ in spec.outer_shape), *spec.array_shape[len(spec.outer_shape) :])
        stored = file.create_dataset(spec.key, spec.array_shape, spec.dtype, chunks=chunks)
        if spec.source.format == FORMAT.name:
            with _opened(spec.source.path, spec.source.key) as source:
                stored.attrs.update({name: value for name, value in source.attrs.items() if name not in _POINTERS})

        def write(frame: np.ndarray, index: int) -> None:
            stored[np.unravel_index(index, spec.outer_shape)] = to_stored(frame, spec)

        yield write
        for key, (values, attributes) in extra_arrays(spec).items():
            if values.dtype.kind in "MU":
                values = np.char.encode(values.astype(str), "utf-8")
            file.create_dataset(key, data=values).attrs.update(attributes)


FORMAT = FileFormat(
    name="h5",
    title="an HDF5 file",
    endings=(".h5", ".hdf5"),
    reader=_read,
    output_endings=(".h5", ".hdf5"),
    writer=_write,
    packages=("h5py",),
    extra="hdf5",
    has_named_arrays=True,
    limits=OutputLimits(outer_axes=True),
    output_bytes=lambda spec: spec.array_bytes,
)
