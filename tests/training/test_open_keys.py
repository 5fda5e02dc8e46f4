"""Keys that `configs/frames.py` leaves to the data are chosen at the start of a run, printed, stored and kept."""

import numpy as np
import pytest

from stlight_jax.data.load import check_config, open_test
from stlight_jax.training.setup import TrainingSetup
from tests.conftest import load_config

pytestmark = pytest.mark.compiled_fast


def test_a_run_on_a_short_file_keeps_the_windows_that_it_has_chosen(tmp_path, capsys):
    np.save(tmp_path / "short.npy", np.random.default_rng(0).normal(size=(54, 8, 9)).astype(np.float32))
    config = load_config("tiny", "frames")
    config.data.update(root=str(tmp_path / "short.npy"), prepared=str(tmp_path / "kept"))
    config.model.shortcut, config.data.periods = "none", ""
    described = TrainingSetup(config).description["config"]
    shown = " ".join(capsys.readouterr().err.split())
    windows = "model.in_frames=4, model.out_frames=4, data.validation_fraction=0.2, data.test_fraction=0.2"
    assert f"chosen for the data: {windows} " in shown
    assert "chosen for the data: model.in_channels=1, model.out_channels=1, model.patch_size=1" in shown
    assert (described["model"]["in_frames"], described["model"]["out_frames"], described["model"]["patch_size"]) == (4, 4, 1)
    assert (described["data"]["validation_fraction"], described["data"]["test_fraction"]) == (0.2, 0.2)
    assert open_test(check_config(described)).shape == (8, 8, 9, 1)
    assert TrainingSetup(config, described).description["config"] == described  # as on resuming
    assert "chosen for the data" not in capsys.readouterr().err
