"""A TFDS builder that stores the clips of any `ClipReader`."""

import hashlib
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.console.progress import Progress
from stlight_jax.data.raw_clips import ClipReader, RawClip, RawSplit
from stlight_jax.data.statistics import ChannelStatistics
from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError
from stlight_jax.storage.disk_space import check_space

_KEY_RANGE = 2**128  # TFDS spreads keys of this range over its buckets on disk


class ClipsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Stores one frame per record, in order, and a table of clips in `metadata.json`.

    The result is an ordinary TFDS folder. `stlight prepare NAME` makes it, or `download_and_prepare` with a manual folder, as
    with any builder of TFDS.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, reader: ClipReader, **builder: Any):
        """Makes the builder of one data set.

        Args:
          reader: reads the raw files.
          **builder: arguments of TFDS's builders, such as data_dir and file_format.
        """
        self.reader = reader
        self.name = reader.name
        self.VERSION = tfds.core.Version(reader.version)
        self.MANUAL_DOWNLOAD_INSTRUCTIONS = reader.instructions
        super().__init__(**builder)

    def _info(self) -> tfds.core.DatasetInfo:
        reader = self.reader
        # Raw bytes: reading them is a copy.
        encoding = tfds.features.Encoding.BYTES
        frame = tfds.features.Tensor(shape=reader.frame_shape, dtype=reader.frame_dtype, encoding=encoding)
        return tfds.core.DatasetInfo(
            builder=self,
            description=reader.__doc__,
            features=tfds.features.FeaturesDict({"frame": frame}),
            metadata=tfds.core.MetadataDict(reader.metadata()),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # A reader without instructions knows its files.
        root = epath.Path(dl_manager.manual_dir if self.reader.instructions else "")
        splits = self.reader.open_raw(root, self.info.metadata["remarks"])
        self._check_disk(sum(split.frames for split in splits.values()))
        return {name: self._generate_examples(name, split) for name, split in splits.items()}

    def _generate_examples(self, name: str, split: RawSplit) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        statistics = ChannelStatistics(self.reader.frame_shape[-1], self.info.metadata["fill"])
        checksum = hashlib.sha256()
        table: list[dict[str, Any]] = []
        written = 0
        # Keys grow with the index, and fill TFDS's buckets evenly: frames beyond the memory are sorted through these.
        spacing = _KEY_RANGE // max(split.frames, 1)
        with Progress(f"preparing {self.name}, {name}", split.frames, unit="frame") as progress:
            for clip in split.clips():
                first = written
                for block in clip.blocks:
                    self._check_block(clip, block)
                    statistics.add(block)
                    block = np.ascontiguousarray(block)
                    checksum.update(block.data)
                    for frame in block:
                        yield written * spacing, {"frame": frame}
                        written += 1
                    progress.advance(min(written, split.frames))
                table.append(_table_entry(clip, first, written - first))
        if not written:
            raise InputError(f"{self.name}: no clip has frames for the split {name}; check the raw data")
        self.reader.check_statistics(name, statistics.as_json())
        self.info.metadata["splits"][name] = {
            "frames": written,
            "sha256": checksum.hexdigest(),
            "statistics": statistics.as_json(),
            "clips": table,
        }

    def _check_disk(self, frames: int) -> None:
        """Refuses frames that the disk cannot hold, before hours are spent on reading them."""
        folder = next(parent for parent in pathlib.Path(self.data_dir).absolute().parents if parent.exists())
        needed = frames * math.prod(self.reader.frame_shape) * np.dtype(self.reader.frame_dtype).itemsize
        what = f"{frames:,} frames of {' x '.join(map(str, self.reader.frame_shape))}"
        remedy = "name another folder (data.prepared, or --out of prepare), or give fewer or smaller frames"
        check_space(folder, needed, what, remedy)

    def _check_block(self, clip: RawClip, block: np.ndarray) -> None:
        shape, dtype = self.reader.frame_shape, np.dtype(self.reader.frame_dtype)
        if block.shape[1:] != shape or block.dtype != dtype:
            raise InputError(f"{clip.name}: expected frames {dtype} {list(shape)}, found {block.dtype} {list(block.shape[1:])}")


def _table_entry(clip: RawClip, first: int, frames: int) -> dict[str, Any]:
    """Returns the clip's entry in the table. Its key "runs", of segments, is that of version 0.1."""
    segments = (Segment(0, frames),) if clip.segments is None else clip.segments
    if any(segment.first < 0 or segment.frames < 1 or segment.first + segment.frames > frames for segment in segments):
        raise InputError(f"{clip.name} has {frames} frames, fewer than its table of windows needs; check the raw files")
    stored = [[first + segment.first, segment.frames, segment.tick] for segment in segments if frames]
    return {"name": clip.name, "runs": stored}
