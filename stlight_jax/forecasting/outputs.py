"""The output files of a prediction: names, kinds, content, and that they replace nothing without permission."""

import collections
import contextlib
import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from stlight_jax.data.formats import registry
from stlight_jax.data.formats.file_format import FileFormat
from stlight_jax.data.formats.output_files import check_output, open_output
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_folder import FORMAT as PICTURE_FOLDER
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.value_conversion import can_hold
from stlight_jax.data.times_in_names import name_of_time
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import Forecast
from stlight_jax.forecasting.plan import ForecastPlan
from stlight_jax.forecasting.request import Request
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.storage.atomic import atomic_output, foreign_file_in
from stlight_jax.storage.disk_space import check_space
from stlight_jax.storage.paths import create_folder

_DEFAULT_RATE = 10.0  # frames per second, if the input has none
_MAX_COLUMNS = 40  # of a strip
# The parts of a date that all files of a sequence share, such as 2026- in 2026-01-01..02-01.
_DATE_BEFORE, _CLOCK_AFTER = re.compile(r"(19|20)\d\d([-_.:T]?\d\d)*[-_.:T]?$"), re.compile(r"^([-_.:]\d\d)+Z?(?!\d)")


class Outputs:
    """The files that a request writes, decided before its frames are read.

    Args:
      request: The request.
      plan: Its forecasts.
      forecaster: Makes the forecasts; its scaling gives the value range of pictures.

    Attributes:
      plan: The forecasts.
      overwrite: Whether existing output is replaced.
      path: File or folder of predictions.
      formats: Format of each source's file.
      stacked: Whether the sources are items of one array and are written to one array again.
      specs: Descriptions of each source's file; a single one if `stacked`.
      page: HTML page; None for none.
      json: JSON file of the results; None for none.

    Raises:
      InputError: An ending or kind does not exist or does not fit.
    """

    def __init__(self, request: Request, plan: ForecastPlan, forecaster: Forecaster):
        self._request, self.plan, self.overwrite = request, plan, request.overwrite
        named, requested = request.named_output, request.requested_format()
        infos = [source.original.info for source in plan.sources]
        self.formats = [requested or registry.continuation_format(info.format) for info in infos]
        one_array = len({(info.path, info.key) for info in infos}) == 1 and infos[0].item is not None
        self.stacked = one_array and self.formats[0].limits.outer_axes
        self._several = len(infos) > 1 and not self.stacked
        # One sequence in a folder is written as several are.
        is_below = request.input_path.is_dir() and not any(_is_same(info.path, request.input_path) for info in infos)
        self._in_folder = self._several or (is_below and not (named and named.suffix))
        if named is not None:
            self._check_ending(named, requested, forecaster.model.out_channels)
        ending = "" if self._in_folder else self.formats[0].output_ending
        source = request.input_path
        name = source.resolve().name if source.is_dir() else source.stem
        self.path = named or pathlib.Path(f"{name}_predicted{ending}")
        self._names = _file_names([_output_name(plan, number) for number in range(len(plan.sources))], self.formats)
        self.page = None if request.report == "none" else pathlib.Path(request.report or self._page_beside()).expanduser()
        self.json = pathlib.Path(request.json).expanduser() if request.json else None
        self._forecaster = forecaster
        self.specs = [self._spec(number, forecaster) for number in range(1 if self.stacked else len(infos))]

    @property
    def is_folder(self) -> bool:
        """Whether `path` is a folder of several files."""
        return self._in_folder or self.formats[0].writes_folders

    def _page_beside(self) -> pathlib.Path:
        """Returns the page beside the output: `a.html` of `a.nc`, but `a_nc.html` if `a.html` is the page of another output."""
        if self.is_folder:
            return self.path.with_name(f"{self.path.name}.html")
        page, longer = (self.path.with_name(f"{self.path.stem}{end}.html") for end in ("", self.path.suffix.replace(".", "_")))
        return longer if longer.exists() or (page.exists() and not self.path.exists()) else page

    def _check_ending(self, named: pathlib.Path, requested: FileFormat | None, channels: int) -> None:
        """Checks that a name with an ending is that of one file, and a name without one that of a folder.

        One sequence of a file goes to a folder of pictures, or to a file in the folder if pictures cannot have its channels.
        """
        out, ending = self._request.out, self.formats[0].output_ending
        if named.suffix and self._several:
            raise InputError(
                f"--out={out}: {self._request.input_path} holds {len(self.plan.sources)} sequences, each of which needs a "
                f"file of its own; give a folder without an ending, and --kind={self.formats[0].name}"
            )
        if not named.suffix and not self._in_folder:
            if ending and (requested or self.stacked):
                raise InputError(f"--out={out} has no ending; name the file {out}{ending}")
            if channels in PICTURE_FOLDER.limits.channels:
                self.formats = [PICTURE_FOLDER]
            else:
                self._in_folder = True

    def _spec(self, number: int, forecaster: Forecaster) -> OutputSpec:
        """Describes the file of a source: shape, type, missing values, value range and times."""
        request, plan = self._request, self.plan
        source, starts, scaling = plan.sources[number], plan.starts[number], forecaster.scaling
        info, channels = source.original.info, forecaster.model.out_channels
        fill = plan.reader.options.fill_value
        dtype = np.dtype(request.dtype) if request.dtype else _dtype(source.original, plan.reader.options)
        windows = plan.rolling and not plan.joined
        return OutputSpec(
            source=info,
            frames=plan.horizon if windows else len(plan.written_indices(number)),
            shape=(*source.original.shape[:2], channels),
            dtype=dtype,
            fill=fill if fill is not None and can_hold(dtype, fill) else None,
            low=scaling.low[:channels],
            high=scaling.high[:channels],
            items=len(plan.sources) if self.stacked else None,
            window_starts=np.array([source.file_index(start) for start in starts]) if windows else None,
            frame_numbers=None if windows else source.file_index(plan.written_indices(number)),
            times=plan.times(number),
            window_times=plan.window_times(number),
            frame_rate=(info.frame_rate or _DEFAULT_RATE) / (source.step if info.frame_rate else 1),
            dtype_requested=bool(request.dtype),
        )

    def check(self) -> None:
        """Checks that the files can be written.

        Raises:
          InputError: A kind of file cannot hold the frames, a file exists, or a folder or disk cannot take it.
        """
        for spec, file_format in zip(self.specs, self.formats, strict=False):
            if file_format.writer is None and self._request.rolling:
                raise InputError(f"{self.path}: a strip shows one forecast; with --rolling write another kind of file")
            check_output(file_format, spec, self.path)
        read_paths, overwrite = [self._request.input_path, *self.plan.read_paths], self.overwrite
        check_free(self.path, read_paths, overwrite, folder=self.is_folder)
        for option, path in (("--report", self.page), ("--json", self.json)):
            if path is not None:
                if path.resolve().is_relative_to(self.path.resolve()):
                    raise InputError(f"{path} lies in {self.path}, the folder of predictions; choose another folder")
                check_free(path, read_paths, overwrite, option=option)
        pairs = zip(self.specs, self.formats, strict=False)
        needed = sum(file_format.output_bytes(spec) for spec, file_format in pairs if file_format.output_bytes)
        remedy = "predict less (--horizon, --every), or to another disk (--out)"
        check_space(self.path.parent, needed, str(self.path), remedy)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[[Forecast], None]]:
        """Opens the files of predictions, which get their names when the block ends without an error.

        Yields:
          A function that writes the next forecast; forecasts come in the order of the plan.
        """
        with contextlib.ExitStack() as stack:
            files = [self.path]
            if self._in_folder:
                folder = stack.enter_context(atomic_output(self.path, replace=self.overwrite))
                folder.mkdir()
                files = [folder / name for name in self._names]
            writer = _ForecastWriter(self, files, self._forecaster)
            with writer.current:
                yield writer.write


class _ForecastWriter:
    """Writes forecasts, one file after the other; the exit of `current` completes the last one."""

    def __init__(self, outputs: Outputs, files: Sequence[pathlib.Path], forecaster: Forecaster):
        self._outputs, self._files, self._forecaster = outputs, files, forecaster
        self.current = contextlib.ExitStack()
        self._number = -1  # of the open file
        self._write: Callable[[np.ndarray], None]

    def write(self, forecast: Forecast) -> None:
        number = 0 if self._outputs.stacked else forecast.source
        if number != self._number:
            self.current.close()
            self._write, self._number = self._open(number, forecast), number
        self._write(forecast.prediction[: self._outputs.plan.frames_written(forecast.source, forecast.start)])

    def _open(self, number: int, forecast: Forecast) -> Callable[[np.ndarray], None]:
        path, file_format, replace = self._files[number], self._outputs.formats[number], self._outputs.overwrite
        if file_format.writer is None:  # a strip
            strip = self.current.enter_context(atomic_output(path, replace=replace))
            return functools.partial(_draw_strip, strip, self._forecaster, self._outputs.plan, forecast)
        spec = self._outputs.specs[number]
        write = self.current.enter_context(open_output(path, file_format, spec, replace=replace))
        if forecast.prediction.shape[1:3] == spec.shape[:2]:
            return write
        # TensorFlow, which this needs, is slow to import.
        from stlight_jax.data.resize import resize_valid

        return lambda frames: write(resize_valid(frames, None, *spec.shape[:2]))  # the frames were resized for the network


def _dtype(original: FrameSource, options: ReadOptions) -> np.dtype:
    """Returns the type of the input, or float32 if it cannot hold missing values."""
    info, fill = original.info, options.fill_value
    is_transparent = info.is_pictures and original.dtype != info.dtype
    unmarked = (options.mask or is_transparent) and fill is None
    if info.dtype.kind != "f" and (unmarked or (fill is not None and not can_hold(info.dtype, fill))):
        return np.dtype(np.float32)
    return info.dtype


def check_free(
    path: pathlib.Path, read_paths: Sequence[pathlib.Path], overwrite: bool, *, folder: bool = False, option: str = "--out"
) -> None:
    """Checks that an output can be written, and creates its parent folder.

    Args:
      path: The file or folder to write.
      read_paths: Files and folders that must not change.
      overwrite: Whether existing output may be replaced.
      folder: Whether `path` will be a folder.
      option: The flag that names it, for messages.

    Raises:
      InputError: `path` exists and must be kept, or cannot be written.
    """
    for other in read_paths:
        if _lies_in(other, path):
            raise InputError(f"{path} is, or contains, {other}, which is read; choose another name")
        if _lies_in(path, other):
            raise InputError(f"{path} lies in {other}, which is read; choose another folder")
    if os.path.islink(path) and not path.exists():
        raise InputError(f"{path} is a link to {os.readlink(path)}, which does not exist; choose another name")
    if path.exists():
        if not path.is_dir() and not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder; choose another name")
        if path.is_dir() != folder:
            found, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise InputError(f"{path} is a {found}, and predictions are written to a {wanted}; choose another name")
        if not overwrite:
            raise InputError(f"{path} exists; choose another name ({option}=NAME), or pass --overwrite to replace it")
        foreign = foreign_file_in(path) if folder else None
        if foreign is not None:
            raise InputError(f"{path} is a folder with {foreign} in it, which predict has not written; choose another name")
    create_folder(path.parent)


def _lies_in(path: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether `path` is `other`, or below it."""
    resolved = path.resolve()
    return other.exists() and any(parent.exists() and parent.samefile(other) for parent in (resolved, *resolved.parents))


def _is_same(path: os.PathLike, other: pathlib.Path) -> bool:
    return os.path.exists(path) and os.path.samefile(path, other)


def _output_name(plan: ForecastPlan, number: int) -> str:
    """Returns the name of a sequence; if that names its first and last file, with the times of its forecasts in their place."""
    original = plan.sources[number].original
    times = plan.window_times(number) or plan.times(number)
    if not original.info.span or times is None or not times.dated:
        return original.name
    ends = dict.fromkeys(name_of_time(times.values, index) for index in (0, len(times.values) - 1))
    before, _, after = original.name.partition(original.info.span)
    return f"{_DATE_BEFORE.sub('', before)}{'..'.join(ends)}{_CLOCK_AFTER.sub('', after)}"


def _file_names(sequences: Sequence[str], formats: Sequence[FileFormat]) -> list[str]:
    """Returns unique file names, one for each sequence, without folders, old endings or special characters.

    The name of an array is part of the name only if sequences of one file need it.

    Args:
      sequences: the names of the sequences.
      formats: the formats of their files.
    """
    files, arrays = zip(*map(_parts_of_name, sequences), strict=True)
    counts, results = collections.Counter(files), dict[str, None]()
    for file, array, file_format in zip(files, arrays, formats, strict=True):
        whole = f"{file}{array}" if counts[file] > 1 else file
        plain = re.sub(r"[^\w.-]+", "_", whole).strip("_.") or "frames"
        unique, number, ending = plain, 2, file_format.output_ending
        while f"{unique}{ending}" in results:
            unique, number = f"{plain}_{number}", number + 1
        results[f"{unique}{ending}"] = None
    return list(results)


def _parts_of_name(name: str) -> tuple[str, str]:
    """Splits the name of a sequence, such as `x.npz#rain[2]`, into that of its file without the ending, and the rest."""
    file = re.sub(r"(#.*|\[\d+\])$", "", name)
    has_ending = registry.input_format(file) is not None or file.lower().endswith(".zarr")
    return os.path.splitext(file)[0] if has_ending else file, name.removeprefix(file)


def _draw_strip(
    path: pathlib.Path, forecaster: Forecaster, plan: ForecastPlan, forecast: Forecast, prediction: np.ndarray
) -> None:
    """Draws inputs, truth and prediction in one picture, in the colours of the page."""
    # Pictures import Pillow's fonts and the metrics, which no other output needs.
    from stlight_jax.forecasting.forecast_results import display_of
    from stlight_jax.reports import pictures

    channels, known = prediction.shape[-1], len(forecast.truth)
    scaling = forecaster.scaling.untransformed.for_channels(channels)
    truth = np.full(prediction.shape, np.nan, np.float32)
    truth[:known] = forecast.truth[: len(truth), ..., :channels]
    inputs, truth, prediction = map(scaling.to_network_on_host, (forecast.inputs[..., :channels], truth, prediction))
    display = display_of([inputs, truth], [prediction - truth], forecaster, plan)
    inputs, truth, prediction = inputs[-_MAX_COLUMNS:], truth[:_MAX_COLUMNS], prediction[:_MAX_COLUMNS]
    pictures.draw_strip(path, inputs, truth if known else None, prediction, display)
