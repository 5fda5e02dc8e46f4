"""The commands of the documentation are parsed with the real flags and configs, so that a renamed flag fails at once.

Commands in shell blocks are parsed whole. Of the flags in running text, the names are checked.
"""

import dataclasses
import functools
import importlib
import itertools
import re
import shlex

import pytest
from absl import flags
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from stlight_jax.__main__ import COMMANDS
from stlight_jax.config.run_config import RunConfig
from stlight_jax.config.sections import SECTIONS
from stlight_jax.data.datasets.all_datasets import DATASETS, find_dataset
from stlight_jax.errors import InputError
from stlight_jax.inference.shipped_networks import shipped
from tests.conftest import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/data/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
KEYS = {
    key.path
    for section in (RunConfig, *SECTIONS, *(find_dataset(name).section for name in DATASETS))
    for key in section.keys().values()
}
BENCHMARK_FLAGS = {
    name for path in (ROOT / "benchmarks").glob("*.py") for name in re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", path.read_text())
}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def commands_of(text):
    """The commands of a shell block, each as a list of words; a command in quotes, such as that of ssh, is split again."""
    without_comments = re.sub(r"(^|\s)#.*$", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(without_comments, posix=True, punctuation_chars="&;|\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    command = []
    for word in [*lexer, "\n"]:
        if word.startswith("--command="):
            yield from commands_of(word.removeprefix("--command="))
        if word.strip("&;|\n"):
            command.append(word)
        elif command:
            yield command
            command = []


def check(words):
    """Parses a command of this program without a look at the disk; of `make` and `python`, looks up the target or file.

    Returns:
      The parsed flags of a command of this program, else None.
    """
    for word, following in itertools.pairwise(words):
        if word == "make":
            assert following in TARGETS, f"no target {following}"
        if following.endswith(".py"):
            assert (ROOT / following).is_file(), f"no file {following}"
    for place, (word, name) in enumerate(itertools.pairwise(words)):
        if word.rpartition("/")[2] == "stlight" and not name.startswith("-"):
            assert name in COMMANDS, f"no command {name}"
            command = importlib.import_module(f"stlight_jax.commands.{name}").COMMAND
            unchecked = dataclasses.replace(command, check=lambda values: None)
            return unchecked.parse([f"stlight {name}", *words[place + 2 :]])
    return None


@functools.cache
def flag_names(command):
    """The names of a command's flags, with its keys of a config."""
    values = flags.FlagValues()
    importlib.import_module(f"stlight_jax.commands.{command}").COMMAND.define_flags(values, [f"stlight {command}"])
    switches = {f"no{name}" for name in values if values[name].boolean}
    return {*values, *switches, *(f"config.{key}" for key in KEYS if "config" in values), "help", "helpfull"}


def unknown_flags(code):
    """The flags in a piece of code that its command lacks, or all commands and benchmarks; placeholders are in capitals."""
    command = re.match(r"stlight ([a-z]+)", code)
    known = flag_names(command[1]) if command else BENCHMARK_FLAGS.union(*map(flag_names, COMMANDS))
    return [name for name in re.findall(r"(?<!\S)--([\w.]+)", code) if name.islower() and name not in known]


@each_page
def test_shell_blocks_have_commands_that_the_program_accepts(path):
    for example in Document.parse(str(path), CodeBlockParser("sh", lambda example: None)):
        for words in commands_of(example.parsed):
            try:
                check(words)
            except (InputError, AssertionError) as error:
                pytest.fail(f"{path.name}, block of line {example.line}: {' '.join(words)}\n{error}")


@each_page
def test_flags_and_keys_in_running_text_exist(path):
    prose = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`]*--[^`]+)`", prose):
        if span.startswith(("stlight ", "--")):
            assert not unknown_flags(span), span


def test_the_demo_begins_with_a_forecast_that_the_program_accepts():
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    commands = [words for words in commands_of(recipe.replace("$(BIN)", ".venv/bin")) if words[0] != "@echo"]
    forecast = check(commands[0])
    assert (forecast.model in shipped(), (ROOT / forecast.input).is_file(), forecast.show) == (True, True, True)
    assert [words[1] for words in commands[1:]] == ["train.py", "eval.py"]


def test_a_block_is_split_as_a_shell_splits_it():
    block = 'a b  # c\nd \\\n  --e=1,2 && f\nssh x --command="\n  cd g && stlight h"\n'
    assert list(commands_of(block)) == [
        ["a", "b"],
        ["d", "--e=1,2"],
        ["f"],
        ["cd", "g"],
        ["stlight", "h"],
        ["ssh", "x", "--command=\n  cd g && stlight h"],
    ]


def test_a_command_is_parsed_to_its_values():
    values = check(
        ["srun", "--nodes=4", ".venv/bin/stlight", "train", "--config=frames:tiny", "--workdir=a", "--config.train.epochs=7"]
    )
    assert (values.workdir, values.config.train.epochs) == ("a", 7)
    assert check(["pip", "install", "stlight"]) is None


@pytest.mark.parametrize(
    "line",
    [
        "stlight train --config=frames:tiny --workdir=a --config.train.epoch=7",
        "stlight train --config=frames:tiny --workdir=a --config.train.epochs=0",
        "stlight train --config=frames:small --workdir=a",
        "stlight evaluate --workdir=a --threshold=1",
        "stlight evaluate",
        "stlight evalute --workdir=a",
        "make tests",
        "python benchmarks/fast.py",
    ],
)
def test_a_command_that_the_program_refuses_is_found(line):
    with pytest.raises((InputError, AssertionError)):
        check(line.split())


def test_unknown_flags_in_running_text_are_found():
    assert unknown_flags("stlight evaluate --rolling --config.train.epochs=3") == ["rolling", "config.train.epochs"]
    assert not unknown_flags("--rolling --config.train.epochs=3 --nooverwrite")
    assert unknown_flags("--rollin --config.train.epoch=3 --epochs=3") == ["rollin", "config.train.epoch", "epochs"]
