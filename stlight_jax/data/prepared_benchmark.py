"""Prepared benchmarks: data sets that are stored from OpenSTL's files, and cut into windows by OpenSTL's rules."""

import dataclasses
import math
from typing import Annotated, ClassVar, Literal

from stlight_jax.config.schema import Key, Section
from stlight_jax.data.clip_windows import ClipWindows
from stlight_jax.data.datasets.dataset import Dataset
from stlight_jax.data.prepared import find_prepared
from stlight_jax.data.raw_clips import ClipReader
from stlight_jax.data.sequences import Sequences
from stlight_jax.data.splits import hash_order
from stlight_jax.data.stored_frames import PreparedData, StoredClips
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSection(Section, name="data"):
    """Section `data` of the benchmarks that `python -m stlight_jax prepare` stores."""

    root: Annotated[str, Key("Folder that was given to prepare as --out; empty for TFDS's default folder.", resumable=True)] = (
        ""
    )
    validation: Annotated[
        Literal["openstl", "held_out"],
        Key("Validation on the test set, as in OpenSTL, or on a part of the training set that is held out."),
    ] = "openstl"
    validation_fraction: Annotated[float, Key("Fraction of the training set to hold out.", above=0)] = 0.1
    stride: Annotated[int, Key("Frames from one window to the next; 0 for OpenSTL's rule.", least=0, recipe=True)] = 0
    colour_order: Annotated[
        Literal["openstl", "rgb"], Key("Order of colour channels: as in OpenSTL's files, or always RGB.")
    ] = "openstl"
    memory: Annotated[
        int,
        Key("MiB of frames per split to keep in memory; larger splits are read from disk.", least=0, resumable=True),
    ] = 256


class PreparedBenchmark(Dataset, ClipReader):
    """A benchmark with OpenSTL's windows.

    Attributes:
      overlapping_segments: number of neighbouring segments that can have frames in common by their content.
    """

    section = BenchmarkSection
    overlapping_segments: ClassVar[int] = 1

    def group(self, clip: str) -> str:
        """Returns the group of a clip, by its name; groups stay together when training clips are held out for validation."""
        return clip

    def frame_size(self, section: BenchmarkSection) -> tuple[int, int]:
        """Returns (height, width) of the stored frames."""
        return self.frame_shape[:2]

    def open_training(
        self, section: BenchmarkSection, length: int, validation_length: int, seed: int
    ) -> tuple[Sequences, Sequences]:
        """Opens the training windows, and those of the test set or of held-out clips for validation; see `Dataset`."""
        data = self._open(section)
        train = data.clips("train")
        if section.validation == "openstl":
            validation, label = data.clips("test"), "test"
        else:
            (train, validation), label = self._hold_out(train, section.validation_fraction), "held out of train"
        return (
            self._windows(data, section, "train", train, length, seed),
            self._windows(data, section, label, validation, validation_length),
        )

    def open_test(self, section: BenchmarkSection, length: int) -> Sequences:
        """Opens the windows of the test set; see `Dataset`."""
        data = self._open(section)
        return self._windows(data, section, "test", data.clips("test"), length)

    def _open(self, section: BenchmarkSection) -> PreparedData:
        advice = f"run `python -m stlight_jax prepare {self.name} --raw=RAW --out=FOLDER` and give --config.data.root=FOLDER"
        folder = find_prepared(self.name, section.root, advice)
        if folder is None:
            root = (
                f"data.root is {section.root!r}"
                if section.root
                else "data.root is empty, so TFDS's default folder was searched"
            )
            raise InputError(f"{root}, and {self.name} is not prepared there; {advice}")
        return PreparedData(folder, section.memory)

    def _windows(
        self,
        data: PreparedData,
        section: BenchmarkSection,
        label: str,
        clips: StoredClips,
        length: int,
        seed: int | None = None,
    ) -> ClipWindows:
        # OpenSTL's stride depends on the length of a window: a longer horizon has other windows.
        strides = [section.stride or self.stride(name, length) for name in clips.names]
        stored_order = clips.frames.metadata["colour_order"].get(clips.frames.split, "rgb")
        description = {
            "name": f"{self.name}, {label}",
            "published": label == "test" and not section.stride,
            **data.description(clips),
        }
        return ClipWindows(
            clips,
            Windows(clips.segments, length, strides, anchor=self.anchor),
            data.scaling(),
            description,
            seed,
            reverse_channels=stored_order == "bgr" and section.colour_order == "rgb",
        )

    def _hold_out(self, clips: StoredClips, fraction: float) -> tuple[StoredClips, StoredClips]:
        """Divides training clips into those to train on and those to validate on."""
        parts = self._hold_out_groups(clips, fraction) if len(clips.table) > 1 else self._hold_out_end(clips, fraction)
        if not all(part.table for part in parts):
            raise InputError(
                f"data.validation_fraction is {fraction}: nothing is left to train on of {len(clips.table)} clip(s); make it "
                "smaller"
            )
        return parts

    def _hold_out_groups(self, clips: StoredClips, fraction: float) -> tuple[StoredClips, StoredClips]:
        groups = hash_order({self.group(clip["name"]) for clip in clips.table})
        held = set(groups[: max(1, math.ceil(fraction * len(groups)))])
        train, validation = (
            [clip for clip in clips.table if (self.group(clip["name"]) in held) == side] for side in (False, True)
        )
        return StoredClips(clips.frames, train), StoredClips(clips.frames, validation)

    def _hold_out_end(self, clips: StoredClips, fraction: float) -> tuple[StoredClips, StoredClips]:
        """Holds out the last segments of a single clip. Segments that share frames with them are left out."""
        segments = clips.segments
        count = max(1, math.ceil(fraction * len(segments)))
        held = segments[-count:]
        begin = min(segment.first for segment in held)
        # Some share frames by their content only, see `overlapping_segments`, others by their indices.
        before = segments[: -count - self.overlapping_segments + 1]
        train = [segment for segment in before if segment.first + segment.frames <= begin]
        return _with_segments(clips, train), _with_segments(clips, held)


def _with_segments(clips: StoredClips, segments: list[Segment]) -> StoredClips:
    return StoredClips(clips.frames, [{**clips.table[0], "runs": segments}] if segments else [])
