"""The Python blocks of pages that need no run of their own are executed in order, with the shipped network."""

import pytest
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

from tests.conftest import ROOT

PAGES = ["README.md", "docs/how_to/forecast_files.md", "docs/tutorials/first_forecast.md", "docs/explanation/network.md"]


@pytest.mark.long
@pytest.mark.parametrize("name", PAGES)
def test_python_blocks_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    examples = list(Document.parse(str(ROOT / name), PythonCodeBlockParser()))
    assert examples
    for example in examples:
        example.evaluate()
