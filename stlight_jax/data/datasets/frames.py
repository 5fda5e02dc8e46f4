"""A user's own frames: videos, pictures and arrays, read once and kept in prepared form."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from etils import epath, epy

from stlight_jax.config.schema import Key, Section
from stlight_jax.data.augmentation import AugmentedSequences
from stlight_jax.data.clip_bounds import parse_clip
from stlight_jax.data.clip_windows import ClipWindows
from stlight_jax.data.covariates import Covariates, parse_clock
from stlight_jax.data.datasets.dataset import Dataset
from stlight_jax.data.periods import parse_periods
from stlight_jax.data.sequences import Sequences
from stlight_jax.data.splits import MOMENT_KEYS, parse_group
from stlight_jax.data.stored_frames import PreparedData
from stlight_jax.data.value_transforms import TransformName
from stlight_jax.data.window_choice import WindowLengths
from stlight_jax.data.windows import Windows

with epy.lazy_imports():
    from stlight_jax.data import own_frames


_NEW: Any = {"since": "0.2", "absent": ""}
_USUAL_LENGTHS = [(2 * frames, 2 * frames) for frames in range(10, 0, -1)]  # of windows of data that are prepared for any use


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramesSection(Section, name="data"):
    """Section `data` of own frames."""

    root: Annotated[
        str, Key("The file or folder of videos, pictures or arrays, or the folder that prepare wrote.", resumable=True)
    ] = ""
    prepared: Annotated[
        str, Key("Folder in which the prepared frames are kept; empty for the user's cache folder.", resumable=True)
    ] = ""
    variable: Annotated[str, Key("Array in an npz, HDF5 or netCDF file; empty if the file leaves no choice.")] = ""
    time: Annotated[str, Key("Time coordinate in the same file; empty finds it, none ignores it.")] = ""
    layout: Annotated[
        Literal["auto", "thw", "thwc", "tchw", "nthw", "nthwc", "ntchw", "hw", "hwc", "chw"],
        Key("Axes of arrays: n sequences, t frames, h rows, w columns, c channels; auto: thw, thwc or nthwc by their number."),
    ] = "auto"
    channels: Annotated[
        Literal["auto", "grey", "rgb"], Key("Channels of videos and pictures; auto: grey if all frames of all files are.")
    ] = "auto"
    fill_value: Annotated[float | None, Key("Value that marks missing values; NaN always does.")] = None
    mask: Annotated[str, Key("Array in the same file that is not 0 where values are missing.")] = ""
    value_low: Annotated[
        float | None, Key("Declared low end of the values' range, which becomes 0; a value outside the range is an error.")
    ] = None
    value_high: Annotated[
        float | None,
        Key("Declared high end; without a declaration, the range is measured on the training frames (0..255 for uint8)."),
    ] = None
    per_channel: Annotated[bool, Key("Whether each channel has a measured range of its own.")] = False
    transform: Annotated[
        TransformName,
        Key(
            "Transform of the values that the network sees and predicts, for data of at least 0; outputs and metrics are "
            "transformed back. dbz: of rain rates in mm/h.",
            since="0.2",
            absent="none",
        ),
    ] = "none"
    clip: Annotated[
        str,
        Key(
            "Bounds of outputs, LOW,HIGH in the data's units, before metrics, too; auto: at least 0 if the least training "
            "value is 0; or none.",
            since="0.2",
            absent="none",
        ),
    ] = "none"
    height: Annotated[int, Key("Height that frames are resized to, bilinear with antialiasing; 0 keeps their size.")] = 0
    width: Annotated[int, Key("Width that frames are resized to; 0 keeps their size.")] = 0
    split: Annotated[
        Literal["auto", "name", "sequence", "time"],
        Key("Division into training, validation and test: by train, val, test in the path, by whole sequences, or by time."),
    ] = "auto"
    validation_fraction: Annotated[
        float, Key("Fraction of the frames for validation; 0 takes 0.1, or as much as windows need in short data.", least=0)
    ] = 0.1
    test_fraction: Annotated[
        float, Key("Fraction of the frames for the test; 0 takes 0.2, or as much as windows need in short data.", least=0)
    ] = 0.2
    test_from: Annotated[
        str,
        Key(
            "First moment of the test set, in a division by time, such as 2019-03-20 or 2019-03-20T06:00, in the calendar of "
            "the times; empty for data.test_fraction.",
            **_NEW,
        ),
    ] = ""
    test_before: Annotated[
        str, Key("Moment that ends the test set; empty for the end of the data. Later frames are for training.", **_NEW)
    ] = ""
    validation_from: Annotated[str, Key("First moment of the validation set; empty for data.validation_fraction.", **_NEW)] = ""
    validation_before: Annotated[
        str, Key("Moment that ends the validation set; empty for the beginning of the test set.", **_NEW)
    ] = ""
    gap: Annotated[int, Key("Frames to leave out after each border between splits, in a division by time.", least=0)] = 0
    group: Annotated[str, Key("Regular expression; sequences whose names match it with the same text stay in one split.")] = ""
    stride: Annotated[int, Key("Frames from one training window to the next.", least=1)] = 1
    evaluation_stride: Annotated[int, Key("Frames from one validation or test window to the next.", least=1)] = 1
    frame_step: Annotated[int, Key("Sampling steps between frames of a window; 2 takes every other frame.", least=1)] = 1
    periods: Annotated[
        str,
        Key(
            "Periods in sampling steps, such as 24,168 for a day and a week of hourly frames: for each, the network also sees "
            "the frame that many steps before every predicted one; with mean:168 the mean of all earlier frames of that phase; "
            "auto takes those of the time axis that lower the validation MSE.",
            since="0.2",
            absent="",
        ),
    ] = ""
    clock: Annotated[
        str,
        Key(
            "Cycles of the calendar, such as day,week or year: for each, the network also sees sine and cosine of the phase of "
            "a frame's moment, as further channels.",
            **_NEW,
        ),
    ] = ""
    static: Annotated[
        str,
        Key(
            "File with a field [h, w] or [h, w, c] of the frames' size before they are resized, which the network also sees, "
            "as further channels.",
            resumable=True,
            **_NEW,
        ),
    ] = ""
    crop: Annotated[
        int,
        Key(
            "Side of a random square cut from training sequences; 0 keeps whole frames, -1 chooses by the number and the size "
            "of the frames. Where the network's receptive field exceeds it, forecasts are made in tiles of this side.",
            least=-1,
        ),
    ] = 0
    flips: Annotated[bool, Key("Whether training sequences are mirrored at random.")] = False
    memory: Annotated[
        int,
        Key("MiB of frames per split to keep in memory; larger splits are read from disk.", least=0, resumable=True),
    ] = 256

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        parse_periods(self.periods)
        parse_clock(self.clock)
        parse_clip(self.clip)
        parse_group(self.group)


class Frames(Dataset):
    """A user's own frames."""

    name = "frames"
    title = "your frames"
    section = FramesSection

    def frame_size(self, section: FramesSection) -> tuple[int, int] | None:
        """Returns (height, width) that frames are resized to, None if they keep their own size."""
        return (section.height, section.width) if section.height else None

    def open_training(
        self, section: FramesSection, length: int, validation_length: int, seed: int
    ) -> tuple[Sequences, Sequences]:
        """Opens windows of the training and the validation frames; see `Dataset`."""
        data = _open(section)
        training: Sequences = self._windows(data, section, "train", length, seed)
        if section.crop > 0 or section.flips:
            training = AugmentedSequences(training, max(section.crop, 0), section.flips, seed)
        return training, self._windows(data, section, "validation", validation_length)

    def open_test(self, section: FramesSection, length: int) -> Sequences:
        """Opens windows of the test frames; see `Dataset`."""
        return self._windows(_open(section), section, "test", length)

    def covariates(self, section: FramesSection) -> Covariates | None:
        """Opens the covariates of the frames; see `Dataset`."""
        return own_frames.open_covariates(section, own_frames.find_or_prepare(section))

    def choose_windows(self, section: FramesSection, lengths: Sequence[WindowLengths]) -> tuple[int, FramesSection]:
        """Chooses windows and splits that suit the length of the data; see `Dataset`."""
        return own_frames.choose_windows(section, lengths)

    def prepare(self, raw: epath.Path, out: epath.Path, section: FramesSection | None) -> str:
        """Prepares a user's files; see `Dataset`."""
        if section is not None:
            _, section = self.choose_windows(dataclasses.replace(section, root=str(raw)), _USUAL_LENGTHS)
        folder = own_frames.prepare_frames(raw, own_frames.frames_options(section or FramesSection()), out)
        return f"prepared in {folder}; --config.data.root={out} finds it"

    def _windows(
        self, data: PreparedData, section: FramesSection, split: str, length: int, seed: int | None = None
    ) -> ClipWindows:
        clips = data.clips(split)
        facts = {"step": clips.frames.metadata.get("step", ""), **data.description(clips)}
        events = _events(section, clips.frames.metadata["splits"])
        if events:
            facts["events"] = events
        stride = section.evaluation_stride if seed is None else section.stride
        return ClipWindows(
            clips,
            Windows(clips.segments, length, stride, section.frame_step),
            data.scaling(section.per_channel, section.transform, section.clip),
            {"name": f"{self.title}, {split}", "published": False, **facts},
            seed,
            past=data.all_clips,
        )


def _events(section: FramesSection, splits: Mapping[str, Any]) -> int:
    """Counts the training sequences, or their groups; 0 if the test frames continue them."""
    trained, tested = ({clip["name"] for clip in splits[name]["clips"]} for name in ("train", "test"))
    if trained & tested or section.split == "time" or any(getattr(section, key) for key in MOMENT_KEYS):
        return 0
    groups = map(parse_group(section.group).search, trained) if section.group else []
    return len({found.group() for found in groups if found} or trained)


def _open(section: FramesSection) -> PreparedData:
    folder = own_frames.find_or_prepare(section)
    return PreparedData(folder, section.memory, own_frames.open_covariates(section, folder))
