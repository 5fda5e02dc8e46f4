"""The request of a user for forecasts."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from stlight_jax.errors import InputError
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
      start: Index of the first predicted frame, negative from the end; None for the frame after the last one.
      truth: File or folder of the true frames, if `input` does not have them.
      rolling: Whether to forecast all along the input.
      every: Frames from one forecast to the next, with `rolling`; None for the horizon.
      overwrite: Whether to replace existing output.
      json: JSON file for the results; None for none.
      report: HTML page; "" for a page beside the output, "none" for none.
      dtype: Type of output arrays, one of `FLOAT_TYPES`; None for the input's.
      reading: Options among `read_options.KEYS` that the user has set.
    """

    input: str
    out: str = ""
    kind: str = ""
    horizon: int | None = None
    start: int | None = None
    truth: str | None = None
    rolling: bool = False
    every: int | None = None
    overwrite: bool = False
    json: str | None = None
    report: str = ""
    dtype: str | None = None
    reading: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def input_path(self) -> pathlib.Path:
        """Path of `input`."""
        return pathlib.Path(self.input).expanduser()

    def check(self) -> None:
        """Checks the options that no file is needed for.

        Raises:
          InputError: The input does not exist, or an option is impossible.
        """
        paths.require_local(self.input, f"{self.input}: frames are read from local folders; copy them to this machine first")
        if not self.input_path.exists():
            raise InputError(f"{self.input}: there is no such file or folder")
        if self.horizon is not None and self.horizon < 1:
            raise InputError(f"--horizon={self.horizon}: give at least 1")
        if self.every is not None and (not self.rolling or self.every < 1):
            raise InputError(f"--every={self.every}: " + ("give at least 1" if self.rolling else "use it with --rolling"))
        if self.truth and (self.rolling or self.start is not None):
            raise InputError(
                "--truth is for a forecast from the end of INPUT; with --start and --rolling the truth is taken from INPUT"
            )
        for key, value, ending in (("json", self.json, ".json"), ("report", self.report, ".html")):
            if value and value != "none" and pathlib.Path(value).suffix != ending:
                raise InputError(f"--{key}={value}: expected the name of a file that ends in {ending}")
            paths.require_local(value or "", f"--{key}={value}: it is written to local disks; copy it from there")
        fill = self.reading.get("fill_value")
        if fill is not None and not np.isfinite(fill):
            raise InputError(f"--fill_value={fill:g}: give a number, or none; NaN in floats is always missing")
        if self.dtype not in (None, *FLOAT_TYPES):
            raise InputError(f"--dtype={self.dtype}: choose one of {', '.join(FLOAT_TYPES)}")
