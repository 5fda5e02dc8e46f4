"""Keys and sections: declaration, checking, and a key that one line adds."""

import math
import re

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.config import base_config, check
from stlight_jax.config.run_config import course_differences
from stlight_jax.config.schema import MISSING, Key
from stlight_jax.config.sections import (
    SECTIONS,
    EvaluationSection,
    ModelSection,
    OptimizerSection,
    ProfileSection,
    TrainSection,
)
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from stlight_jax.version import __version__
from tests.config.toy import LaterToyData, ToyData
from tests.config.write_reference_page import reference_page

DATA_SECTIONS = {name: find_dataset(name).section for name in DATASETS}
KEYS = [key for section in (*SECTIONS, *dict.fromkeys(DATA_SECTIONS.values())) for key in section.keys().values()]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_is_documented_and_its_values_are_permitted(key):
    assert key.help.endswith(".")
    assert key.help[0].isupper() or key.help.startswith("2 ")
    assert key.type in (int, float, bool, str)
    assert key.default is not MISSING
    key.check(key.default)
    if key.absent is not MISSING:
        key.check(key.absent)
    version = tuple(int(part) for part in re.findall(r"\d+", key.since))
    assert (0, 1) <= version <= tuple(int(part) for part in re.findall(r"\d+", __version__))
    assert version == (0, 1) or key.absent is not MISSING  # otherwise older checkpoints could not be read
    if key.used_if is not None:
        name, value = key.used_if
        assert any(other.section == key.section and other.name == name and value in other.choices for other in KEYS)


def test_keys_have_the_facts_of_their_fields():
    key = OptimizerSection.keys()["beta1_low"]
    assert (key.path, key.type, key.default, key.least, key.below) == ("optimizer.beta1_low", float, 0.85, 0, 1)
    key = LaterToyData.keys()["order"]
    assert (key.section, key.choices, key.type, key.absent) == ("data", ("rgb", "bgr"), str, "bgr")
    assert LaterToyData.keys()["low"].optional
    assert ModelSection.keys()["in_frames"].default == 10  # in a config; the network's own arguments must be given


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (TrainSection, {"epochs": 0}, "train.epochs is 0; it must be at least 1"),
        (TrainSection, {"epochs": 2.0}, "train.epochs is 2.0; it must be a whole number"),
        (TrainSection, {"epochs": True}, "train.epochs is True; it must be a whole number"),
        (TrainSection, {"epochs": 2**31}, "train.epochs is 2147483648; it must be less than 2**31"),
        (TrainSection, {"init_from": 3}, "train.init_from is 3; it must be text"),
        (TrainSection, {"least_gain": -0.5}, "train.least_gain is -0.5; it must be -1, or at least 0 and less than 1"),
        (TrainSection, {"least_gain": 1}, "train.least_gain is 1; it must be -1, or at least 0 and less than 1"),
        (TrainSection, {"least_gain": math.nan}, "train.least_gain is nan; it must be -1, or at least 0 and less than 1"),
        (TrainSection, {"tensorboard": 1}, "train.tensorboard is 1; it must be True or False"),
        (TrainSection, {"ema_decay": "0.9"}, "train.ema_decay is '0.9'; it must be a number"),
        (OptimizerSection, {"eps": 0.0}, "optimizer.eps is 0.0; it must be more than 0"),
        (OptimizerSection, {"eps": math.inf}, "optimizer.eps is inf; it must be more than 0"),
        (OptimizerSection, {"clip_norm": math.nan}, "optimizer.clip_norm is nan; it must be at least 0"),
        (OptimizerSection, {"beta2": 1.0}, "optimizer.beta2 is 1.0; it must be at least 0 and less than 1"),
        (OptimizerSection, {"schedule": "linear"}, "optimizer.schedule is 'linear'; choose one of onecycle, cosine"),
        (EvaluationSection, {"horizon": None}, "evaluation.horizon is None; it must be a whole number"),
        (ToyData, {"low": "0"}, "data.low is '0'; it must be a number"),
    ],
)
def test_impossible_values_are_refused_when_a_section_is_made(section, values, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        section(**values)


def test_numbers_of_other_types_are_taken():
    assert TrainSection(epochs=np.int64(3), ema_decay=0).epochs == 3
    assert ToyData(low=math.nan, stride=np.int32(4)).stride == 4


def test_a_special_value_and_values_within_the_bounds_are_taken():
    assert [TrainSection(least_gain=gain).least_gain for gain in (-1, 0, 0.2, 0.99)] == [-1, 0, 0.2, 0.99]


def test_a_value_without_bounds_may_be_anything_of_its_type():
    Key("Any number.", type=float).check(-math.inf)


def test_a_key_that_one_line_adds_is_made_checked_resumed_and_documented():
    new = base_config("toy", "S", LaterToyData)
    assert new.data.order == "rgb"
    new.data.order = "grey"
    with pytest.raises(InputError, match="data.order is 'grey'; choose one of rgb, bgr"):
        check(new, LaterToyData)

    old = base_config("toy", "S", ToyData)
    assert check(old, LaterToyData).data.order == "bgr"  # the value that old configs stand for is not always the default
    assert course_differences(old.to_dict(), check(old, LaterToyData)) == []
    new.data.order = "rgb"
    assert course_differences(old.to_dict(), check(new, LaterToyData)) == ["data.order: 'bgr' -> 'rgb'"]

    assert "| `data.order` | `rgb` | str, one of rgb, bgr | no | 0.3 | Order of the channels." in reference_page(
        {"toy": LaterToyData}
    )


def test_a_section_whose_keys_are_all_newer_than_a_config_may_be_missing():
    assert ProfileSection.from_config(None) == ProfileSection()
    with pytest.raises(InputError, match="the config has no section train"):
        TrainSection.from_config(None)
