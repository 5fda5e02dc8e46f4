"""As many frames as KTH has are prepared, and read from disk, in less than 2 GB of memory."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from tests.conftest import ROOT

FRAMES, LIMIT, NEEDED = 290_000, 2e9, 12e9

BUILDER = """
import sys

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.data.clip_windows import ClipWindows
from stlight_jax.data.pipeline import training_batches
from stlight_jax.data.prepare import prepare
from stlight_jax.data.raw_clips import ClipReader, RawClip, RawSplit
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.stored_frames import StoredClips, StoredFrames
from stlight_jax.data.windows import Windows

COUNT, OUT = int(sys.argv[1]), sys.argv[2]
LENGTH = 500


def frames(first, count):
    # The number of a frame stands in its first bytes; the rest compresses well.
    block = np.zeros((count, 128, 128, 1), np.uint8)
    numbers = np.arange(first, first + count, dtype="<u4")
    block[:, 0, :4, 0] = numbers.view(np.uint8).reshape(count, 4)
    block[:, 1:] = (numbers % 251).astype(np.uint8)[:, None, None, None]
    return block


class MadeUp(ClipReader):
    "Numbered frames."

    name = "made_up"
    instructions = "Nothing is read."
    frame_shape = (128, 128, 1)

    def open_raw(self, root, remarks):
        def clips():
            for first in range(0, COUNT, LENGTH):
                yield RawClip(f"clip {first}", (frames(place, 100) for place in range(first, first + LENGTH, 100)))

        return {"train": RawSplit(clips, COUNT)}
"""

PREPARE = """
raw = epath.Path(OUT) / "raw"
raw.mkdir(parents=True)
(raw / "here").write_text("TFDS wants a folder that is not empty")
prepare(MadeUp, raw, epath.Path(OUT))
"""

READ = """
stored = StoredFrames(epath.Path(OUT) / "made_up" / "1.0.0", "train", 256 * 2**20)
assert len(stored) == COUNT
clips = StoredClips(stored, stored.table["clips"])
windows = Windows(clips.segments, 30)
source = ClipWindows(clips, windows, Scaling(), {"name": "made up"}, seed=1)
order = source._order_of_epoch(0)
for step, batch in enumerate(training_batches(source, 12, 0, 50)):
    places = windows.frames(order[12 * step : 12 * step + 12])
    numbers = np.ascontiguousarray(batch[:, :, 0, :4, 0]).view("<u4")[..., 0]
    np.testing.assert_array_equal(numbers, places)
assert step == 49
"""


def peak_of(script, *arguments):
    """Runs a program; the largest RssAnon it had, in bytes, and its seconds."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)], cwd=ROOT)
    try:
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status") as status:
                found = re.search(r"RssAnon:\s+(\d+) kB", status.read())
            peak = max(peak, 1024 * int(found[1]) if found else 0)
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    return peak, time.monotonic() - started


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is told apart only by Linux")
def test_memory_stays_small_whatever_is_prepared(tmp_path):
    if shutil.disk_usage(tmp_path).free < NEEDED:
        pytest.skip(f"less than {NEEDED / 1e9:.0f} GB are free in {tmp_path}")
    try:
        for phase, script in (("preparing", PREPARE), ("reading", READ)):
            peak, seconds = peak_of(BUILDER + script, FRAMES, tmp_path / "out")
            print(f"{phase} {FRAMES:,} frames: at most {peak / 1e9:.2f} GB of anonymous memory, {seconds:.0f} s")
            assert peak < LIMIT, phase
    finally:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
