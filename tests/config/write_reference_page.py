"""Writes the page of all config keys from the schema: `python -m tests.config.write_reference_page`."""

from collections.abc import Mapping

from stlight_jax.config.run_config import RunConfig
from stlight_jax.config.schema import MISSING, Key, Section
from stlight_jax.config.sections import SECTIONS
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from tests.commands import ROOT

PATH = ROOT / "docs" / "reference" / "config.md"

_INTRODUCTION = """# Config keys

A config has seven sections. Six are the same for every data set; the keys of the section `data` depend on the data set.
Set a key in a config file or on the command line: `--config.train.batch_size=32`. `stlight config --config=frames:tiny`
lists the keys of one config with their values.

A run can be resumed with another value of a key that may change. Other changes need `--allow_changes`.
"""
_HEADINGS = ("Key", "Default", "Values", "May change", "Since", "Meaning")


def reference_page(data: Mapping[str, type[Section]]) -> str:
    """Writes the reference of every key.

    Args:
      data: Name of a data set -> its section `data`. Data sets with the same section share a table.

    Returns:
      Markdown with one table for each section.
    """
    by_section: dict[type[Section], list[str]] = {}
    for dataset, section in data.items():
        by_section.setdefault(section, []).append(dataset)
    parts = [_INTRODUCTION, "## Outside of sections", "", *_table(RunConfig), ""]
    for section in SECTIONS:
        parts += [f"## {section.section_name}", "", *_table(section), ""]
    for section, datasets in by_section.items():
        parts += [f"## data, of {', '.join(datasets)}", "", *_table(section), ""]
    return "\n".join(parts)


def _table(section: type[Section]) -> list[str]:
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(_row(key) for key in section.keys().values())]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(key: Key) -> tuple[str, ...]:
    return (
        f"`{key.path}`",
        "" if key.default in (MISSING, "") else f"`{key.default}`",
        key.permitted,
        "yes" if key.resumable else "no",
        key.since,
        key.meaning,
    )


def page() -> str:
    """Returns the page with the sections of all data sets."""
    return reference_page({name: find_dataset(name).section for name in DATASETS})


if __name__ == "__main__":
    PATH.write_text(page())
