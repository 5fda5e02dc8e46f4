"""The reference page has every key once in each table it belongs to."""

from stlight_jax.config.reference_page import reference_page
from stlight_jax.config.run_config import SECTIONS
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from tests.config import write_reference_page

DATA_SECTIONS = {name: find_dataset(name).section for name in DATASETS}


def test_every_key_has_a_row_and_data_sets_share_their_tables():
    page = reference_page(DATA_SECTIONS)
    for section in SECTIONS:
        for key in section.keys().values():
            assert page.count(f"| `{key.path}` |") == 1
    assert page.count("| `data.root` |") == len(set(DATA_SECTIONS.values()))
    assert "## data, of moving_mnist, moving_fashion_mnist\n" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in tables} == {5}


def test_a_row_has_range_default_and_conditions():
    page = reference_page({})
    assert (
        "| `optimizer.beta1` | `0.9` | float, at least 0 and less than 1 | no | 0.1 | Adam's beta1. "
        "Only with optimizer.schedule = cosine. |"
    ) in page
    assert "| `train.log_every` | `25` | int, at least 1 | yes | 0.1 |" in page


def test_the_page_in_the_documentation_is_the_schemas():
    written = write_reference_page.PATH.read_text()
    assert written == write_reference_page.page(), "write it again: python -m tests.config.write_reference_page"
