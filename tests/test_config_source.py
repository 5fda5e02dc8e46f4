"""Where commands take a network from: a shipped config, a file, a run, its `config.json`, or a shipped network."""

import json

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.commands import config, inspect, train
from stlight_jax.commands.config_source import load_config, stored_description
from stlight_jax.config import RunConfig
from stlight_jax.config.sections import SECTIONS
from stlight_jax.data.datasets.frames import FramesSection
from stlight_jax.data.load import check_config


@pytest.fixture
def run(tmp_path):
    """A run with a config of own frames that has optional keys, before its first checkpoint."""
    own = load_config("frames:tiny")
    own.data.fill_value, own.data.value_low, own.train.seed = 255, -1.5, 7
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(check_config(own).to_dict()))
    return tmp_path / "run"


@pytest.mark.parametrize("source", ["run", "run/config.json"])
def test_a_run_and_its_config_json_are_configs(run, source):
    found = load_config(str(run.parent / source))
    assert (found.dataset, found.size, found.train.seed) == ("frames", "tiny", 7)
    assert (found.data.fill_value, found.data.value_low, found.data.value_high) == (255, -1.5, None)
    arguments = [f"--config={run.parent / source}", "--config.data.value_high=3", "--config.train.batch_size=5", "--workdir=x"]
    parsed = train.COMMAND.parse(["stlight train", *arguments]).config
    assert (parsed.data.value_high, parsed.train.batch_size, parsed.train.seed) == (3, 5, 7)


def test_a_config_json_of_an_older_version_gets_the_values_that_it_stands_for(run):
    content = json.loads((run / "config.json").read_text())
    del content["train"]["loss"], content["model"]["shortcut"]
    (run / "config.json").write_text(json.dumps(content))
    found = load_config(str(run))
    assert (found.train.loss, found.model.shortcut) == ("squared", "none")


def test_a_shipped_network_is_a_config():
    found = load_config("tiny")
    assert (found.dataset, found.size, found.model.hidden_dim, found.model.depth) == ("moving_mnist", "tiny", 96, 6)
    assert stored_description("tiny")["frame_size"] == [32, 32]
    assert stored_description("moving_mnist:tiny") == {}


def test_a_config_comes_before_a_shipped_network_of_its_name():
    assert load_config("moving_mnist").size == "L"
    assert stored_description("moving_mnist") == {}


@pytest.mark.parametrize("source", ["run", "run/config.json"])
def test_a_damaged_checkpoint_is_named_and_a_run_before_its_first_one_has_no_description(run, source):
    source = str(run.parent / source)
    assert stored_description(source) == {}
    saved = run / "checkpoints" / "5"
    saved.mkdir(parents=True)
    assert stored_description(source) == {}  # the first save was interrupted
    (saved / "checksums.json").write_text('{"weights": "0"}')
    with pytest.raises(InputError, match=r"no valid checkpoint is left \(damaged: 5\)"):
        stored_description(source)


def test_a_damaged_file_of_a_network_is_named(tmp_path):
    (tmp_path / "a.stlight").write_bytes(b"PK")
    with pytest.raises(InputError, match="a.stlight is damaged, or no .stlight file"):
        stored_description(str(tmp_path / "a.stlight"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json is no JSON file"),
        ("[]", "config.json holds no config; expected the config.json of a run"),
        ('{"dataset": "kth"}', "the config has no section train"),
        ('{"dataset": "kht"}', "dataset is 'kht'; choose one of"),
    ],
)
def test_a_damaged_config_json_is_refused_by_name(run, content, message):
    (run / "config.json").write_text(content)
    with pytest.raises(InputError, match=f"^--config={run}: .*{message}"):
        load_config(str(run))


def encoder_of(capsys, *arguments):
    inspect.COMMAND.run(inspect.COMMAND.parse(["stlight inspect", "--json", "--config=frames:tiny", *arguments]))
    printed = capsys.readouterr()
    return json.loads(printed.out)["parts"][0], " ".join(printed.err.split())


def test_inspect_counts_the_channels_of_own_frames(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frames = np.random.default_rng(0).integers(0, 255, (200, 8, 9, 2), np.uint8)
    np.save(tmp_path / "a.npy", frames)
    encoder, _ = encoder_of(capsys, f"--config.data.root={tmp_path}/a.npy")
    assert encoder["parameters"] == 96 * 10 * 2 + 96  # patches of one pixel, 10 frames of 2 channels, 96 biases
    assert encoder["true"] == 8 * 9 * 96 * 10 * 2


def test_inspect_names_what_it_assumes_of_own_frames(capsys):
    encoder, message = encoder_of(capsys, "--frame_size=32x32")
    assert encoder["parameters"] == 96 * 10 * 2 * 2 + 96  # patches of two pixels, one channel
    assert "1 channel (model.in_channels, model.out_channels)" in message
    assert "10 frames (model.in_frames, model.out_frames)" in message


@pytest.mark.parametrize(
    ("keys", "assumed"),
    [
        ([], "the shortcut linear (model.shortcut), the input frames (model.input), no periods"),
        (["shortcut=flow"], "the input frames_and_flow (model.input), no periods"),
        (["input=frames_and_flow"], "the shortcut flow_linear (model.shortcut), no periods"),
        (["input=frames", "shortcut=last"], "1 channel (model.in_channels, model.out_channels), no periods"),
    ],
)
def test_inspect_names_the_shortcut_and_the_input_that_it_counts(keys, assumed, capsys):
    _, message = encoder_of(capsys, "--frame_size=32x32", *(f"--config.model.{key}" for key in keys))
    assert assumed in message


def test_inspect_counts_a_trained_network(capsys):
    for flag in ("--workdir=tiny", "--model=tiny", "--config=tiny"):
        inspect.COMMAND.run(inspect.COMMAND.parse(["stlight inspect", flag, "--json"]))
        assert json.loads(capsys.readouterr().out)["frame"] == [32, 32]


def test_the_command_config_lists_every_key_with_value_default_and_help(run, capsys):
    arguments = [f"--config={run}", "--config.train.epochs=5"]
    config.COMMAND.run(config.COMMAND.parse(["stlight config", *arguments]))
    lines = capsys.readouterr().out.splitlines()
    names = [line.partition(" = ")[0] for line in lines if not line.startswith(" ")]
    sections = [RunConfig, *SECTIONS, FramesSection]
    assert names == [key.path for section in sections for key in section.keys().values()]
    assert "train.seed = 7  *" in lines
    assert "data.value_high = None" in lines
    entry = lines[lines.index("train.epochs = 5  *") + 1]
    assert entry == "    default 200; int, at least 1. Passes over the training data, if train.steps is 0."
