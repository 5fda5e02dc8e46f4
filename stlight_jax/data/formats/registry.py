"""The list of all file formats, and searches in it."""

import os

from stlight_jax.data.formats import gif, hdf5, netcdf, npy, npz, picture_folder, strip, video, zarr
from stlight_jax.data.formats.file_format import FileFormat

# To add a format, write its file and add its line.
FORMATS: tuple[FileFormat, ...] = (
    video.FORMAT,
    gif.FORMAT,
    picture_folder.FORMAT,
    npy.FORMAT,
    npz.FORMAT,
    hdf5.FORMAT,
    netcdf.FORMAT,
    zarr.FORMAT,
    strip.FORMAT,
)


def input_format(name: str) -> FileFormat | None:
    """Returns the format that reads files of this name (or ending, with its dot), or None."""
    return next((item for item in FORMATS if item.reader and item.endings and name.lower().endswith(item.endings)), None)


def folder_format(folder: str) -> FileFormat | None:
    """Returns the format that reads a folder as one file, or None."""
    ending = os.path.splitext(folder)[1].lower()
    for item in FORMATS:
        if ending and ending in item.folder_endings:
            return item
        if any(os.path.exists(os.path.join(folder, marker)) for marker in item.folder_markers):
            return item
    return None


def output_formats() -> tuple[FileFormat, ...]:
    """Returns the formats that predictions can be written in."""
    return tuple(item for item in FORMATS if item.output_endings is not None)


def output_format(name: str) -> FileFormat | None:
    """Returns the format of this name that predictions can be written in, or None."""
    return next((item for item in output_formats() if item.name == name), None)


def output_format_of(ending: str) -> FileFormat | None:
    """Returns the format that writes files of an ending (with its dot; "" for folders), or None."""
    return next((item for item in output_formats() if ending.lower() in (item.output_endings or ("",))), None)


def continuation_format(name: str) -> FileFormat:
    """Returns the format of predictions from a file of the format of this name: the same if it has a writer, else .npy."""
    source = next(item for item in FORMATS if item.name == name)
    return source if source.writer else npy.FORMAT


def describe_inputs() -> str:
    """Returns the readable endings for messages, by kind."""
    readable = [item for item in FORMATS if item.reader]
    groups = {
        "videos": [item for item in readable if item.is_pictures and not item.is_folder],
        "folders of pictures": [item for item in readable if item.is_folder],
        "arrays": [item for item in readable if not item.is_pictures],
    }
    texts = [
        f"{name} ({' '.join(ending for item in of for ending in (*item.endings, *item.folder_endings))})"
        for name, of in groups.items()
    ]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def describe_array_outputs() -> str:
    """Returns the endings of formats that hold arrays of any kind, for messages."""
    return ", ".join(item.output_ending for item in output_formats() if item.limits.outer_axes)
