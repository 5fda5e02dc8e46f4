"""Preparation: the raw files of a data set become stored frames with random access."""

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath, epy

from stlight_jax.console.messages import print_message
from stlight_jax.console.text_table import text_table
from stlight_jax.data.prepared import DESCRIPTION_FILE, read_metadata
from stlight_jax.data.raw_clips import ClipReader
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError, StlightError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import upload_folder
from stlight_jax.storage.locks import locked
from stlight_jax.storage.paths import create_folder

with epy.lazy_imports():
    import tensorflow_datasets as tfds

    from stlight_jax.data import clips_builder  # imports TFDS


def prepare(open_reader: Callable[[], ClipReader], raw: epath.Path, out: epath.Path, wait: bool = False) -> epath.Path:
    """Prepares a data set below `out`, unless that is done, and prints its table.

    Args:
      open_reader: returns the reader of the raw files; it may already look for them.
      raw: folder with the raw files (of own frames, a folder or a file).
      out: folder, local or remote.
      wait: whether to wait for another process that prepares the same data, instead of raising an error.

    Returns:
      The folder with the prepared data. Nothing half-written stays after an error.

    Raises:
      InputError: the raw files are not as expected, or the folder cannot be written.
    """
    create_folder(out)
    try:
        reader = open_reader()
    except BaseException:
        with contextlib.suppress(OSError, ValueError):  # ValueError is epath's if the folder is not empty
            out.rmdir()
        raise
    folder = out / reader.name / reader.version
    create_folder(folder.parent)
    with locked(folder.parent, f"{folder.parent} is being prepared by process {{process}}", wait):
        if (folder / DESCRIPTION_FILE).exists():
            source = read_metadata(folder).get("raw", "other files")
            print_message(f"{folder} is prepared already, from {source}; remove it to prepare the data anew")
        elif paths.is_remote(out):
            with tempfile.TemporaryDirectory(prefix="stlight_prepared_") as temporary:
                local = epath.Path(temporary) / reader.name / reader.version
                _write(reader, raw, local)
                upload_folder(pathlib.Path(local), folder, last=DESCRIPTION_FILE)
        else:
            if folder.exists():
                raise InputError(f"{folder} holds no whole data set, {DESCRIPTION_FILE} is missing; remove it")
            _remove_unfinished(folder.parent)  # of a process that was killed
            try:
                _write(reader, raw, folder)
            except BaseException:
                _remove_if_empty(folder.parent)
                raise
    metadata = read_metadata(folder)
    print(count_table(reader, metadata), end="")
    for remark in metadata["remarks"]:
        print_message(f"  {remark}")
    return folder


def refuse_remote(raw: epath.PathLike, key: str, dataset: str) -> None:
    """Refuses raw files in a bucket.

    Args:
      raw: path of the raw files.
      key: the flag or config key that holds the path.
      dataset: name of the data set.

    Raises:
      InputError: the path is in a bucket.
    """
    paths.require_local(
        raw,
        f"{key} is {raw}: raw files are read from this machine's disks only, and no prepared ones were found; prepare them "
        f"on the machine that has them, python -m stlight_jax prepare {dataset} --raw=PATH --out=FOLDER, where FOLDER may "
        "be gs://...",
    )


def count_table(reader: ClipReader, metadata: dict[str, Any]) -> str:
    """Formats the numbers of clips, frames and windows, with a line for each published number that differs.

    Args:
      reader: of the data set.
      metadata: of the prepared data.

    Returns:
      The lines, each ending in a newline.
    """
    lengths = list(reader.published_windows)
    rows, differences = [], []
    for name, split in metadata["splits"].items():
        segments = [Segment(*segment) for clip in split["clips"] for segment in clip["runs"]]
        windows = {}
        for length in lengths:
            strides = [reader.stride(clip["name"], length) for clip in split["clips"] for _ in clip["runs"]]
            windows[length] = len(Windows(segments, length, strides, anchor=reader.anchor))
        rows.append([name, *(f"{count:,}" for count in (len(split["clips"]), split["frames"], *windows.values()))])
        for length, count in windows.items():
            for source, published in reader.published_windows[length].get(name, {}).items():
                if published != count:
                    difference = f"{name}, windows of {length}: {count:,} here, {published:,} published ({source})"
                    differences.append(f"differs: {difference}\n")
    headings = ["split", "clips", "frames", *(f"windows of {length}" for length in lengths)]
    return text_table(headings, rows, reader.name) + "".join(differences)


def _write(reader: ClipReader, raw: epath.Path, folder: epath.Path) -> None:
    """Writes the data to a local folder, which does not exist yet; its parents are the data set's name and `out`."""
    manual = raw if raw.is_dir() else raw.parent
    if not any(manual.iterdir()):
        raise InputError(f"{raw} is an empty folder; expected the raw files of {reader.name}")
    builder = clips_builder.ClipsBuilder(reader, data_dir=str(folder.parent.parent), file_format="array_record")
    builder.info.metadata["raw"] = str(raw)
    tfds.disable_progress_bar()  # the builder shows its own
    # TFDS makes a folder for downloads, although nothing is downloaded.
    downloads = str(folder.parent / f"{tfds.core.constants.INCOMPLETE_PREFIX}downloads")
    try:
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):  # TFDS prints headlines
            builder.download_and_prepare(
                download_dir=downloads, download_config=tfds.download.DownloadConfig(manual_dir=str(manual))
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
    """Removes the data set's folder, and the folder that was made for it, if they contain only the lock."""
    if [path.name for path in folder.iterdir()] == [".lock"]:
        (folder / ".lock").unlink()
        folder.rmdir()
        with contextlib.suppress(OSError, ValueError):  # other data are in it
            folder.parent.rmdir()


def _remove_unfinished(parent: epath.Path) -> None:
    for unfinished in parent.glob(f"{tfds.core.constants.INCOMPLETE_PREFIX}*"):
        unfinished.rmtree()


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_of_files(error: BaseException) -> bool:
    """Returns whether files, disk or memory caused an error. ArrayRecord's errors have no type of their own."""
    if isinstance(error, RuntimeError):
        return ".array_record" in str(error)
    tf = sys.modules.get("tensorflow")  # TFDS loads it only where it is needed
    return isinstance(error, OSError | MemoryError) or (tf is not None and isinstance(error, tf.errors.OpError))
