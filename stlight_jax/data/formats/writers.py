"""Which writer an output has, by its ending or the kind that is asked for."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np

from stlight_jax.data.formats import array_writers, netcdf_writer, picture_writers
from stlight_jax.data.formats.output import Form, Write
from stlight_jax.errors import InputError
from stlight_jax.storage.atomic import atomic_output
from stlight_jax.storage.paths import write_errors

# kind: (the ending of its files, the writer)
_WRITERS = {
    "mp4": (".mp4", picture_writers.mp4),
    "gif": (".gif", picture_writers.gif),
    "pictures": ("", picture_writers.folder),
    "npy": (".npy", array_writers.npy),
    "npz": (".npz", array_writers.npz),
    "h5": (".h5", array_writers.hdf5),
    "nc": (".nc", netcdf_writer.netcdf),
}
KINDS = (*_WRITERS, "png")
ARRAYS = ("npy", "npz", "h5", "nc")
_ENDINGS = {
    **{ending: kind for kind, (ending, _) in _WRITERS.items() if ending},
    **dict.fromkeys((".hdf5",), "h5"),
    **dict.fromkeys((".nc4", ".netcdf"), "nc"),
    ".png": "png",
}
# The kind of a source: the kind that continues it.
_CONTINUED_BY = {
    "video": "mp4",
    "gif": "gif",
    "pictures": "pictures",
    "npy": "npy",
    "npz": "npz",
    "hdf5": "h5",
    "netcdf": "nc",
}


def kind_of(path: pathlib.Path) -> str | None:
    """By its ending; None for an ending that nothing writes. Without one it is a folder of pictures."""
    return _ENDINGS.get(path.suffix.lower()) if path.suffix else "pictures"


def kind_for(source: str) -> str:
    """The kind that holds what continues a source of some kind (`Origin.kind`)."""
    return _CONTINUED_BY[source]


def ending_of(kind: str) -> str:
    """With its dot; "" of folders."""
    return ".png" if kind == "png" else _WRITERS[kind][0]


def check_kind(kind: str, form: Form, path: pathlib.Path) -> None:
    """Raises InputError if a kind of file cannot hold such frames."""
    arrays = ", ".join(f".{kind}" for kind in ARRAYS)
    if kind in ARRAYS:
        if kind == "nc" and form.dtype == np.float16:
            raise InputError(f"{path}: netCDF has no float16; write .npy, or give --dtype=float32")
        return
    channels = form.shape[-1]
    if channels not in (1, 3) and kind != "png":
        raise InputError(f"{path}: frames of {channels} channels are no pictures; write {arrays}")
    if form.starts is not None:
        raise InputError(
            f"{path}: forecasts that overlap, or lie apart, are no sequence; write {arrays}, or leave --every at the horizon"
        )
    if kind == "gif" and max(form.shape[:2]) >= 2**16:
        raise InputError(f"{path}: frames are {form.shape[0]} x {form.shape[1]}; a GIF holds fewer than 65536 on a side")


@contextlib.contextmanager
def opened(path: pathlib.Path, kind: str, form: Form, *, replace: bool = True) -> Iterator[Write]:
    """Gives a function that takes the next frames; the file has its name when the block is done, and all frames came.

    Raises InputError if it cannot be written, if fewer or more frames come than the form has, and if something is there by then
    that is not to be replaced.
    """
    done = 0
    with atomic_output(path, replace=replace) as temporary, contextlib.ExitStack() as open_files:
        with write_errors(path, RuntimeError):
            write = open_files.enter_context(_WRITERS[kind][1](temporary, form))

        def checked(frames: np.ndarray) -> None:
            nonlocal done
            done += len(frames)
            with write_errors(path, RuntimeError):
                write(frames)

        yield checked
        if done != form.total:
            raise InputError(f"{path}: {form.total} frames were announced, {done} came")
        with write_errors(path, RuntimeError):
            open_files.close()
