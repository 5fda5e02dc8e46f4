"""The sequences below a path: finds the files, opens them lazily, and brings their times into one order."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats import registry, types
from stlight_jax.data.formats.array_layouts import FORECASTS
from stlight_jax.data.formats.file_contents import advice_on_other_kinds
from stlight_jax.data.formats.file_format import FileFormat
from stlight_jax.data.formats.joined_files import join_files
from stlight_jax.data.formats.picture_groups import join_day_folders
from stlight_jax.data.formats.picture_sequence import PictureSequence, frame_sources
from stlight_jax.data.formats.read_errors import read_errors, refuse, require_readable
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.unlike_quantities import check_quantities
from stlight_jax.data.ticks import assign_ticks
from stlight_jax.data.times import counts_since
from stlight_jax.errors import InputError
from stlight_jax.storage import paths

_ZARR_ATTRIBUTES = (".zarray", ".zattrs", ".zgroup", ".zmetadata")
_MAX_ALIKE = 5  # remarks that differ in numbers only


def open_sequences(path: epath.PathLike, options: ReadOptions) -> list[FrameSource]:
    """Finds and opens the sequences in a file or, recursively and in natural order, in a folder.

    A video, a GIF, or a folder with pictures directly in it is one sequence; an array file can hold several. Array files of
    successive frames are one sequence, see `join_files`.

    Args:
      path: a local file or folder. Hidden files and files of other kinds are left out.
      options: how to read the files.

    Raises:
      InputError: nothing to read, a damaged file, a missing package, or options that do not fit. The message is one line that
        names the file.
    """
    for key, choices in (("layout", types.LAYOUTS), ("channels", types.CHANNELS)):
        if getattr(options, key) not in (*choices, FORECASTS):
            raise InputError(f"data.{key} is {getattr(options, key)!r}; choose one of {', '.join(choices)}", key=key)
    root = epath.Path(path)
    paths.require_local(root, f"{root}: frames are read from local folders; copy them to this machine first")
    with read_errors(root):
        os.stat(root)
    opened = [
        item for (name, file_format), files in _find(root, options).items() for item in _open(files, file_format, name, options)
    ]
    pictures = iter(frame_sources([item for item in opened if isinstance(item, PictureSequence)], options.channels))
    sources = [next(pictures) if isinstance(item, PictureSequence) else item for item in opened]
    return _with_few_remarks(_with_ticks(check_quantities(join_files(sources, options))))


def _with_ticks(sources: list[FrameSource]) -> list[FrameSource]:
    """Gives ticks to the sequences that have times, and to the first of each time axis its remarks."""
    ticks = iter(assign_ticks([source.times for source in sources if source.times is not None]))
    results, seen = [], set()
    for source in sources:
        if source.times is not None:
            own, counted = next(ticks), counts_since(source.times.attributes)
            name = source.times.key if counted else source.times.name
            remarks = () if id(source.times) in seen else (f"times are those of {name!r}", *own.remarks)
            seen.add(id(source.times))
            source = dataclasses.replace(source, ticks=own.ticks, step=own.step, remarks=(*source.remarks, *remarks))
        results.append(source)
    return results


def _with_few_remarks(sources: list[FrameSource]) -> list[FrameSource]:
    """Keeps the first of equal remarks, and the first few remarks that differ in numbers only."""
    texts = collections.Counter(remark for source in sources for remark in source.remarks)
    alike = collections.Counter(_without_numbers(text) for text in texts)
    shown: collections.Counter[str] = collections.Counter()
    results, seen = [], set()
    for source in sources:
        remarks = []
        for remark in source.remarks:
            kind = _without_numbers(remark)
            if remark in seen or shown[kind] == _MAX_ALIKE:
                continue
            seen.add(remark)
            shown[kind] += 1
            count, left_out = texts[remark], alike[kind] - _MAX_ALIKE
            remark += f" ({count:,} sequences)" if count > 1 else ""
            remark += f" (and {left_out:,} remarks of this kind more)" if shown[kind] == _MAX_ALIKE and left_out > 0 else ""
            remarks.append(remark)
        results.append(dataclasses.replace(source, remarks=tuple(remarks)))
    return results


def _without_numbers(text: str) -> str:
    return re.sub("[0-9]+", "#", text)


def _open(
    files: list[epath.Path], file_format: FileFormat, name: str, options: ReadOptions
) -> Sequence[FrameSource | PictureSequence]:
    for file in files:
        require_readable(file)
    return file_format.open(files, name, options)


def _find(root: epath.Path, options: ReadOptions) -> dict[tuple[str, FileFormat], list[epath.Path]]:
    """Returns the files of all sequences and array files by their names and formats, in natural order of the names."""
    found: dict[tuple[str, FileFormat], list[epath.Path]] = {}
    others: collections.Counter[str] = collections.Counter()
    top = os.fspath(root)
    is_file = root.is_file() or _is_read_whole(top)
    for file in [top] if is_file else visible_files(top, _natural, is_file=_is_read_whole):
        file_format = registry.folder_format(file) if os.path.isdir(file) else registry.input_format(os.path.basename(file))
        if file_format is None:
            others[os.path.splitext(file)[1].lower() or "without suffix"] += 1
        else:
            name = _name(os.path.dirname(file) if file_format.is_folder and not is_file else file, top)
            # Unlike epath's, it keeps its text, which messages and readers need a dozen times a file.
            found.setdefault((name, file_format), []).append(pathlib.Path(file))
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
    advice = advice_on_other_kinds(suffix for suffix, _ in others.most_common())
    if not found:
        raise InputError(f"{root}: found {left_out or 'no files'}; {advice or f'expected {registry.describe_inputs()}'}")
    if left_out:
        print_message(f"{root}: left out files of other kinds: {left_out}{f'; {advice}' if advice else ''}")
    pictures = {name: files for (name, own), files in found.items() if own.is_folder} if not is_file else {}
    if options.time != "none" and len(pictures) > 1:
        file_format = next(own for _, own in found if own.is_folder)
        others_found = {key: files for key, files in found.items() if not key[1].is_folder}
        found = others_found | {(name, file_format): files for name, files in join_day_folders(pictures).items()}
    return {key: found[key] for key in sorted(found, key=lambda key: _natural(key[0]))}


def _is_read_whole(folder: str) -> bool:
    return registry.folder_format(folder) is not None


def visible_files(
    root: str,
    key: Callable[[str], Any] | None = None,
    left_out: str | None = None,
    is_file: Callable[[str], bool] | None = None,
) -> Iterator[str]:
    """Yields all files below a folder that are not hidden; follows links once, since they may lead in circles.

    Zarr's files of attributes count, though their names begin with a dot.

    Args:
      root: the folder.
      key: of the names in a folder, which are sorted by it.
      left_out: a folder to leave out with all its files.
      is_file: returns whether a folder counts as a file; by default, none does.

    Raises:
      InputError: a folder cannot be listed.
    """
    seen = {os.path.realpath(left_out)} if left_out else set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in sorted(folders, key=key) if not name.startswith(".")]
        whole = {name for name in folders if is_file and is_file(os.path.join(folder, name))}
        folders[:] = [name for name in folders if name not in whole]
        yield from (os.path.join(folder, name) for name in sorted([*files, *whole], key=key) if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name not in _ZARR_ATTRIBUTES


def _name(path: str, root: str) -> str:
    if path == root:
        return os.path.basename(os.path.realpath(root))
    return path[len(os.path.join(root, "")) :].replace(os.sep, "/")


def _natural(name: str) -> list[Any]:
    """Returns a key that sorts frame2 before frame10, and the files of one folder together."""
    parts = [[int(bit) if bit.isdigit() else bit for bit in re.split("([0-9]+)", part.lower())] for part in name.split("/")]
    return [parts, name]
