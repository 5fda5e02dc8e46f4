"""A new data set takes its file, its config and one line in the list: it is prepared, trained on, evaluated and reported."""

import numpy as np
import pytest
from etils import epath

from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from stlight_jax.data.load import check_config, frame_size
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training.loop import train
from tests.conftest import ROOT

# The file of the data set, and its config.
TOY = '''
"""Waves that move to the right."""

import numpy as np

from stlight_jax.data.datasets.published_tables import make_table
from stlight_jax.data.prepared_benchmark import PreparedBenchmark
from stlight_jax.data.raw_clips import RawClip, RawSplit


class Toy(PreparedBenchmark):
    """Waves: one .npy file of frames for each split."""

    name = "toy"
    title = "Waves"
    channels = ("height", "speed")
    instructions = "The manual folder holds train.npy and test.npy, uint8 [t, 16, 16, 2]."
    frame_shape = (16, 16, 2)
    published_windows = {5: {"test": {"a colleague": 4}}}
    published_remark = "The colleague also lists costs."
    published = (
        make_table(
            in_frames=3, out_frames=2, frame=(16, 16, 2), title="Waves, 3 -> 2 frames", source="a colleague",
            recipe="2 epochs", settings={"train.epochs": 2, "train.batch_size": 8}, train_sequences={"a colleague": 16},
            test_sequences={"a colleague": 4}, metrics=("mse", "ssim"),
            stlight=[("STLight-toy", 0.01, None, (12.5, 0.5), (16, 2, 0, 3, 3))],
            others=[("ConvLSTM", 1.0, 2.0, (14.25, None))],
        ),
    )

    def open_raw(self, root, remarks):
        remarks.append("waves are calm today")
        arrays = {split: np.load(root / f"{split}.npy") for split in ("train", "test")}
        return {
            split: RawSplit(lambda split=split, array=array: iter([RawClip(split, [array])]), len(array))
            for split, array in arrays.items()
        }
'''
CONFIG = """
from stlight_jax.config import base_config
from toy_waves import Toy


def get_config(size="toy"):
    config = base_config("toy", size, Toy.section)
    config.model.update(in_frames=3, out_frames=2, in_channels=2, out_channels=2, hidden_dim=16, depth=2, far_kernel=3)
    config.optimizer.learning_rate = 1e-3
    config.train.update(batch_size=8, epochs=2, checkpoint_every=2, log_every=1, tensorboard=False)
    config.evaluation.update(batch_size=8, pictures=1)
    return config
"""


def waves(frames, phase):
    """uint8 `[t, 16, 16, 2]`."""
    column = np.arange(16)
    heights = np.sin(0.4 * (column - np.arange(frames)[:, None]) + phase)  # [t, w]
    rows = np.broadcast_to(heights[:, None, :, None], (frames, 16, 16, 2))
    return np.rint(127.5 * (1 + rows)).astype(np.uint8)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The config of a toy data set whose raw files are in `tmp_path/raw`."""
    (tmp_path / "toy_waves.py").write_text(TOY)
    (tmp_path / "raw").mkdir()
    for split, frames, phase in (("train", 80, 0.0), ("test", 20, 1.0)):
        np.save(tmp_path / "raw" / f"{split}.npy", waves(frames, phase))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DATASETS, "toy", "toy_waves:Toy")
    namespace = {}
    exec(CONFIG, namespace)
    return namespace["get_config"]()


@pytest.mark.compiled_fast
def test_a_data_set_takes_two_files_and_a_line(toy, tmp_path, capsys):
    dataset = find_dataset("toy")
    message = dataset.prepare(epath.Path(tmp_path / "raw"), epath.Path(tmp_path / "out"), None)
    assert message == f"prepared in {tmp_path}/out/toy/1.0.0; --config.data.root={tmp_path}/out finds it"
    shown = capsys.readouterr()
    assert "windows of 5" in shown.out
    assert "differs" not in shown.out
    assert "waves are calm today" in shown.err

    toy.data.root = str(tmp_path / "out")
    assert frame_size(check_config(toy)) == (16, 16)
    state = train(toy, tmp_path / "run")
    assert int(state.step) == 4  # 16 windows, batches of 8, 2 epochs
    results = evaluate_workdir(tmp_path / "run")
    assert results["test_set"]["sequences"] == 4
    assert results["test_set"]["published"]

    report = (tmp_path / "run" / "eval" / "report.html").read_text()
    table = (tmp_path / "run" / "eval" / "table.txt").read_text()
    for text in (report, table):
        assert "Waves, 3 -&gt; 2 frames" in text or "Waves, 3 -> 2 frames" in text or "Waves, 3 -\\u003e 2 frames" in text
        assert "ConvLSTM" in text
        assert "The colleague also lists costs." in text
    assert "14.25" in table
    assert "this network" in table
    description = (tmp_path / "run" / "config.json").read_text()
    assert '"dataset": "toy"' in description


def test_the_list_names_every_file_of_a_data_set():
    files = {path.stem for path in (ROOT / "stlight_jax" / "data" / "datasets").glob("*.py")}
    assert files - {"__init__", "all_datasets", "dataset", "published_tables"} == DATASETS.keys()
    for name in DATASETS:
        dataset = find_dataset(name)
        assert dataset.name == name
        assert dataset.title
        assert (ROOT / "configs" / f"{name}.py").exists()
