"""The request of a user for forecasts, and how its input is read: like the training data, unless the user sets options."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from stlight_jax.data.formats import registry
from stlight_jax.data.formats.file_format import FileFormat
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.picture_folder import FORMAT as PICTURE_FOLDER
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.reading_flags import KEYS, errors_name_flags
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import SampledSource
from stlight_jax.storage import paths

FLOAT_TYPES = ("float16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Request:
    """A request for forecasts, with the command's flags under their names.

    Attributes:
      input: File or folder of the frames to predict from.
      out: Output file or folder; "" for the input's name with `_predicted`, in the current folder.
      kind: Kind of the output files; "" for the input's kind.
      horizon: Frames to predict; None for T'.
      start: Index of the first predicted frame, negative from the end; or its time, such as 2019-03-20T06:00; None for the
        frame after the last one.
      truth: File or folder of the true frames, if `input` does not have them.
      rolling: Whether to forecast all along the input.
      every: Frames from one forecast to the next, with `rolling`; None for the horizon.
      overwrite: Whether to replace existing output.
      json: JSON file for the results; None for none.
      report: HTML page; "" for a page beside the output, "none" for none.
      show: Whether to draw a forecast in the terminal.
      dtype: Type of output arrays, one of `FLOAT_TYPES`; None for the input's.
      reading: Options among `KEYS` that the user has set.
    """

    input: str
    out: str = ""
    kind: str = ""
    horizon: int | None = None
    start: int | str | None = None
    truth: str | None = None
    rolling: bool = False
    every: int | None = None
    overwrite: bool = False
    json: str | None = None
    report: str = ""
    show: bool = False
    dtype: str | None = None
    reading: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def input_path(self) -> pathlib.Path:
        """Path of `input`."""
        return pathlib.Path(self.input).expanduser()

    @property
    def named_output(self) -> pathlib.Path | None:
        """Path of `out`; None if the user names none."""
        return pathlib.Path(self.out).expanduser() if self.out else None

    def requested_format(self) -> FileFormat | None:
        """Returns the format that the ending of `out` or `kind` names; None if neither does.

        Raises:
          InputError: There is no such format, or they name two.
        """
        requested, named = registry.output_format(self.kind), self.named_output
        if self.kind and requested is None:
            names = ", ".join(file_format.name for file_format in registry.output_formats())
            raise InputError(f"--kind={self.kind}: choose one of {names}{_advice_on_pictures(f'.{self.kind}')}")
        if named is None or not named.suffix:
            return requested
        by_ending = registry.output_format_of(named.suffix)
        if by_ending is None:
            endings = ", ".join(ending for item in registry.output_formats() for ending in item.output_endings or ())
            raise InputError(
                f"--out={self.out}: no format ends in {named.suffix}; choose one of {endings}, or a folder"
                f"{_advice_on_pictures(named.suffix)}"
            )
        if requested not in (None, by_ending):
            raise InputError(f"--out={self.out} and --kind={self.kind} are of different kinds; leave one of them out")
        return by_ending

    def check(self) -> None:
        """Checks all that needs neither the network nor the frames.

        Raises:
          InputError: The input does not exist, an output exists and is to be kept, or an option is impossible.
        """
        paths.require_local(self.input, f"{self.input}: frames are read from local folders; copy them to this machine first")
        if not self.input_path.exists():
            raise InputError(f"{self.input}: there is no such file or folder")
        if self.horizon is not None and self.horizon < 1:
            raise InputError(f"--horizon={self.horizon}: give at least 1")
        if self.every is not None and (not self.rolling or self.every < 1):
            raise InputError(f"--every={self.every}: " + ("give at least 1" if self.rolling else "use it with --rolling"))
        if self.truth and (self.rolling or self.start is not None):
            raise InputError("--truth is for a forecast from the end of INPUT; with --start and --rolling INPUT has the truth")
        paths.require_local(self.out, f"--out={self.out}: predictions are written to local disks; copy them from there")
        self.requested_format()
        for key, value, ending in (("json", self.json, ".json"), ("report", self.report, ".html")):
            if value and value != "none" and pathlib.Path(value).suffix != ending:
                raise InputError(f"--{key}={value}: expected the name of a file that ends in {ending}")
            paths.require_local(value or "", f"--{key}={value}: it is written to local disks; copy it from there")
        for key in ("out", "json", "report"):
            file = pathlib.Path(getattr(self, key) or "").expanduser()
            if file.suffix and file.is_file() and not self.overwrite and not file.samefile(self.input_path):
                raise InputError(f"{file} exists; choose another name (--{key}=NAME), or pass --overwrite to replace it")
        fill = self.reading.get("fill_value")
        if fill is not None and not np.isfinite(fill):
            raise InputError(f"--fill_value={fill:g}: give a number, or none; NaN in floats is always missing")
        if self.dtype not in (None, *FLOAT_TYPES):
            raise InputError(f"--dtype={self.dtype}: choose one of {', '.join(FLOAT_TYPES)}")


def _advice_on_pictures(ending: str) -> str:
    is_picture = ending.lower() in PICTURE_FOLDER.endings
    return f"; pictures are written to a folder: --kind={PICTURE_FOLDER.name} --out=FOLDER" if is_picture else ""


_OF_NAMED_ARRAYS = ("variable", "time", "mask")
_DEFAULTS = {"channels": "auto", "frame_step": 1, "height": 0, "width": 0, "layout": "auto"}


@dataclasses.dataclass(frozen=True)
class InputReader:
    """Opens files of frames with the options of one prediction.

    Attributes:
      options: Options of the file formats.
      frame_step: Distance between the frames that the network sees, in frames of the file.
      size: (height, width) that frames are resized to; None keeps their size.
      from_training: The options that come from the model's training, {key: value}.
    """

    options: ReadOptions
    frame_step: int
    size: tuple[int, int] | None
    from_training: dict[str, Any]

    @classmethod
    def for_model(
        cls, path: pathlib.Path, given: Mapping[str, Any], description: Mapping[str, Any], in_channels: int
    ) -> InputReader:
        """Chooses the user's options first, then those of the training, if its data were a user's own frames.

        Args:
          path: The input.
          given: The options among `KEYS` that the user has set.
          description: The forecaster's description.
          in_channels: Channels that the model sees; pictures and videos are read as grey for 1 and as rgb for 3.

        Raises:
          InputError: An option is unknown or impossible.
        """
        unknown = set(given) - set(KEYS)
        if unknown:
            raise InputError(f"reading has an unknown option, {sorted(unknown)[0]!r}; choose among {', '.join(KEYS)}")
        trained = _training_options(description)
        if not _has_named_arrays(path):
            trained = {
                key: value for key, value in trained.items() if key not in _OF_NAMED_ARRAYS or (key, value) == ("time", "none")
            }
        trained.pop("channels", None)  # the model decides
        sides = ("height", "width") if given.keys() & {"height", "width"} else ()
        trained = {key: value for key, value in trained.items() if key not in (*given, *sides)}
        values = {"channels": {1: "grey", 3: "rgb"}.get(in_channels, "auto"), **trained, **given}
        frame_step, height, width = (values.pop(key, _DEFAULTS[key]) for key in ("frame_step", "height", "width"))
        if frame_step < 1:
            raise InputError(f"--frame_step={frame_step}: give at least 1")
        if (height < 1) != (width < 1) or min(height, width) < 0:
            raise InputError(f"--height={height} and --width={width}: give both, each at least 1, or neither")
        return cls(ReadOptions(**values), frame_step, (height, width) if height else None, trained)

    def open(self, path: pathlib.Path) -> list[FrameSource]:
        """Opens the sequences in a file or folder.

        Raises:
          InputError: They cannot be read; the message names the command's flags.
        """
        try:
            with errors_name_flags():
                return open_sequences(path, self.options)
        except InputError as error:
            if error.key not in self.from_training:
                raise
            raise InputError(f"{error}; --{error.key} comes from the training") from None

    def sampled(self, original: FrameSource, index: int) -> tuple[SampledSource, int]:
        """Chooses the frames of a sequence that the network sees.

        Args:
          original: The sequence in its file.
          index: Index in the file of a frame that belongs to them.

        Returns:
          The frames, and the index of that frame among them.
        """
        return SampledSource(original, self.frame_step, index % self.frame_step, self.size), index // self.frame_step


def _training_options(description: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of the training, without defaults; none if its data were not a user's own frames."""
    config = description.get("config") or {}
    section = (config.get("data") or {}) if config.get("dataset") == "frames" else {}
    return {key: section[key] for key in KEYS if key in section and section[key] not in (None, "", _DEFAULTS.get(key))}


def _has_named_arrays(path: pathlib.Path) -> bool:
    """Whether a file, or a file of a folder, is of a format with named arrays."""
    names = (name for _, _, names in os.walk(path) for name in names) if path.is_dir() else (path.name,)
    formats = (registry.folder_format(os.fspath(path)), *map(registry.input_format, names))
    return any(item is not None and item.has_named_arrays for item in formats)
