"""Preparation: raw files of a data set become stored frames with random access."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console
from rich.table import Table

from stlight_jax.console.messages import print_message
from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.data_sections import FramesData
from stlight_jax.data.datasets.frames import Frames, FramesOptions, describe
from stlight_jax.data.stored import read_metadata
from stlight_jax.data.windows import Run, Windows
from stlight_jax.errors import InputError, StlightError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import upload_folder
from stlight_jax.storage.locks import locked
from stlight_jax.storage.paths import create_folder

_IN_USE = "{} is being prepared by process {{process}}"
_UNFINISHED = tfds.core.constants.INCOMPLETE_PREFIX  # of the names of folders that TFDS is writing


def prepare(builder: ClipsBuilder, raw: epath.Path, wait: bool = False) -> epath.Path:
    """Prepares a data set, unless that is done, and shows what is in it.

    Args:
      raw: folder with the raw files (of frames, a folder or a file).
      wait: for another process that prepares it, instead of an error.

    Returns:
      Its folder.

    Raises:
      InputError: the raw files are not as they should be, or the folder cannot be written; nothing half-written stays.
    """
    folder = epath.Path(builder.data_path)
    create_folder(folder.parent)
    with locked(folder.parent, _IN_USE.format(folder.parent), wait):
        if _is_prepared(folder):
            pass
        elif folder.exists():
            raise InputError(f"{folder} holds no whole data set, dataset_info.json is missing; remove it")
        else:
            _remove_unfinished(folder.parent)  # of a process that was killed
            builder.info.metadata["raw"] = str(raw)
            try:
                _download_and_prepare(builder, raw)
            except BaseException:
                _remove_if_empty(folder.parent)
                raise
    _show(type(builder), folder)
    return folder


def prepare_in(out: epath.Path, make: Callable[[epath.Path], ClipsBuilder], raw: epath.Path, wait: bool = False) -> epath.Path:
    """Prepares a data set below `out`, which may be in a bucket. Everything else as `prepare`.

    Args:
      make: the builder that writes below a local folder.
    """
    if not paths.is_remote(out):
        return prepare(make(out), raw, wait)
    with tempfile.TemporaryDirectory(prefix="stlight_prepared_") as temporary:
        here = epath.Path(temporary)
        builder = make(here)
        folder = out / epath.Path(builder.data_path).relative_to(here)
        with locked(folder.parent, _IN_USE.format(folder.parent), wait):
            if _is_prepared(folder):
                _show(type(builder), folder)
            else:
                upload_folder(pathlib.Path(prepare(builder, raw)), folder, last="dataset_info.json")
    return folder


def refuse_remote(raw: epath.PathLike, key: str, dataset: str) -> None:
    """Raises InputError for raw files in a bucket; `key` is what names them."""
    if paths.is_remote(raw):
        raise InputError(
            f"{key} is {raw}: raw files are read from this machine's disks only, and there are no prepared ones; prepare them "
            f"where they are, python -m stlight_jax prepare {dataset} --raw=PATH --out=FOLDER, where FOLDER may be gs://..."
        )


def prepare_frames(raw: epath.Path, options: FramesOptions, out: epath.Path, wait: bool = False) -> epath.Path:
    """Prepares a user's own frames in `out`, see `prepare_in`."""
    create_folder(out)

    def make(place: epath.Path) -> Frames:
        try:
            builder = Frames(raw=raw, options=options, data_dir=str(place), file_format="array_record")
        except BaseException:
            with contextlib.suppress(OSError, ValueError):  # ValueError is epath's where there are files
                place.rmdir()  # if it was made for nothing
            raise
        print_message(f"  {builder.sequences_found}")
        return builder

    folder = prepare_in(out, make, raw, wait)
    metadata = read_metadata(folder)
    if json.dumps(metadata["options"], sort_keys=True) != json.dumps(dataclasses.asdict(options), sort_keys=True):  # NaN != NaN
        raise InputError(f"{folder} was prepared with other keys of data; remove it, or choose another folder")
    describe(metadata)
    return folder


def frames_options(data: FramesData) -> FramesOptions:
    """From the section `data` of `configs/frames.py`."""
    return FramesOptions(**{field.name: getattr(data, field.name) for field in dataclasses.fields(FramesOptions)})


def count_windows(builder: type[ClipsBuilder], clips: list[dict[str, Any]], length: int) -> int:
    """How many windows OpenSTL cuts from the clips."""
    runs = [Run(*run) for clip in clips for run in clip["runs"]]
    strides = [builder.strides(clip["name"], length) for clip in clips for _ in clip["runs"]]
    return len(Windows(runs, length, strides, anchor=builder.ANCHOR))


def _is_prepared(folder: epath.Path) -> bool:
    """Says so, too."""
    if not (folder / "dataset_info.json").exists():
        return False
    made_from = read_metadata(folder).get("raw", "other files")
    print_message(f"{folder} is prepared already, from {made_from}; remove it to prepare the data anew")
    return True


def _download_and_prepare(builder: ClipsBuilder, raw: epath.Path) -> None:
    tfds.disable_progress_bar()  # the builder shows its own
    folder = epath.Path(builder.data_path)
    manual = raw if raw.is_dir() else raw.parent
    if not any(manual.iterdir()):
        raise InputError(f"{raw} is an empty folder; the raw files of {builder.name} are wanted there")
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # TFDS announces itself
            builder.download_and_prepare(
                download_dir=str(folder.parent / f"{_UNFINISHED}downloads"),  # TFDS makes one, though nothing is downloaded
                download_config=tfds.download.DownloadConfig(manual_dir=str(manual)),
            )
    except Exception as error:
        causes = list(_causes(error))
        known = next((cause for cause in causes if isinstance(cause, StlightError)), None)
        if known is not None:
            raise known from None
        failed = next((cause for cause in causes if _is_of_files(cause)), None)
        if failed is not None:
            raise InputError(f"{folder} could not be made from {raw}: {' '.join(str(failed).split())}") from None
        raise
    finally:
        _remove_unfinished(folder.parent)


def _remove_if_empty(folder: epath.Path) -> None:
    """The data set's folder, and the one that was made for it, if there is nothing in them but the lock."""
    if [path.name for path in folder.iterdir()] == [".lock"]:
        (folder / ".lock").unlink()
        folder.rmdir()
        with contextlib.suppress(OSError, ValueError):  # other data are in it
            folder.parent.rmdir()


def _remove_unfinished(parent: epath.Path) -> None:
    for unfinished in parent.glob(f"{_UNFINISHED}*"):
        unfinished.rmtree()


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def count_table(builder: type[ClipsBuilder], metadata: dict[str, Any]) -> str:
    """What was counted, beside what others have published, with a line wherever they differ."""
    table = Table("split", title=builder.name)
    lengths = list(builder.DOCUMENTED)
    for heading in ("clips", "frames", *(f"windows of {length}" for length in lengths)):
        table.add_column(heading, justify="right")
    differences = []
    for name, split in metadata["splits"].items():
        windows = {length: count_windows(builder, split["clips"], length) for length in lengths}
        table.add_row(name, f"{len(split['clips']):,}", f"{split['frames']:,}", *(f"{count:,}" for count in windows.values()))
        for length, count in windows.items():
            for source, published in builder.DOCUMENTED[length].get(name, {}).items():
                if published != count:
                    differences.append(f"{name}, windows of {length}: {count:,} here, {published:,} published ({source})")
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(table)
        for difference in differences:
            console.print(f"differs: {difference}", markup=False, highlight=False)
    return capture.get()


def _show(builder: type[ClipsBuilder], folder: epath.Path) -> None:
    metadata = read_metadata(folder)
    print(count_table(builder, metadata), end="")
    for remark in metadata["remarks"]:
        print_message(f"  {remark}")


def _is_of_files(error: BaseException) -> bool:
    """Whether files, disk or memory are to blame. ArrayRecord's errors, such as of a full disk, have no type of their own."""
    if isinstance(error, RuntimeError):
        return ".array_record" in str(error)
    tf = sys.modules.get("tensorflow")  # TFDS loads it only where it is needed
    return isinstance(error, OSError | MemoryError) or (tf is not None and isinstance(error, tf.errors.OpError))
