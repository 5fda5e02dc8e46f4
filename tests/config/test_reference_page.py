"""The reference page has every key once in each table it belongs to."""

from stlight_jax.config.sections import SECTIONS
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from tests.config.write_reference_page import PATH, page, reference_page

DATA_SECTIONS = {name: find_dataset(name).section for name in DATASETS}


def test_every_key_has_a_row_and_data_sets_share_their_tables():
    text = page()
    for section in SECTIONS:
        for key in section.keys().values():
            assert text.count(f"| `{key.path}` |") == 1
    assert text.count("| `data.root` |") == len(set(DATA_SECTIONS.values()))
    assert "## data, of moving_mnist, moving_fashion_mnist\n" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in tables} == {5}


def test_a_row_has_range_default_and_conditions():
    text = reference_page({})
    assert (
        "| `optimizer.beta1` | `0.9` | float, at least 0 and less than 1 | no | 0.1 | Adam's beta1. "
        "Only with optimizer.schedule = cosine. |"
    ) in text
    assert "| `train.log_every` | `25` | int, at least 1 | yes | 0.1 |" in text


def test_the_page_in_the_documentation_is_the_schemas():
    assert PATH.read_text() == page(), "write it again: python -m tests.config.write_reference_page"
