"""Windows along sequences: their frames, and how much of a file is held for them."""

import tracemalloc

import numpy as np
import pytest
from etils import epath

from stlight_jax.data.formats.types import FrameSource, SourceInfo
from stlight_jax.forecasting.forecast_windows import SampledSource, windows_along

BLOCK, SIDE = 10, 40


def counted(frames):
    """A sequence whose frame i is i everywhere, in blocks of ten, none of which exists before it is asked for."""

    def blocks(first=0):
        for start in range(first, frames, BLOCK):
            numbers = np.arange(start, min(start + BLOCK, frames), dtype=np.float32)
            yield np.repeat(numbers, SIDE * SIDE).reshape(-1, SIDE, SIDE, 1)

    dtype = np.dtype(np.float32)
    return FrameSource("counted", frames, (SIDE, SIDE, 1), dtype, blocks, SourceInfo(epath.Path("counted.npy"), "npy", dtype))


@pytest.mark.parametrize("every", [1, 4, 7, 2_345])
def test_windows_far_apart_hold_no_more_than_those_that_touch(every):
    view = SampledSource(counted(10_000))
    starts = list(range(3, min(10_000, 3 + 500 * every), every))
    tracemalloc.start()
    for window, start in zip(windows_along(view, 0, starts, 3, 4), starts, strict=True):
        assert window.inputs[:, 5, 5, 0].tolist() == [start - 3, start - 2, start - 1]
        assert window.truth[:, 5, 5, 0].tolist() == list(range(start, min(start + 4, 10_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * BLOCK * SIDE * SIDE * 4  # the sequence has 1,000 blocks
