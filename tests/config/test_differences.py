"""Differences between configs on resuming, and from a published recipe."""

import dataclasses
import math

import pytest

from stlight_jax.config import base_config, check
from stlight_jax.config.run_config import course_differences, recipe_differences
from stlight_jax.data.load import check_config
from tests.config.toy import ToyData
from tests.conftest import load_config

# As version 0.1 has it (commit 2fb036a): keys that may change on the way, and keys of the published recipe.
RESUMABLE = {
    "data.digits", "data.memory", "data.prepared", "data.root", "data.static", "evaluation.baselines",
    "evaluation.batch_size", "evaluation.cycle", "evaluation.fss_window", "evaluation.pictures", "evaluation.pysteps",
    "evaluation.thresholds", "model.rematerialise", "parallel.launcher", "profile.first", "profile.steps",
    "train.checkpoint_every", "train.init_from", "train.keep_checkpoints", "train.log_every", "train.shrinkage",
    "train.tensorboard",
}  # fmt: skip
RECIPE = {
    "train.epochs", "train.batch_size", "train.accumulate", "train.ema_decay", "train.horizon", "train.init_from",
    "train.steps", "train.loss", "parallel.batch_norm", "optimizer.batch_scaling",
    "optimizer.schedule", "optimizer.learning_rate",
    "optimizer.rise", "optimizer.div_factor", "optimizer.final_div_factor", "optimizer.beta1_low", "optimizer.beta1_high",
    "optimizer.beta1", "optimizer.beta2", "optimizer.eps", "optimizer.least_learning_rate", "optimizer.warmup_epochs",
    "optimizer.warmup_start", "optimizer.clip_norm", "optimizer.weight_decay", "model.precision", "model.dtype",
}  # fmt: skip
DATA_RECIPE = {"moving_mnist": {"data.sequences_per_epoch"}, "kth": {"data.stride"}, "frames": set()}
SECTIONS = ("model", "optimizer", "train", "parallel", "evaluation", "profile", "data")
# Another permitted value of each key whose value is text or can be special.
OTHERS = {
    "model.depthwise": "native", "model.precision": "bfloat16", "model.dtype": "bfloat16", "model.rematerialise": "blocks",
    "optimizer.schedule": "cosine", "optimizer.batch_scaling": "sqrt", "parallel.batch_norm": "local",
    "parallel.launcher": "shard_map", "data.digits": "tfds", "data.validation": "openstl", "data.layout": "thw",
    "model.shortcut": "last", "model.input": "changes",
    "train.loss": "huber", "data.channels": "rgb", "data.split": "time", "data.colour_order": "rgb",
    "evaluation.baselines": "inputs", "data.periods": "24", "data.transform": "sqrt", "data.clock": "day",
    "data.clip": "0,inf", "train.least_gain": 0.5, "train.shortcut_share": 0.5,
}  # fmt: skip


def changed(config, section, name):
    """The config with another value of one key."""
    value = getattr(getattr(config, section), name)
    other = OTHERS.get(f"{section}.{name}")
    if f"{section}.{name}" == "data.validation" and value == "openstl":
        other = "held_out"
    if other is None:
        other = "x" if isinstance(value, str) else not value if isinstance(value, bool) else 1.0 if value is None else None
    if other is None:
        other = value / 2 if isinstance(value, float) and value else value + 1 if isinstance(value, int) else 0.5
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{name: other})})


@pytest.mark.parametrize("dataset", ["moving_mnist", "kth", "frames"])
def test_each_key_is_free_on_resuming_and_part_of_the_recipe_as_in_version_0_1(dataset):
    config = check_config(load_config("tiny" if dataset == "frames" else "L", dataset))
    published = {f"{section}.{name}": value for section in SECTIONS for name, value in config.to_dict()[section].items()}
    for path in published:
        section, name = path.split(".")
        other = changed(config, section, name)
        differences = course_differences(config.to_dict(), other)
        assert [line.partition(":")[0] for line in differences] == ([] if path in RESUMABLE else [path])
        listed = [line.partition(":")[0] for line in recipe_differences(other, published)]
        unused = path.removeprefix("optimizer.") in ("beta1", "least_learning_rate", "warmup_epochs", "warmup_start")
        assert (path in listed) == (path in RECIPE | DATA_RECIPE[dataset] and not unused)


def test_values_that_old_configs_stand_for_are_no_differences():
    config = check(base_config("toy", "S", ToyData), ToyData)
    old = config.to_dict()
    del old["parallel"], old["profile"], old["train"]["ema_decay"]
    assert course_differences(old, config) == []
    averaged = dataclasses.replace(config, train=dataclasses.replace(config.train, ema_decay=0.5))
    assert course_differences(old, averaged) == ["train.ema_decay: 0.0 -> 0.5"]
    assert course_differences(old, averaged, ignored=("train.ema_decay",)) == []


def test_sizes_are_names_and_data_sets_are_not():
    old = {**base_config("toy", "S", ToyData).to_dict(), "size": "L", "dataset": "other"}
    assert course_differences(old, check(base_config("toy", "S", ToyData), ToyData)) == ["dataset: 'other' -> 'toy'"]


def test_a_key_that_is_no_longer_known_is_a_difference():
    old = base_config("toy", "S", ToyData).to_dict()
    old["train"]["warm"] = 3
    assert course_differences(old, check(base_config("toy", "S", ToyData), ToyData)) == ["train.warm: 3 -> None"]


def test_other_sections_of_a_users_config_make_no_difference():
    old = {**base_config("toy", "S", ToyData).to_dict(), "notes": {"by": "me"}}
    assert course_differences(old, check(old, ToyData)) == []


def test_nan_is_the_same_value_again():
    config = base_config("toy", "S", ToyData)
    config.data.low = math.nan
    assert course_differences(config.to_dict(), check(config, ToyData)) == []
    config.data.low = 0.0
    assert len(course_differences({**config.to_dict(), "data": {"stride": 2, "low": math.nan}}, check(config, ToyData))) == 1


def test_keys_that_have_no_effect_are_no_differences_from_a_recipe():
    config = base_config("toy", "S", ToyData)
    config.optimizer.beta1 = 0.8
    config.data.stride = 5
    published = {"optimizer.learning_rate": 1e-3}
    lines = ["optimizer.learning_rate: 0.003, published 0.001", "data.stride: 5, published 2"]
    assert recipe_differences(check(config, ToyData), published) == lines
    config.optimizer.schedule = "cosine"
    lines = recipe_differences(check(config, ToyData), {**published, "optimizer.schedule": "cosine"})
    assert "optimizer.beta1: 0.8, published 0.9" in lines
