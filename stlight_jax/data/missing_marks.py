"""Numbers in one channel that seem to mean "missing": far from all others, or in a fixed mask."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable

import numpy as np

_MAX_MARKS = 3  # numbers at each end of the range that can mean "missing"
_NEAR = 0.05  # of the range of the other values: a nearer value is an ordinary neighbour
_CATEGORIES = 16  # channels of so few different values are likely to hold classes
_LEAST_SHARE = 0.001
_SAMPLE = 2**13  # values of a block to look for neighbours in
_HUGE = 1e15
# NumPy's type stubs do not know that these reduce along an axis.
lowest: Callable[..., np.ndarray] = np.fmin.reduce
highest: Callable[..., np.ndarray] = np.fmax.reduce
_NINES = re.compile(r"-?9{3,}(\.9+)?|-9{1,2}(\.9+)?|-?9{3}0{5,}|-?8{4}|-?7{4}")
_LIMITS = {float(limit) for bits in (15, 16, 31, 32) for limit in (-(2**bits), 1 - 2**bits, 2**bits - 1)}


@dataclasses.dataclass(frozen=True)
class Mark:
    """A number that seems to mark missing values.

    Attributes:
      value: the number, as the frames hold it.
      remark: a message for the user, without the option that mends it; {} stands for the number.
    """

    value: float
    remark: str

    @property
    def text(self) -> str:
        """The number in the shortest notation that its type reads back."""
        return _text(self.value)

    def __str__(self) -> str:
        return self.remark.format(self.text)


@dataclasses.dataclass
class FixedMask:
    """The pixels that hold the extreme value of a channel.

    Attributes:
      value: the extreme value; None before the first one.
      fixed: whether the same pixels of a sequence hold it in all frames, and other pixels in none.
      pixels: their number, in the sequence with the most.
      share: their share of the frames.
      nearest: the nearest other value.
    """

    value: float | None = None
    fixed: bool = False
    pixels: int = 0
    share: float = 0.0
    nearest: float = np.nan


class _End:
    """One end of a channel's range of values."""

    def __init__(self, highest: bool):
        self.highest = highest
        self.ordinary: float | None = None  # outermost of the values that have near neighbours
        self.tally: dict[float, int] = {}  # value -> count, of values beyond
        self.mask = FixedMask()

    def outermost(self, values: np.ndarray) -> float | None:
        """Returns the outermost value, an int of integers; None of no values."""
        return None if not values.size else (values.max() if self.highest else values.min()).item()

    def next_inside(self, values: np.ndarray, value: float) -> float | None:
        """Returns the nearest value further inside the range than `value`."""
        return self.outermost(values[values < value if self.highest else values > value])

    def add(self, values: np.ndarray, levels: np.ndarray) -> None:
        """Counts the outermost values of a block, up to the first one with a near neighbour.

        Args:
          values: of the block.
          levels: some of its values without repetition, in ascending order, with the lowest and the highest one.
        """
        order = (levels[::-1] if self.highest else levels)[: _MAX_MARKS + 1].tolist()
        # Between the quartiles, because several numbers can mean "missing".
        near = _NEAR * float(levels[3 * len(levels) // 4].item() - levels[len(levels) // 4].item()) if len(levels) > 4 else 0.0
        for number, value in enumerate(order):
            if self._is_ordinary(value):
                return
            if number == _MAX_MARKS or (number + 1 < len(order) and abs(order[number + 1] - value) <= near):
                self.ordinary = value
                return
            self.tally[value] = self.tally.get(value, 0) + int(np.count_nonzero(values == value))

    def _is_ordinary(self, value: float) -> bool:
        return self.ordinary is not None and (value <= self.ordinary if self.highest else value >= self.ordinary)

    def marks(self) -> dict[float, int]:
        """Returns the counts of values that lie beyond all ordinary ones."""
        return {value: count for value, count in self.tally.items() if not self._is_ordinary(value)}

    def add_sequence(self, lows: np.ndarray, highs: np.ndarray) -> None:
        """Looks for a fixed mask, in the lowest and the highest value of each pixel of a sequence, `[h, w]`."""
        outer = highs if self.highest else lows
        value = self.outermost(outer[outer == outer])
        old = self.mask
        if value is None or (old.value is not None and self.next_inside(np.array(value), old.value) is not None):
            return  # no value, or another sequence has one further outside
        always = (lows == value) & (highs == value)
        nearest = self.next_inside(outer[~always], value)
        fixed = nearest is not None and not (outer[~always] == value).any() and bool((lows < highs).any())
        new = FixedMask(value, fixed, int(always.sum()), float(always.mean()), value if nearest is None else nearest)
        if old.value == value:
            most = new if new.pixels > old.pixels else old
            nearest = (max if self.highest else min)(new.nearest, old.nearest)
            new = dataclasses.replace(most, fixed=new.fixed and old.fixed, nearest=nearest)
        self.mask = new


class ChannelMarks:
    """The suspicious values of one channel."""

    def __init__(self, dtype: np.dtype):
        self._dtype = dtype
        self._low, self._high = _End(highest=False), _End(highest=True)
        self._distinct: set[float] = set()  # a few of the values

    def add(self, values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> None:
        """Adds a block `[n, h, w]` and the lowest and the highest value of each of its pixels, `[h, w]`."""
        if self._dtype == np.uint8 and not self._is_categorical:
            return  # the distance of 0 and 255 from other levels means nothing
        some = [some_values(values)]
        if len(values) > 1:  # pixels' extremes, which a sample can lack
            some += [some_values(lows), some_values(highs)]
        ends = np.array([lowest(lows, None), highest(highs, None)], values.dtype)
        levels = np.sort(np.concatenate([*some, ends]))
        levels = levels[np.append(levels[1:] != levels[:-1], True) & (levels == levels)]
        for end in (self._low, self._high) if self._dtype != np.uint8 else ():
            end.add(values, levels)
        if len(self._distinct) <= _CATEGORIES:
            self._distinct.update(levels[: _CATEGORIES + 1].tolist())

    @property
    def has_fractions(self) -> bool:
        """Whether values are no whole numbers."""
        return any(value % 1 for value in self._distinct)

    def add_sequence(self, lows: np.ndarray, highs: np.ndarray) -> None:
        """Adds the lowest and the highest value of each pixel of a sequence."""
        for end in (self._low, self._high):
            end.add_sequence(lows, highs)

    def far(self, total: int) -> dict[float, float]:
        """Returns the values far from all others, {value: share of `total`}, largest share first."""
        low, high = self._low.marks(), self._high.marks()
        counts = {value: max(low.get(value, 0), high.get(value, 0)) for value in low | high}
        ordinary = {end.ordinary for end in (self._low, self._high) if end.ordinary is not None}
        points = sorted(ordinary | counts.keys())
        found: dict[float, float] = {}
        while outer := self._outer(points, counts, total):
            found |= {value: counts[value] / total for value in outer}
            points = [point for point in points if point not in outer]
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _outer(self, points: list[float], counts: dict[float, int], total: int) -> list[float]:
        """Returns the fewest points at the ends that are far from all others."""
        for below, above in sorted(itertools.product(range(_MAX_MARKS + 1), repeat=2), key=sum)[1:]:
            inner = points[below : len(points) - above]
            outer = points[:below] + points[len(points) - above :]
            if inner and all(
                value in counts and self._is_far(value, counts[value], total, inner[0], inner[-1]) for value in outer
            ):
                return outer
        return []

    def _is_far(self, value: float, count: int, total: int, low: float, high: float) -> bool:
        """Whether a value is so far from the others, which lie between `low` and `high`, that it seems to be a mark."""
        least = self._least_distance(value, count / total, low, is_common=count > 1 and count >= _LEAST_SHARE * total)
        is_sure = abs(value) >= _HUGE or (value < 0 and _is_usual(value))
        return least is not None and (high > low or is_sure) and max(value - high, low - value) >= least * (high - low)

    def _least_distance(self, value: float, share: float, low: float, is_common: bool) -> float | None:
        """Returns the least distance of a mark from the other values, in widths of their range; None for no mark."""
        if value == 0 or self._dtype == np.uint8:  # black, and white that moves
            return None
        if abs(value) >= _HUGE:
            return 10.0
        if _is_usual(value):
            if value < 0:
                return 0.1 if low >= 0 else 0.5
            mask = self._high.mask
            if value in _LIMITS and not (mask.fixed and mask.value == value):
                return 10.0  # it can also be the brightest level of a camera
            return 0.5 if is_common else None
        if not is_common or self._is_categorical:
            return None
        if value < 0 <= low:
            is_label = value == int(value) and share >= 0.01 and self.has_fractions
            return 0.1 if is_label else 2.0
        return None if _is_saturated(value) else 10.0

    @property
    def _is_categorical(self) -> bool:
        return len(self._distinct) <= _CATEGORIES

    def fixed(self) -> FixedMask | None:
        """Returns the mask that fills the same pixels in all frames with a number that occurs nowhere else."""
        for end, opposite in ((self._high, self._low.mask.value), (self._low, self._high.mask.value)):
            mask = end.mask
            if not mask.fixed or not mask.value or opposite is None or mask.pixels < 2 or mask.share < _LEAST_SHARE:
                continue
            span, gap = abs(mask.nearest - opposite), abs(mask.value - mask.nearest)
            is_limit = mask.value in self._limits and (gap > span or not self._is_categorical)
            is_apart = gap >= 0.2 * span and end.highest and not self._is_categorical
            is_usual = gap >= 0.1 * span and _is_usual(mask.value)
            if span > 0 and (is_limit or is_apart or is_usual or mask.value < 0 <= mask.nearest):
                return mask
        return None

    @property
    def _limits(self) -> tuple[int, ...]:
        return (np.iinfo(self._dtype).min, np.iinfo(self._dtype).max) if self._dtype.kind in "iu" else ()


def some_values(values: np.ndarray) -> np.ndarray:
    """Returns some values from everywhere in an array, all of a small one."""
    step = math.ceil((values.size / _SAMPLE) ** (1 / values.ndim))
    return values[(slice(None, None, step),) * values.ndim].ravel()


def _is_usual(value: float) -> bool:
    """Whether a number often means "missing"."""
    return value in _LIMITS or _NINES.fullmatch(_text(value)) is not None


def _is_saturated(value: float) -> bool:
    """Whether a number is the largest of some bits, as of a camera of 12."""
    return value > 0 and value == int(value) and int(value) & (int(value) + 1) == 0


def _text(value: float) -> str:
    """Returns a number in the shortest notation that its type reads back."""
    return str(int(value)) if value == int(value) and abs(value) < _HUGE else str(np.float32(value))
