"""The list of data sets, and what all of them have."""

import re

import pytest

from stlight_jax.data.datasets.all_datasets import find_dataset
from tests.data.window_arrays import load


@pytest.mark.parametrize("name", ["moving_mnist", "kth", "frames"])
def test_advice_on_slow_data_names_keys_that_there_are(name):
    config = load(name, "")
    advice = find_dataset(config.dataset).advice_on_slow_data(config.data)
    assert "fewer processes per host" in advice
    keys = re.findall(r"data\.(\w+)", advice)
    assert keys == (["memory"] if "memory" in config.data else [])
    assert not keys or f"({config.data.memory} MiB)" in advice
