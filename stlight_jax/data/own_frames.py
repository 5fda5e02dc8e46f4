"""A user's own frames in prepared form: found where they were prepared, or made once and kept."""

import dataclasses
import hashlib
import json
import os
from typing import Any

from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.input_files import visible_files
from stlight_jax.data.frames_reader import FramesOptions, FramesReader
from stlight_jax.data.prepare import prepare, refuse_remote
from stlight_jax.data.prepared import find_prepared, read_metadata
from stlight_jax.errors import InputError
from stlight_jax.storage import caches, paths

# Changes with the values or the sequences that are read from the same files, so that kept frames are prepared anew.
# A file .npy is read as in version 0.1, whose kept frames stay valid.
_READING = 4


def frames_options(section: Any) -> FramesOptions:
    """Takes from the section `data` how frames are read and divided.

    Args:
      section: the section.

    Returns:
      The options.

    Raises:
      InputError: keys contradict each other.
    """
    return FramesOptions(**{field.name: getattr(section, field.name) for field in dataclasses.fields(FramesOptions)})


def prepare_frames(raw: epath.Path, options: FramesOptions, out: epath.Path, wait: bool = False) -> epath.Path:
    """Prepares a user's own frames below `out` and prints their statistics.

    Args:
      raw: a file or folder of videos, pictures or arrays.
      options: how they are read and divided.
      out: folder, local or remote.
      wait: whether to wait for another process that prepares the same frames, instead of raising an error.

    Returns:
      The folder with the prepared frames.

    Raises:
      InputError: the files cannot be read or do not fit together, or the folder cannot be written or contains frames that were
        prepared with other options.
    """

    def open_reader() -> FramesReader:
        reader = FramesReader(raw, options)
        print_message(f"  {reader.sequences_found}")
        return reader

    folder = prepare(open_reader, raw, out, wait)
    metadata = read_metadata(folder)
    if json.dumps(metadata["options"], sort_keys=True) != json.dumps(dataclasses.asdict(options), sort_keys=True):  # NaN != NaN
        raise InputError(f"{folder} was prepared with other keys of data; remove it, or choose another folder")
    statistics = metadata["splits"]["train"]["statistics"]
    for channel in range(metadata["frame_shape"][-1]):
        values = {name: per_channel[channel] for name, per_channel in statistics.items()}
        print_message(
            f"  channel {channel + 1}: {values['min']:g} to {values['max']:g}, mean {values['mean']:.4g}, standard deviation "
            f"{values['std']:.4g}, missing {100 * values['missing']:.2g} %"
        )
    return folder


def find_or_prepare(section: Any) -> epath.Path:
    """Finds the prepared frames of a config: in `data.root` itself, or made from it once and kept.

    Args:
      section: the config's section `data`.

    Returns:
      The folder of the prepared frames.

    Raises:
      InputError: the files cannot be read, or were prepared with other keys.
    """
    if not section.root:
        raise InputError("data.root is empty; give --config.data.root=PATH, a file or folder of videos, pictures or arrays")
    paths.connect(section.root)
    raw = epath.Path(section.root).expanduser()
    if not raw.exists():
        raise InputError(f"data.root is {section.root!r}: no such file or folder")
    options = frames_options(section)
    prepared = find_prepared("frames", section.root, "run prepare anew") if raw.is_dir() else None
    if prepared is not None:
        _check_options(prepared, options)
        _print_remarks(prepared)
        return prepared
    refuse_remote(raw, "data.root", "frames")
    paths.connect(section.prepared)
    kept = epath.Path(section.prepared or caches.folder() / "frames").expanduser()
    if os.path.realpath(kept) == os.path.realpath(raw):
        raise InputError(f"data.prepared is {section.prepared!r}, the same folder as data.root; choose another one")
    reading = [] if raw.suffix == ".npy" else [_READING]
    content = json.dumps([_fingerprint(raw, kept), dataclasses.asdict(options), FramesReader.version, *reading], sort_keys=True)
    out = kept / f"{raw.resolve().name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    found = find_prepared("frames", str(out), "remove it")
    if found is not None:
        _print_remarks(found)
        return found
    print_message(f"reading {raw} once; the frames are kept in {out}")
    return prepare_frames(raw, options, out, wait=True)


def _print_remarks(folder: epath.Path) -> None:
    """Prints the remarks on frames that were prepared earlier, without the first one, which reports the division."""
    for remark in read_metadata(folder).get("remarks", [])[1:]:
        print_message(f"  {remark}")


def _check_options(prepared: epath.Path, options: FramesOptions) -> None:
    """Refuses keys with other values than the frames were prepared with, unless the new value is the default."""
    stored = read_metadata(prepared)["options"]
    given, default = dataclasses.asdict(options), dataclasses.asdict(type(options)())
    changed = [
        f"data.{key} is {value!r}, prepared with {stored.get(key)!r}"
        for key, value in given.items()
        if repr(value) not in (repr(stored.get(key)), repr(default[key]))
    ]
    if changed:
        raise InputError(
            f"{prepared} was prepared with other keys: {'; '.join(changed)}; prepare the frames anew: "
            "python -m stlight_jax prepare frames --config=configs/frames.py --config.data.KEY=VALUE --raw=PATH --out=FOLDER"
        )


def _fingerprint(path: epath.Path, kept: epath.Path) -> list[tuple[str, int, int]]:
    """Lists names, sizes and times of the files, without those in the folder `kept`, so that a changed file is read anew."""
    files = [os.fspath(path)] if path.is_file() else [*visible_files(os.fspath(path), left_out=os.fspath(kept))]
    formats = {file: registry.input_format(file) for file in files}
    files += sorted({other for file, of in formats.items() if of for other in of.referenced_files(file)} - {*files})
    stats = [(file, os.stat(file)) for file in files if os.path.exists(file)]  # links may lead nowhere
    # In nanoseconds: epath's times are whole seconds, in which a file can be written twice.
    return [(os.path.abspath(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
