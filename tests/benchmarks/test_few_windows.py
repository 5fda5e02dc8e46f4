"""The benchmark of maps that are fitted to few windows, on blobs that move and fade."""

import few_windows_fits
import numpy as np
import pytest
from real_data_sets import Run

pytestmark = pytest.mark.compiled_fast


@pytest.fixture
def fits(tmp_path, monkeypatch):
    rows, columns = np.mgrid[0:16, 0:16]
    places = 16 * np.random.default_rng(0).random((3, 2)) + 0.4 * np.arange(60)[:, None, None]  # [t, blobs, 2]
    distances = ((np.stack([rows, columns], -1) - places[:, :, None, None]) + 8) % 16 - 8  # [t, blobs, h, w, 2]
    frames = np.exp(-np.square(distances).sum(-1) / 8).sum(1) * 0.97 ** np.arange(60)[:, None, None]
    np.save(tmp_path / "blobs.npy", frames.astype(np.float32))
    monkeypatch.setitem(few_windows_fits.RUNS, "kth", Run("blobs", "blobs.npy", {"model.in_frames": 3, "model.out_frames": 2}))
    monkeypatch.setattr(few_windows_fits, "SHARES", (1.0, 0.5, 0.0))
    return lambda **settings: few_windows_fits.ratios("kth", tmp_path, **settings)


def test_errors_are_relative_to_the_flow_for_each_share_of_each_fit(fits):
    found = fits(windows=4, blocks=3)
    assert len(found) == 3
    for of_fit in found:
        assert of_fit.keys() == {f"{metric} {share}" for metric in ("mse", "mae") for share in ("1", "0.5", "0")}
        assert (of_fit["mse 0"], of_fit["mae 0"]) == (1.0, 1.0)  # nothing of a fit is the flow itself
    # The error of a half lies between those of all and of nothing, or below: it is the mean of the two forecasts.
    assert all(of_fit["mse 0.5"] <= max(of_fit["mse 1"], 1.0) for of_fit in found)
    assert len({of_fit["mse 1"] for of_fit in found}) == 3  # each block has a fit of its own


def test_all_windows_are_one_block_where_there_are_no_more(fits):
    assert len(fits(windows=10_000, blocks=3)) == 1
