"""The benchmark on real data, for a minute each: its forecasts beat the last frame copied."""

import numpy as np
import pytest
import real_data
from etils import epath

from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.data.stored_frames import StoredFrames
from stlight_jax.data.windows import Segment, Windows


@pytest.mark.long
@pytest.mark.parametrize("name", real_data.RUNS)
def test_a_short_training_beats_what_needs_none(name, test_data, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # one device
    results = real_data.run(name, test_data, tmp_path / "run", minutes=1)
    ours = results["overall"]["stlight"]["mse"]
    assert ours < results["overall"]["copy_last_frame"]["mse"]


def test_windows_of_the_raw_taxi_file_never_cross_its_repeated_and_unsorted_stamps(test_data, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = test_data / "taxinyc" / "NYC14_Taxi_M16x8_T60_InOut.h5"
    with h5py.File(path) as file:
        stamps, flow = file["date"][:].astype(str), np.moveaxis(file["data"][:], 1, -1)
    hours = np.array([f"{s[:4]}-{s[4:6]}-{s[6:8]}T{s[8:]}" for s in stamps], "datetime64[h]").astype(int)
    options = FramesOptions(layout="tchw")
    folder = prepare_frames(epath.Path(path), options, epath.Path(tmp_path))
    moments = {}
    for split in ("train", "validation", "test"):
        frames = StoredFrames(folder, split, 2**28)
        segments = [Segment(*segment) for clip in frames.table["clips"] for segment in clip["runs"]]
        windows = Windows(segments, 8)
        assert len(windows) == sum(max(0, segment.frames - 7) for segment in segments)
        # Every window is found in the file, in one piece, with eight hours on end.
        where = {frame.tobytes(): [] for frame in flow.astype(np.float32)}
        for place, frame in enumerate(flow.astype(np.float32)):
            where[frame.tobytes()].append(place)
        for places in windows.frames(np.arange(0, len(windows), 7)):
            starts = where[frames[places[:1]][0].tobytes()]
            ends = where[frames[places[-1:]][0].tobytes()]
            assert any(end - start == 7 and hours[end] - hours[start] == 7 for start in starts for end in ends)
        first = hours.min()
        moments[split] = {first + segment.tick + i for segment in segments for i in range(segment.frames)}
        assert moments[split] <= set(hours)
    # A moment that occurs twice is on one side of the split both times.
    assert not moments["train"] & moments["test"]
    assert not moments["train"] & moments["validation"]
    assert not moments["validation"] & moments["test"]
    remarks = " ".join(frames.metadata["remarks"])
    assert "1728 time stamps occur more than once" in remarks
    assert "backwards" in remarks
