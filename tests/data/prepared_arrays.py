"""Which frames of two arrays each split of a prepared data set has, and its windows."""

import shutil

import numpy as np

from stlight_jax.data.clip_windows import ClipWindows
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.stored_frames import StoredClips, StoredFrames
from stlight_jax.data.windows import Windows

LARGE = 2**30
GAP = 2
# Splits by time, of 40 and of 30 frames, with a gap of 2.
TAKEN = {
    "train": {"a.npy": range(28), "b.npy": range(21)},
    "validation": {"a.npy": range(30, 32), "b.npy": range(23, 24)},
    "test": {"a.npy": range(34, 40), "b.npy": range(26, 30)},
}


def clips_of(folder, split, memory=LARGE):
    frames = StoredFrames(folder, split, memory)
    return StoredClips(frames, frames.table["clips"])


def windows_of(folder, split, length, memory=LARGE, stride=1, frame_step=1, **options):
    clips = clips_of(folder, split, memory)
    windows = Windows(clips.segments, length, stride, frame_step)
    return ClipWindows(clips, windows, Scaling("float32", (0.0,), (1.0,)), {"name": "x", "folder": str(folder)}, **options)


def slices(arrays, split, length, stride=1, frame_step=1):
    """The windows, cut from the raw arrays."""
    span = (length - 1) * frame_step + 1
    return np.stack(
        [
            arrays[name][first : first + span : frame_step]
            for name, taken in TAKEN[split].items()
            for first in range(taken.start, taken.stop - span + 1, stride)
        ]
    )


def copied(folder, tmp_path):
    target = tmp_path / "frames" / "1.0.0"
    shutil.copytree(folder, target)
    return target


def shifted(source, indices, steps, targets):
    """The frames `steps` sampling steps before the last `targets` frames of sequences, and whether all of a row are known."""
    frames, known = source.frames_before(indices, [steps + targets - 1 - number for number in range(targets)])
    assert known.shape == frames.shape[:2]
    return frames, known.all(1)
