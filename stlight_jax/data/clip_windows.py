"""Windows of prepared clips, as sequences for training and evaluation."""

import functools
from collections.abc import Callable, Sequence

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
            files = description.get("raw", description["folder"])
            raise InputError(
                f"{description['name']}, in {files}: a window spans {windows.span} frames (model.in_frames, "
                f"and those to predict), but the longest stretch without a jump has {longest}; give more frames, lower "
                "these, or divide the data otherwise (data.validation_fraction, data.test_fraction, data.split)"
            )
        self.shape, self.scaling = (windows.length, *clips.frames.shape), scaling
        counts = {"sequences": len(windows), "separate": windows.separate}
        self.description = {**description, **counts, "shape": list(self.shape)}
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

    def frames_before(self, indices: np.ndarray, steps: Sequence[int], epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Reads earlier frames; see `Sequences`.

        Beyond a window's segment, the past can be in another split of the same clip, and is found by its ticks.
        """
        segments, ticks = self._windows.ticks(self._numbers(indices, epoch))
        wanted = ticks[:, -1:] - np.asarray(steps, np.int64)  # [n, steps]
        result = np.zeros((*wanted.shape, *self._clips.frames.shape), self._clips.frames.dtype)
        first, count, begin = self._segments[segments].T[:, :, None]  # [n, 1] each
        known = (wanted >= begin) & (wanted < begin + count)
        if known.any():
            result[known] = self._clips.frames[(first + wanted - begin)[known]]
        names = np.asarray(self._clips.names)[segments]
        for name in dict.fromkeys(names[~known.all(1)].tolist()):
            unknown = np.argwhere(~known & (names == name)[:, None])
            self._read_moments(name, wanted, unknown, result, known)
        return np.ascontiguousarray(result[..., self._channels]), known

    def _read_moments(self, name: str, wanted: np.ndarray, places: np.ndarray, result: np.ndarray, known: np.ndarray) -> None:
        """Reads the frames of a clip, of any split, at some of the wanted moments, as far as they are stored.

        Args:
          name: of the clip.
          wanted: ticks, `[n, steps]`.
          places: int `[k, 2]`, indices into `wanted`.
          result: receives the frames, `[n, steps, h, w, c]`.
          known: receives True for a frame that is stored, `[n, steps]`.
        """
        ticks, sources, stored = self._moments.get(name, (np.zeros(0, np.int64),) * 3)
        moments = wanted[tuple(places.T)]
        found = np.searchsorted(ticks, moments, side="right") - 1  # of several frames of one moment, the last one
        exists = (found >= 0) & (ticks[found] == moments) if len(ticks) else np.zeros(len(found), bool)
        places, found = places[exists], found[exists]
        for source in np.unique(sources[found]).tolist():
            own = sources[found] == source
            at = tuple(places[own].T)
            result[at], known[at] = self._past_frames[source][stored[found[own]]], True

    @functools.cached_property
    def _segments(self) -> np.ndarray:
        """The segments, `[segments, 3]`."""
        return np.asarray([tuple(segment) for segment in self._clips.segments], np.int64).reshape(-1, 3)

    @functools.cached_property
    def _past_clips(self) -> Sequence[StoredClips]:
        return self._past()

    @property
    def _past_frames(self) -> list[StoredFrames]:
        return [clips.frames for clips in self._past_clips]

    @functools.cached_property
    def _moments(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Clip -> ticks of its frames in all splits, ascending; the number of each frame's split; and its index there."""
        parts: dict[str, list[np.ndarray]] = {}
        for number, clips in enumerate(self._past_clips):
            for name, (first, count, tick) in zip(clips.names, clips.segments, strict=True):
                along = np.arange(count)
                parts.setdefault(name, []).append(np.stack([tick + along, np.full(count, number), first + along]))
        moments = {}
        for name, tables in parts.items():
            ticks, sources, stored = np.concatenate(tables, axis=1)
            order = np.argsort(ticks, kind="stable")
            moments[name] = ticks[order], sources[order], stored[order]
        return moments
