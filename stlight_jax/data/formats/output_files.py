"""Files of predictions: whether a format can hold them, and how they are written whole or not at all."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.file_format import FileFormat, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.value_conversion import count_saturated
from stlight_jax.errors import InputError
from stlight_jax.storage.atomic import atomic_output
from stlight_jax.storage.paths import write_errors


def check_output(file_format: FileFormat, spec: OutputSpec, path: pathlib.Path) -> None:
    """Checks that a file can hold the frames.

    Args:
      file_format: the file's format.
      spec: the frames.
      path: the file, for messages.

    Raises:
      InputError: the format cannot hold this element type, number of channels, size or arrangement of forecasts.
    """
    limits, title, arrays = file_format.limits, file_format.title, registry.describe_array_outputs()
    height, width, channels = spec.shape
    if limits.dtypes and spec.dtype.name not in limits.dtypes:
        raise InputError(f"{path}: {title} cannot hold {spec.dtype}; write .npy, or give --dtype=float32")
    if limits.channels and channels not in limits.channels:
        held = " or ".join(map(str, limits.channels))
        raise InputError(f"{path}: frames have {channels} channels, {title} holds {held}; write {arrays}")
    if spec.window_starts is not None and not limits.outer_axes:
        raise InputError(
            f"{path}: forecasts that overlap, or lie apart, do not make one sequence; write {arrays}, or leave --every at the "
            "horizon"
        )
    if limits.max_side and max(height, width) > limits.max_side:
        raise InputError(f"{path}: frames are {height} x {width}; {title} holds at most {limits.max_side} on a side")


class _CheckedOutput:
    """Passes frames to a writer, counts them and the values that the file cannot hold, and names the file in errors."""

    def __init__(self, path: pathlib.Path, file_format: FileFormat, spec: OutputSpec, write: WriteFrame):
        self._path, self._spec, self._write = path, spec, write
        self._has_grey_levels = file_format.is_pictures and not (file_format.is_folder and spec.keeps_values)
        self._marks_missing = file_format.limits.marks_missing or (spec.is_eight_bit and spec.fill is not None)
        self._rows = -1 if file_format.is_pictures and spec.source.rows_go_north else 1  # north is up in pictures
        self.frames = self._saturated = self._black = 0

    def __call__(self, frames: np.ndarray) -> None:
        for frame in frames:
            self._saturated += count_saturated(frame, self._spec) if self._has_grey_levels else 0
            self._black += 0 if self._marks_missing else int(np.isnan(frame).any(axis=-1).sum())
            with write_errors(self._path, RuntimeError):
                self._write(frame[:: self._rows], self.frames)
            self.frames += 1

    def remarks(self) -> list[str]:
        """Returns remarks on values that the file does not have as they were predicted."""
        counts = (
            (self._saturated, "values are beyond the range of grey levels and become black or white; write .npy to keep them"),
            (
                self._spec.overflow.count,
                "values are beyond the limits of the integers here and become the least or the largest one; write an array "
                "file with --dtype=float32 to keep them",
            ),
            (self._black, "missing pixels are black; write .gif, a folder of pictures or .npy to keep them missing"),
        )
        return [f"{self._path}: {count:,} {text}" for count, text in counts if count]


@contextlib.contextmanager
def open_output(
    path: pathlib.Path, file_format: FileFormat, spec: OutputSpec, *, replace: bool = True
) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens a file to write; it appears under its name when the block is done and all frames are written.

    Args:
      path: the file, or folder.
      file_format: its format.
      spec: the frames.
      replace: whether an existing file is replaced.

    Yields:
      A function that writes the next frames: float32 `[n, h, w, c]` in the data's units, NaN where values are missing.

    Raises:
      InputError: the file cannot be written, the number of frames is not that of the spec, or the file exists and is not to be
        replaced.
    """
    with atomic_output(path, replace=replace) as temporary, contextlib.ExitStack() as open_files:
        if file_format.writer is None:
            raise ValueError(f"{file_format.title} is not written by this function")
        file_format.require_packages(path, file_format.packages)
        with write_errors(path, RuntimeError):
            output = _CheckedOutput(path, file_format, spec, open_files.enter_context(file_format.writer(temporary, spec)))
        yield output
        if output.frames != spec.total_frames:
            raise InputError(f"{path}: expected {spec.total_frames} frames, got {output.frames}; nothing was written")
        with write_errors(path, RuntimeError):
            open_files.close()
        for remark in output.remarks():
            print_message(remark)
