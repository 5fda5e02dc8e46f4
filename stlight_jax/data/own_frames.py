"""A user's own frames in prepared form: found where they were prepared, or made once and kept."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.covariates import Covariates, parse_clock
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.input_files import open_sequences, visible_files
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.frames_reader import FramesOptions, FramesReader, candidates
from stlight_jax.data.prepare import prepare, refuse_remote
from stlight_jax.data.prepared import find_prepared, read_metadata
from stlight_jax.data.resize import resize_valid
from stlight_jax.data.splits import SPLITS, SplitRule, split
from stlight_jax.data.statistics import with_nan
from stlight_jax.data.window_choice import (
    USUAL_FRACTIONS,
    Division,
    WindowLengths,
    choose_division,
    fewest_frames,
    longest_window,
    possible_divisions,
)
from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError
from stlight_jax.storage import caches, paths

# Changes with the values or the sequences that are read from the same files, so that kept frames are prepared anew.
# A file .npy is read as in version 0.1, whose kept frames stay valid.
_READING = 6
_ROOT_REMEDY = "give --config.data.root=PATH, or --data_root=PATH to an evaluation"


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
    if json.dumps(metadata["options"], sort_keys=True) != json.dumps(options.as_json(), sort_keys=True):  # NaN != NaN
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
    raw, prepared = _locate(section)
    options = frames_options(section)
    if prepared is not None:
        _check_options(prepared, options)
        _print_remarks(prepared)
        return prepared
    paths.connect(section.prepared)
    kept = epath.Path(section.prepared or caches.folder() / "frames").expanduser()
    if os.path.realpath(kept) == os.path.realpath(raw):
        raise InputError(f"data.prepared is {section.prepared!r}, the same folder as data.root; choose another one")
    reading = [] if raw.suffix == ".npy" else [_READING]
    content = json.dumps([_fingerprint(raw, kept), options.as_json(), FramesReader.version, *reading], sort_keys=True)
    out = kept / f"{raw.resolve().name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    found = find_prepared("frames", str(out), "remove it")
    if found is not None:
        _print_remarks(found)
        return found
    print_message(f"reading {raw} once; the frames are kept in {out}")
    return prepare_frames(raw, options, out, wait=True)


def open_covariates(section: Any, prepared: epath.Path) -> Covariates | None:
    """Opens the covariates of a config.

    Args:
      section: the config's section `data`.
      prepared: the folder of its prepared frames.

    Returns:
      The covariates; None if the config asks for none.

    Raises:
      InputError: frames have no dates, or the static field cannot be read or does not fit them.
    """
    clock = parse_clock(section.clock)
    if not clock and not section.static:
        return None
    metadata = read_metadata(prepared)
    if clock and metadata.get("times") is None:
        calendar = metadata.get("calendar", "")
        found = f"dates of the calendar {calendar}" if calendar else "no dates"
        raise InputError(
            f"data.clock is {section.clock!r}, and the frames in {prepared} have {found}; expected frames with dates in the "
            "standard calendar; set it to ''"
            + ("" if calendar else ", or prepare frames anew that an earlier version prepared")
        )
    height, width, _ = metadata["frame_shape"]
    covariates = Covariates(clock, fill=metadata["fill"])
    if section.static:
        sizes = [tuple(size) for size in metadata.get("sizes", [(height, width)])]
        static = resize_valid(_static_field(section.static, sizes)[None], None, height, width)[0]
        covariates = dataclasses.replace(covariates, static=static)
    return covariates


def _static_field(path: str, sizes: list[tuple[int, int]]) -> np.ndarray:
    """Reads a static field, float32 `[h, w, c]`, each channel scaled to [0, 1].

    Args:
      path: of the file, an array `[h, w]` or `[h, w, c]`, or a picture.
      sizes: (height, width) of the sequences' frames before they are resized.
    """
    paths.require_local(path, f"data.static is {path}: fields are read from local files; copy it to this machine first")
    file, found = epath.Path(path).expanduser(), ""
    if not file.exists():
        raise InputError(f"data.static is {path!r}: no such file")
    for layout in ("hw", "hwc", "thw"):  # files can have a time axis of 1
        try:
            sources = open_sequences(file, ReadOptions(layout=layout, time="none"))
        except InputError as error:
            found = found or str(error)
            continue
        if len(sources) == sources[0].frames == 1 and sizes == [sources[0].shape[:2]]:
            (field,) = next(sources[0].blocks())
            field = with_nan(field, sources[0].fill).astype(np.float32)
            if not np.isfinite(field).all():
                raise InputError(f"data.static is {path!r}, which lacks values; expected one for every pixel; fill them in")
            low, high = field.min((0, 1)), field.max((0, 1))
            return (field - low) / np.where(high > low, high - low, 1)
        found = f"{sources[0].frames * len(sources)} frame(s) of {' x '.join(map(str, sources[0].shape))}"
    wanted = " or ".join(f"{height} x {width}" for height, width in sizes)
    raise InputError(
        f"data.static is {path!r}, {found}; expected one field [h, w] or [h, w, c] of the frames' size before data.height and "
        f"data.width, {wanted}"
    )


def choose_windows(section: Any, lengths: Sequence[WindowLengths]) -> tuple[int, Any]:
    """Chooses the lengths of windows and the keys of the division that the config leaves open, from the lengths of sequences.

    Args:
      section: the config's section `data`. A fraction of 0 is open; so is data.split=auto, also with given fractions.
      lengths: possible lengths of windows, the preferred ones first.

    Returns:
      The index of the lengths, and the section with the chosen keys.

    Raises:
      InputError: the files cannot be read, a key does not fit them, or no choice gives each split a window.
    """
    fractions = (section.validation_fraction, section.test_fraction)
    raw, prepared = _locate(section)
    usual = [own or fraction for own, fraction in zip(fractions, USUAL_FRACTIONS, strict=True)]
    filled = dataclasses.replace(section, validation_fraction=usual[0], test_fraction=usual[1])
    options = frames_options(filled)
    if prepared is not None:
        stages = [[_stored_division(prepared, fractions)]]
        segments = [segment for part in stages[0][0].segments.values() for segment in part]
    else:
        divided = candidates(open_sequences(raw, options), options)
        stages = possible_divisions(*divided, fractions)
        by_length = options.split in ("auto", "time") and not options.moments
        if not any(stages) and not (by_length and all(candidate.segments for candidate in divided[0])):
            split(*divided)  # names what is wrong
        segments = [segment for candidate in divided[0] for segment in candidate.segments]
    found = choose_division(stages, lengths, section)
    if found is None:
        raise InputError(f"{raw}: {_without_windows(segments, stages, lengths[-1], options, fractions, section)}")
    return found[0], dataclasses.replace(section, **found[1].choices)


def _without_windows(
    segments: Sequence[Segment],
    stages: Sequence[Sequence[Division]],
    lengths: WindowLengths,
    rule: SplitRule,
    fractions: tuple[float, float],
    section: Any,
) -> str:
    """Names the longest windows that the data permit, and the number of frames that windows need."""
    stretch, longest = max(segment.frames for segment in segments), longest_window(stages, section)
    data = f"the longest stretch without a gap in time has {stretch:,} frame{'s' * (stretch != 1)}"
    each = "training, validation and test"
    if longest < 2:
        needed = fewest_frames((2, 2), rule, fractions, section)
        return f"{data}; expected at least {needed:,}, so that each of {each} has a window of 2; give more frames"
    return (
        f"windows of {max(lengths):,} frames (model.in_frames, and those to predict) are too long for one in each of {each}: "
        f"{data}; expected at most {longest:,} frames, such as model.in_frames={-(-longest // 2)} and "
        f"model.out_frames={longest // 2}, or give at least {fewest_frames(lengths, rule, fractions, section):,} frames"
    )


def _stored_division(prepared: epath.Path, fractions: tuple[float, float]) -> Division:
    """Returns the division that frames were prepared with; fractions that are not 0 replace its own, to be checked later."""
    metadata = read_metadata(prepared)
    names = ("validation_fraction", "test_fraction")
    choices = {name: own or metadata["options"][name] for name, own in zip(names, fractions, strict=True)}
    clips = {name: metadata["splits"][name]["clips"] for name in SPLITS}
    parts = {name: [(clip["name"], [Segment(*run) for run in clip["runs"]]) for clip in own] for name, own in clips.items()}
    return Division.of(choices, parts)


def _locate(section: Any) -> tuple[epath.Path, epath.Path | None]:
    """Returns the path of `data.root`, and the folder of prepared frames in it; None if these are files to read."""
    if not section.root:
        raise InputError(f"data.root is empty; {_ROOT_REMEDY}, a file or folder of videos, pictures or arrays")
    paths.connect(section.root)
    raw = epath.Path(section.root).expanduser()
    if not raw.exists():
        folder = "" if raw.is_absolute() else f" in {os.getcwd()}"
        raise InputError(f"data.root is {section.root!r}: no such file or folder{folder}; {_ROOT_REMEDY}")
    prepared = find_prepared("frames", section.root, "run prepare anew") if raw.is_dir() else None
    if prepared is None:
        refuse_remote(raw, "data.root", "frames")
    return raw, prepared


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
