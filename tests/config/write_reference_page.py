"""Writes `docs/config.md` from the schema: `python -m tests.config.write_reference_page`."""

from stlight_jax.config.reference_page import reference_page
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from tests.commands import ROOT

PATH = ROOT / "docs" / "config.md"


def page() -> str:
    """Returns the page with the sections of all data sets."""
    return reference_page({name: find_dataset(name).section for name in DATASETS})


if __name__ == "__main__":
    PATH.write_text(page())
