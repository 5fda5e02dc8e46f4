"""Windows of prepared clips, as sequences for training and evaluation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Description, Sequences
from stlight_jax.data.stored_frames import StoredClips, StoredFrames
from stlight_jax.data.windows import Windows, permutation
from stlight_jax.errors import InputError


class ClipWindows(Sequences):
    """Windows of prepared clips."""

    def __init__(
        self,
        clips: StoredClips,
        windows: Windows,
        scaling: Scaling,
        description: Description,
        seed: int | None = None,
        reverse_channels: bool = False,
        past: Callable[[], Sequence[StoredClips]] = list,
    ):
        """Checks that the clips have at least one window.

        Args:
          clips: the clips.
          windows: windows of `clips.segments`.
          scaling: from stored values to the network's range.
          description: facts about the data, see `Sequences`; "folder" is that of the prepared data.
          seed: of the order in which an epoch shows the windows; None keeps the order of the clips, as evaluations do.
          reverse_channels: whether to return channels in reverse order (BGR as RGB).
          past: returns clips, of any splits, in which `frames_before` may look beyond a window's segment; their ticks must be
            moments in time.

        Raises:
          InputError: every segment is shorter than a window.
        """
        if not len(windows):
            longest = max((segment.frames for segment in clips.segments), default=0)
            raise InputError(
                f"{description['name']}, in {description['folder']}: a window spans {windows.span} frames (model.in_frames, "
                f"and those to predict), but the longest stretch without a jump has {longest}; lower these, or divide the "
                "data otherwise (data.validation_fraction, data.test_fraction, data.split)"
            )
        self.shape, self.scaling = (windows.length, *clips.frames.shape), scaling
        self.description = {**description, "sequences": len(windows), "shape": list(self.shape)}
        self._clips, self._windows, self._seed = clips, windows, seed
        self._channels = slice(None, None, -1 if reverse_channels else None)
        self._past = past
        self._order_of_epoch = functools.lru_cache(maxsize=2)(functools.partial(permutation, len(windows), seed or 0))

    def __len__(self) -> int:
        """Returns the number of windows."""
        return len(self._windows)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Reads the windows at the positions `indices` of `epoch`: `[n, t, h, w, c]`."""
        stored = self._windows.frames(self._numbers(indices, epoch))  # [n, t]
        frames = self._clips.frames[stored.ravel()].reshape(*stored.shape, *self._clips.frames.shape)
        return np.ascontiguousarray(frames[..., self._channels])

    def ticks(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Returns the moments of the windows' frames; see `Sequences`."""
        return self._windows.ticks(self._numbers(indices, epoch))[1]

    def _numbers(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Returns the numbers of the windows at positions of an epoch."""
        indices = np.asarray(indices)
        return indices if self._seed is None else self._order_of_epoch(epoch)[indices]

    def frames_before(self, indices: np.ndarray, steps: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads earlier frames; see `Sequences`.

        Beyond a window's segment, the past can be in another split of the same clip, and is found by its ticks.
        """
        segments, ticks = self._windows.ticks(np.asarray(indices))
        wanted = ticks[:, -targets:] - steps  # [n, targets]
        result = np.zeros((*wanted.shape, *self._clips.frames.shape), self._clips.frames.dtype)
        known = np.ones(len(wanted), bool)
        for row, (segment, moments) in enumerate(zip(segments, wanted.tolist(), strict=True)):
            found = [self._find(segment, tick) for tick in moments]
            known[row] = None not in found
            for column, location in enumerate(found):
                if location is not None:
                    frames, index = location
                    result[row, column] = frames[np.array([index])][0]
        return np.ascontiguousarray(result[..., self._channels]), known

    def _find(self, segment: int, tick: int) -> tuple[StoredFrames, int] | None:
        """Returns the frames and the index of the moment `tick` of a segment's clip, None if no frame is stored."""
        clip, (first, count, begin) = self._segments[segment]
        if 0 <= tick - begin < count:
            return self._clips.frames, first + tick - begin
        return self._index_by_tick.get((clip, tick))

    @functools.cached_property
    def _segments(self) -> list[tuple[str, Any]]:
        """Each segment with its clip's name."""
        return list(zip(self._clips.names, self._clips.segments, strict=True))

    @functools.cached_property
    def _index_by_tick(self) -> dict[tuple[str, int], tuple[StoredFrames, int]]:
        """(clip, tick) -> the stored frame; of several frames of one moment, the last one."""
        return {
            (name, tick + i): (clips.frames, first + i)
            for clips in self._past()
            for name, (first, count, tick) in zip(clips.names, clips.segments, strict=True)
            for i in range(count)
        }
