"""The language of docstrings, messages, help texts and Markdown: plain technical English.

A short list of patterns that name no thing, or in which the program "says" and "is told" things. Code in backticks and code
blocks are left out.
"""

import ast
import re

import pytest

from tests.conftest import ROOT

# pattern: how to write it instead
PATTERNS = {
    r"\b(told|said)\b": "name the message; the program prints, warns or raises",
    r"\b(says|tells) (so|what|which|that|how|where|whether|it|of|to)\b": "the program prints, warns or raises",
    r"\bwhat (is|are|was|were|has|have|had|comes?|came|lies|lay|follows|remains|stays)\b": "name the thing",
    r"\bwhat (they|it|we|others|nobody) (is|are|was|were|has|have|had|can|does|do|did)\b": "name the thing",
    r"\b(nobody|anybody|somebody)\b": "name who: the user, another process, others",
    r"\bnothing\b[^.;:]*\bbut\b": "use 'only'",
    r"\bthose (that|who|which)\b": "name the things",
    r"\bof (these|those)\b(?! \w)": "name the things",
    r"(^|[.:;] )Of (the|a|an|all|each|many|several|one|its|their)\b": "begin with the subject",
    r"\b(is|are|was|were) not to be had\b": "use 'is not available'",
    r"\bto be there\b": "use 'exists'",
    r"\bthere is (nothing|none)\b": "use 'has no' or 'is empty'",
    r"\bdoes without\b": "use 'needs no'",
    r"\ball the same\b": "use 'anyway' or leave it out",
    r"\bby itself\b(?=[.;,])": "use 'automatically'",
    r"\bgoes? on\b": "use 'continue' or 'resume'",
}
PACKAGE = ROOT / "stlight_jax"


def prose_of_code(text):
    """(line, text) of every docstring and every other string of three words or more."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            words = "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value
        else:
            continue
        if len(words.split()) > 2:
            yield node.lineno, words


def prose_of_markdown(text):
    """(first line, text) of every paragraph outside code blocks."""
    first, paragraph, inside = 1, [], False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = line.lstrip().startswith("```")
        if line.strip() and not fence and not inside:
            first = first if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield first, " ".join(paragraph)
            paragraph = []
        inside ^= fence


def slips(text, prose):
    """The lines with a pattern in them, and how to write them instead."""
    for number, words in prose(text):
        plain = re.sub(r"``?[^`]*``?", "CODE", words)
        plain = re.sub(r"\s+", " ", plain)
        for pattern, instead in PATTERNS.items():
            found = re.search(pattern, plain, re.IGNORECASE if not pattern.startswith("(^") else 0)
            if found:
                yield f"line {number}: {found.group()!r} in {plain[:100]!r}: {instead}"


@pytest.mark.parametrize(
    "path",
    sorted([*PACKAGE.rglob("*.py"), *(ROOT / "configs").glob("*.py"), ROOT / "train.py", ROOT / "eval.py"]),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_docstrings_messages_and_help_texts_name_things(path):
    found = list(dict.fromkeys(slips(path.read_text(), prose_of_code)))
    assert not found, "\n" + "\n".join(found)


PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "_build" not in path.parts)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_markdown_names_things(path):
    found = list(slips(path.read_text(), prose_of_markdown))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "sentence",
    [
        "What is there already stays.",
        "The user is told of it.",
        "Nobody has run this.",
        "Of the step.",
        "It has nothing to do but wait.",
    ],
)
def test_the_patterns_find_what_they_are_for(sentence):
    assert list(slips(sentence, prose_of_markdown))


@pytest.mark.parametrize(
    "sentence",
    [
        "Existing output is kept unless you pass `--overwrite`.",
        "The program prints `what is there`.",
        "Frames of these shapes.",
    ],
)
def test_plain_sentences_pass(sentence):
    assert not list(slips(sentence, prose_of_markdown))
