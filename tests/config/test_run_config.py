"""The config of a run: the values of version 0.1, key by key, and its typed form."""

import dataclasses
import json
import pathlib

import ml_collections
import pytest

from stlight_jax import InputError
from stlight_jax.config import base_config, check
from stlight_jax.config.sections import SECTIONS
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.load import check_config
from tests.config.toy import ToyData
from tests.conftest import load_config

# base_config of version 0.1 (commit 2fb036a).
BASE = {
    "model": {
        "in_frames": 10, "out_frames": 10, "in_channels": 1, "out_channels": 1, "hidden_dim": 256, "depth": 16,
        "patch_size": 2, "overlap": 0, "near_kernel": 3, "far_kernel": 7, "dilation": 3, "depthwise": "auto",
        "precision": "float32", "dtype": "float32", "rematerialise": "elementwise", "scan_unroll": 1,
    },
    "optimizer": {
        "schedule": "onecycle", "learning_rate": 3e-3, "batch_scaling": "none", "reference_batch_size": 16, "rise": 0.3,
        "div_factor": 25.0, "final_div_factor": 1e4, "beta1_low": 0.85, "beta1_high": 0.95, "least_learning_rate": 1e-6,
        "warmup_epochs": 5, "warmup_start": 1e-5, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "clip_norm": 0.0,
        "weight_decay": 0.0,
    },
    "train": {
        "batch_size": 16, "accumulate": 1, "epochs": 200, "ema_decay": 0.0, "seed": 42, "horizon": 0,
        "checkpoint_every": 625, "keep_checkpoints": 3, "log_every": 25, "init_from": "", "tensorboard": True,
    },
    "parallel": {"batch_norm": "synchronised", "launcher": "pmap"},
    "evaluation": {"batch_size": 64, "horizon": 0, "cycle": 0, "pictures": 6},
    "profile": {"steps": 0, "first": 5},
}  # fmt: skip
# Version 0.1's configs: per data set the section `data`, and per size all keys that differ from it and from BASE.
SHIPPED = json.loads(pathlib.Path(__file__).with_name("configs_of_version_0_1.json").read_text())


def types_of(tree):
    return {key: types_of(value) if isinstance(value, dict) else type(value) for key, value in tree.items()}


def as_in_version_0_1(config, data):
    """The config as plain data, without the keys that are newer.

    In the paper's configs, they have the value that configs without them stand for.
    """
    content = config.to_dict()
    ours = config.dataset == "frames" or config.size == "tiny"
    for section in (*SECTIONS, *([] if data is None else [data])):
        for name, key in section.keys().items():
            if key.since != "0.1":
                value = content[section.section_name].pop(name)
                assert ours or value == key.absent
    return content


def test_base_config_is_that_of_version_0_1():
    found = as_in_version_0_1(base_config("kth", "L"), None)
    wanted = {"dataset": "kth", "size": "L", **BASE}
    assert found == wanted
    assert types_of(found) == types_of(wanted)  # a key of floats would not take 0.5 if its default were 0


@pytest.mark.parametrize(("dataset", "size"), [(dataset, size) for dataset in SHIPPED for size in SHIPPED[dataset]["sizes"]])
def test_shipped_configs_are_those_of_version_0_1(dataset, size):
    config = load_config(size, dataset)
    changes = SHIPPED[dataset]["sizes"][size]
    sections = {**BASE, "data": SHIPPED[dataset]["data"]}
    wanted = {name: {**keys, **changes.get(name, {})} for name, keys in sections.items()}
    assert check_config(config).to_dict() == config.to_dict()
    found = as_in_version_0_1(config, find_dataset(dataset).section)
    if dataset == "frames" or size == "tiny":  # a recipe of our own, which changes with what is found to be better
        assert types_of(found) == types_of({"dataset": dataset, "size": size, **wanted})
        return
    assert found == {"dataset": dataset, "size": size, **wanted}
    assert types_of(found) == types_of({"dataset": dataset, "size": size, **wanted})


def test_optional_keys_take_the_flags_of_their_type():
    config = base_config("toy", "S", ToyData).lock()
    assert config.data.low is None
    config.data.low = 3
    assert check(config, ToyData).data.low == 3
    with pytest.raises(TypeError):
        config.data.low = "3"


def test_checking_leaves_a_config_as_it_is():
    config = ml_collections.ConfigDict(base_config("toy", "S", ToyData).to_dict())
    del config.parallel, config.optimizer.schedule
    before = config.to_dict()
    checked = check(config, ToyData)
    assert config.to_dict() == before
    assert (checked.parallel.launcher, checked.optimizer.schedule) == ("pmap", "onecycle")


def test_references_between_keys_are_resolved():
    config = base_config("toy", "S", ToyData)
    config.evaluation.batch_size = config.train.get_ref("batch_size") * 2
    config.train.batch_size = 5
    assert check(config, ToyData).evaluation.batch_size == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["train"].pop("seed"), "^the config lacks train.seed$"),
        (lambda config: config.pop("evaluation"), "^the config has no section evaluation$"),
        (lambda config: config.pop("data"), "^the config has no section data$"),
        (lambda config: config["data"].update(b=1, a=2), "^the config has an unknown key, data.a, data.b$"),
        (lambda config: config["model"].update(depth=1), "^model.depth is 1; it must be 0, or at least 2$"),
        (lambda config: config["data"].update(stride=0), "^data.stride is 0; it must be at least 1$"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    config = base_config("toy", "S", ToyData).to_dict()
    change(config)
    with pytest.raises(InputError, match=message):
        check(config, ToyData)


def test_sections_are_checked_when_they_are_replaced():
    config = check(base_config("toy", "S", ToyData), ToyData)
    with pytest.raises(InputError, match="evaluation.horizon is -1; it must be at least 0"):
        dataclasses.replace(config.evaluation, horizon=-1)
