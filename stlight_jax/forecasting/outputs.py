"""Where predictions go: which files, of which kind, and that nothing is overwritten unasked."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from stlight_jax.data.formats import registry
from stlight_jax.data.formats.output_files import check_output, open_output
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import Window
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import atomic_output, foreign_file_in
from stlight_jax.storage.paths import create_folder

_MOST_COLUMNS = 40  # of a strip


class Destination:
    """What is written for some sequences, decided before anything is read.

    Args:
      source: the input's path.
      sequences: of the input.
      out: the user's --out; "" stands for the input's name with `_predicted`, in the current folder.
      kind: the user's --kind, or "".

    Attributes:
      path: the file or folder.
      formats: of each sequence's file.
      stacked: whether the sequences are items of one array's n-axis, and go into one array again.

    Raises InputError for endings and kinds that do not exist or do not fit.
    """

    def __init__(self, source: pathlib.Path, sequences: Sequence[FrameSource], out: str, kind: str):
        asked_format = registry.output_format(kind)
        if kind and asked_format is None:
            raise InputError(f"--kind={kind}: choose one of {', '.join(item.name for item in registry.output_formats())}")
        if paths.is_remote(out):
            raise InputError(f"--out={out}: predictions are written to local disks; copy them from there")
        infos = [sequence.info for sequence in sequences]
        asked = pathlib.Path(out).expanduser() if out else None
        if asked is not None and asked.suffix:
            asked_format = registry.output_format_of(asked.suffix)
            if asked_format is None:
                endings = ", ".join(item.output_ending for item in registry.output_formats() if item.output_ending)
                raise InputError(
                    f"--out={out}: no format has the ending {asked.suffix}; end it in one of {endings}, or in none for a folder"
                )
        if kind and asked_format.name != kind:
            raise InputError(f"--out={out} and --kind={kind} are of different kinds; leave one of them out")
        many = len(sequences) > 1
        self.formats = [asked_format or registry.continuation_format(info.format) for info in infos]
        one_array = len({(info.path, info.key) for info in infos}) == 1 and infos[0].item is not None
        self.stacked = one_array and self.formats[0].limits.outer_axes
        self._in_folder = many and not self.stacked
        if asked is not None and not asked.suffix and not self._in_folder:
            if self.formats[0].output_ending and (asked_format or self.stacked):
                raise InputError(f"--out={out} has no ending; name the file {out}{self.formats[0].output_ending}")
            self.formats = [registry.output_format_of("")]
        if asked is not None and asked.suffix and self._in_folder:
            raise InputError(
                f"--out={out}: {source} holds {len(sequences)} sequences, each of which goes into a file of its own; give a "
                f"folder without an ending, and --kind={asked_format.name}"
            )
        ending = "" if self._in_folder else self.formats[0].output_ending
        name = source.resolve().name if source.is_dir() else source.stem
        self.path = asked or pathlib.Path(f"{name}_predicted{ending}")
        self._overwrite = False
        self._names = _names([sequence.name for sequence in sequences], [item.output_ending for item in self.formats])

    @property
    def page(self) -> pathlib.Path:
        """Of the same name, beside it."""
        return self.path.with_name(f"{self.path.name if self.is_folder else self.path.stem}.html")

    def check(
        self,
        forms: Sequence[OutputSpec],
        beside: Mapping[str, pathlib.Path],
        read_from: Sequence[pathlib.Path],
        *,
        overwrite: bool,
        rolling: bool,
    ) -> None:
        """Raises InputError if the files cannot hold the forms, if there is something already, or if nothing can be written.

        Args:
          forms: of the file, or of each sequence's.
          beside: other files that will be written, by the flags that name them.
          read_from: the input's and the truth's files and folders.
        """
        for form, file_format in zip(forms, self.formats, strict=False):
            if file_format.writer is None and rolling:
                raise InputError(f"{self.path}: a strip shows one forecast; with --rolling write another kind of file")
            check_output(file_format, form, self.path)
        check_free(self.path, read_from, overwrite, folder=self.is_folder)
        for option, path in beside.items():
            if path.resolve().is_relative_to(self.path.resolve()):
                raise InputError(f"{path} lies in {self.path}, the folder of predictions; write it somewhere else")
            check_free(path, read_from, overwrite, option=option)
        self._check_room(forms)
        self._overwrite = overwrite

    def _check_room(self, forms: Sequence[OutputSpec]) -> None:
        """Of arrays, whose size is known before. Raises InputError."""
        pairs = zip(forms, self.formats, strict=False)
        needed = sum(file_format.output_bytes(form) for form, file_format in pairs if file_format.output_bytes)
        disk = shutil.disk_usage(self.path.parent)
        if disk.total and needed > disk.free:  # some file systems do not tell
            raise InputError(
                f"{self.path} would take {needed / 1e9:,.1f} GB, and {disk.free / 1e9:,.1f} GB are free there; predict less "
                "(--horizon, --every), or to another disk (--out)"
            )

    @property
    def is_folder(self) -> bool:
        """Whether there is more than one file."""
        return self._in_folder or not self.formats[0].output_ending

    @contextlib.contextmanager
    def writing(self, forms: Sequence[OutputSpec], scaling: Scaling) -> Iterator[Callable[[Window, np.ndarray], None]]:
        """Gives a function that takes a window and what of its prediction is to be written, in the order of the sequences."""
        with contextlib.ExitStack() as outer:
            folder = outer.enter_context(atomic_output(self.path, replace=self._overwrite)) if self._in_folder else None
            if folder is not None:
                folder.mkdir()
            current = outer.enter_context(contextlib.ExitStack())
            number, write = -1, None

            def take(window: Window, prediction: np.ndarray) -> None:
                nonlocal number, write
                view = 0 if self.stacked else window.view
                if view != number:
                    current.close()
                    path = self.path if folder is None else folder / self._names[view]
                    if self.formats[view].writer is None:
                        strip = current.enter_context(atomic_output(path, replace=self._overwrite))
                        write = functools.partial(_draw, strip, scaling, window)
                    else:
                        write = current.enter_context(
                            open_output(path, self.formats[view], forms[view], replace=self._overwrite)
                        )
                    number = view
                write(prediction)

            yield take
            current.close()


def check_free(
    path: pathlib.Path, read_from: Sequence[pathlib.Path], overwrite: bool, *, folder: bool = False, option: str = "--out"
) -> None:
    """Makes sure of the folder that `path` is to be in.

    Args:
      read_from: files and folders that must stay as they are.
      folder: whether `path` is to be a folder.
      option: the flag that names it.

    Raises InputError if something else is there that must not go, or if `path` cannot be written.
    """
    for other in read_from:
        if _lies_in(other, path):
            raise InputError(f"{path} is, or holds, what is read from {other}; name another place")
        if _lies_in(path, other):
            raise InputError(f"{path} lies in {other}, which is read from; name another place")
    if os.path.islink(path) and not path.exists():
        raise InputError(f"{path} is a link to {os.readlink(path)}, which is not there; give another name")
    if path.exists():
        if not path.is_dir() and not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder; give another name")
        if path.is_dir() != folder:
            there, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise InputError(f"{path} is a {there}, predictions go into a {wanted}; give another name")
        if not overwrite:
            raise InputError(f"{path} is there already; give another name ({option}=NAME), or --overwrite to replace it")
        foreign = foreign_file_in(path) if folder else None
        if foreign is not None:
            raise InputError(f"{path} is a folder with {foreign} in it, which predict has not written; give another name")
    create_folder(path.parent)


def _lies_in(path: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether `path` is `other`, or below it."""
    resolved = path.resolve()
    return other.exists() and any(place.exists() and place.samefile(other) for place in (resolved, *resolved.parents))


def _names(names: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Of files, one for each sequence, flat and without letters that are special somewhere."""
    results: dict[str, None] = {}
    for name, ending in zip(names, endings, strict=True):
        plain = re.sub(r"[^\w.-]+", "_", os.path.splitext(name)[0] if "#" not in name else name).strip("_.")
        plain, number = plain or "frames", 2
        unique = plain
        while f"{unique}{ending}" in results:
            unique, number = f"{plain}_{number}", number + 1
        results[f"{unique}{ending}"] = None
    return list(results)


def _draw(path: pathlib.Path, scaling: Scaling, window: Window, prediction: np.ndarray) -> None:
    from stlight_jax.reports import pictures  # matplotlib, which other files do without

    channels = prediction.shape[-1]
    prediction = prediction[:_MOST_COLUMNS]
    truth = np.full(prediction.shape, np.nan, np.float32)
    known = window.truth[:_MOST_COLUMNS]
    truth[: len(known)] = known[..., :channels]
    inputs = window.inputs[-_MOST_COLUMNS:, ..., :channels]
    inputs, truth, prediction = map(scaling.for_channels(channels).to_network_on_host, (inputs, truth, prediction))
    pictures.draw_strip(path, inputs, truth if len(known) else None, prediction)
