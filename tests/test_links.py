"""Links between Markdown files, and the length of lines and of the README. `make docs` checks links within docs/ as well."""

import re

import pytest

from tests.conftest import ROOT
from tests.test_language import PAGES

PAGES = [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]


def anchors(text):
    """The anchors of a page's headings, as repository browsers and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_of_the_repository(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert ROOT in target.resolve().parents, link
        assert path.parts[len(ROOT.parts)] != "docs" or target.is_file(), f"{link}: Sphinx finds no folders"
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_a_paragraph_is_a_comment_or_a_list_by_accident(path):
    """MyST hides lines that begin with a percent sign, and "0. " begins a list."""
    assert not re.findall(
        r"^ {0,3}(?:%|0+\. ).*$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )


@pytest.mark.parametrize("path", [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.stem)
def test_lines_of_text_have_at_most_120_characters(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if not re.match(r"\||\[?!\[|<", line)]
    if path.stem != "study":  # written by benchmarks/study/page.py
        assert [line for line in lines if len(line) > 120] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_data_of_the_examples_are_small_and_name_their_licence():
    files = [file for file in (ROOT / "examples" / "data").iterdir() if file.suffix != ".md"]
    assert sum(file.stat().st_size for file in files) < 2**20
    text = (ROOT / "examples" / "data" / "README.md").read_text()
    assert files
    assert all(f"`{file.name}`" in text for file in files)
    assert "CC BY 4.0" in text
