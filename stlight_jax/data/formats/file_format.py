"""A file format as one object: the endings, the reader, the writer and the limits of its files."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Collection, Sequence

import numpy as np
from etils import epath

from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_sequence import PictureSequence
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.errors import InputError
from stlight_jax.optional_packages import import_optional

# Gets the files of one sequence (several for a folder of pictures) and its name.
Reader = Callable[[Sequence[epath.Path], str, ReadOptions], Sequence[FrameSource | PictureSequence]]
# Gets a frame, float32 [h, w, c] in the data's own units, NaN where values are missing, and the frame's index in the output.
WriteFrame = Callable[[np.ndarray, int], None]
Writer = Callable[[pathlib.Path, OutputSpec], contextlib.AbstractContextManager[WriteFrame]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputLimits:
    """The limits of an output.

    Attributes:
      dtypes: element types; empty: every type.
      channels: numbers of channels; empty: every number.
      max_side: largest height and width in pixels; None: no limit.
      marks_missing: whether missing pixels differ from black ones.
      outer_axes: whether several sequences, and forecasts that overlap or lie apart, fit into one array.
    """

    dtypes: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    max_side: int | None = None
    marks_missing: bool = True
    outer_axes: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FileFormat:
    """A file format.

    Attributes:
      name: the format's name, and the value of the flag `--kind` that chooses it for outputs.
      title: the name in messages, with its article.
      endings: endings of the files that are read, in lower case.
      folder_endings: endings of folders that are read as one file.
      folder_markers: names of files of which one lies in each folder that is read as one file.
      reader: opens files; None for formats that are only written. Sequences of pictures wait for
        all files of a call to decide between grey and rgb.
      output_endings: endings of the files that are written, the usual one first; empty for a folder; None for formats that are
        only read.
      writer: opens a file, or folder, to write to. A strip has none: `forecasting` draws it.
      packages: optional packages that reading and writing need.
      reader_packages: optional packages that only reading needs.
      extra: the extra of this package that installs them.
      is_folder: whether all files of a folder make one sequence.
      is_pictures: whether values are grey levels or colours of pictures.
      has_named_arrays: whether the options that name arrays apply.
      limits: the limits of an output.
      output_bytes: returns the size of an output in bytes, for the check of the disk; None if it depends on the values.
      referenced_files: returns the other files that hold parts of a file.
    """

    name: str
    title: str
    endings: tuple[str, ...] = ()
    folder_endings: tuple[str, ...] = ()
    folder_markers: tuple[str, ...] = ()
    reader: Reader | None = None
    output_endings: tuple[str, ...] | None = None
    writer: Writer | None = None
    packages: tuple[str, ...] = ()
    reader_packages: tuple[str, ...] = ()
    extra: str = ""
    is_folder: bool = False
    is_pictures: bool = False
    has_named_arrays: bool = False
    limits: OutputLimits = OutputLimits()
    output_bytes: Callable[[OutputSpec], int] | None = None
    referenced_files: Callable[[epath.PathLike], Collection[str]] = lambda path: ()

    @property
    def writes_folders(self) -> bool:
        """Whether each output is a folder."""
        return self.output_ending in ("", *self.folder_endings)

    @property
    def output_ending(self) -> str:
        """The ending of written files, with its dot; "" for folders."""
        return self.output_endings[0] if self.output_endings else ""

    def open(self, files: Sequence[epath.Path], name: str, options: ReadOptions) -> Sequence[FrameSource | PictureSequence]:
        """Opens the files of a sequence.

        Args:
          files: one file, or all pictures of a folder in their order.
          name: name of the sequence.
          options: the user's options.

        Raises:
          InputError: an optional package is missing, an option does not apply to this format, or the files are damaged.
        """
        path = files[0].parent if self.is_folder else files[0]
        for key in () if self.has_named_arrays else ("variable", "time", "mask"):
            value = getattr(options, key)
            if value and (key, value) != ("time", "none"):
                raise InputError(
                    f"{path}: data.{key} is {value!r}, but {self.title} has no named arrays; leave data.{key} empty",
                    key=key,
                )
        self.require_packages(path, self.packages + self.reader_packages)
        if self.reader is None:
            raise ValueError(f"{self.title} is only written")
        return self.reader(files, name, options)

    def require_packages(self, path: epath.PathLike, packages: Sequence[str]) -> None:
        """Imports optional packages.

        Raises:
          InputError: a package is missing, and the message names the file and how to install the package; or it cannot
            be imported.
        """
        for package in packages:
            extra = f" (or the extra [{self.extra}])" if self.extra else ""
            import_optional(package, f"{path} needs the package {package}: pip install {package}{extra}")
