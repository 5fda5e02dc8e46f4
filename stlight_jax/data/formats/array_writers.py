""".npy, .npz and HDF5 files, frame by frame."""

from __future__ import annotations

import contextlib
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from stlight_jax.data.continued_times import as_dates
from stlight_jax.data.formats.output import Form, Write, as_stored, free_name
from stlight_jax.data.formats.types import needed


@contextlib.contextmanager
def npy(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """One array; it has no place for times."""
    with open(path, "wb") as file:
        _write_header(file, form.array_shape, form.dtype)
        yield lambda frames: _write(file, as_stored(frames, form))


@contextlib.contextmanager
def npz(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """The array under its name, uncompressed as `numpy.savez` has it, with times, and the places of windows."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open(f"{form.key}.npy", "w", force_zip64=True) as file:
            _write_header(file, form.array_shape, form.dtype)
            yield lambda frames: _write(file, as_stored(frames, form))
        for key, (values, _) in beside(form).items():
            with archive.open(f"{key}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


@contextlib.contextmanager
def hdf5(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """The array under its name, with the attributes it had, times, and the places of windows."""
    h5py = needed("h5py", "hdf5", path)
    with h5py.File(path, "w") as file:
        frame = form.array_shape[-len(form.axes) :]
        leading = form.array_shape[: -len(form.axes)]
        stored = file.create_dataset(form.key, form.array_shape, form.dtype, chunks=(*(1 for _ in leading), *frame))
        if form.origin.kind == "hdf5":
            with h5py.File(str(form.origin.path), "r") as source:
                for name, value in source[form.origin.key].attrs.items():
                    if name not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS"):  # pointers into the other file
                        stored.attrs[name] = value
        done = 0

        def write(frames: np.ndarray) -> None:
            nonlocal done
            for one in as_stored(frames, form):
                stored[np.unravel_index(done, leading)] = one
                done += 1

        yield write
        for key, (values, attributes) in beside(form).items():
            if values.dtype.kind == "M":
                values = np.array([str(value).encode() for value in values])
            elif values.dtype.kind == "U":
                values = np.char.encode(values, "utf-8")
            stored = file.create_dataset(key, data=values)
            for name, value in attributes.items():
                stored.attrs[name] = value


def beside(form: Form) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Arrays that go with the frames, and their attributes: their times, as the source writes them, and where windows start.

    Where the frames have such a name, these get others.
    """
    arrays: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
    if form.starts is not None:
        arrays[free_name("start", [form.key])] = np.asarray(form.starts, np.int64), {}
    if form.stamps is not None:
        key = form.stamps.key or "time"
        stored = form.stamps.stored
        if " since " in str(form.stamps.attributes.get("units", "")) and form.stamps.dated:
            stored = as_dates(form.stamps)  # numbers would say nothing without their units
        stored = stored.astype(str) if stored.dtype.kind == "O" else stored
        told = {name: form.stamps.attributes[name] for name in ("units", "calendar") if name in form.stamps.attributes}
        name = free_name(key if form.starts is None else f"start_{key}", [form.key, *arrays])
        arrays[name] = stored, told if stored.dtype.kind in "iuf" else {}
    return arrays


def _write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def _write(file: Any, array: np.ndarray) -> None:
    file.write(np.ascontiguousarray(array).data.cast("B"))
