"""Writes the page of all commands from their flags: `python -m tests.config.write_commands_page`."""

import importlib
import re
import textwrap

from absl import flags

from stlight_jax.__main__ import COMMANDS
from stlight_jax.commands.command import help_text
from tests.commands import ROOT

PATH = ROOT / "docs" / "reference" / "commands.md"

_INTRODUCTION = """# Commands

`stlight COMMAND --FLAG=VALUE` runs a command. `stlight COMMAND --help` prints the text of this page. `python -m
stlight_jax` is the same program. A switch is set by `--rolling` and cleared by `--norolling`. Every command with
`--config` takes each [key of the config](config.md) as a flag, too: `--config.SECTION.KEY=VALUE`.
"""
_HEADINGS = ("Flag", "Default", "Values", "Meaning")


def page() -> str:
    """Returns Markdown with the description of each command and a table of its flags."""
    parts = [_INTRODUCTION]
    for name in COMMANDS:
        command = importlib.import_module(f"stlight_jax.commands.{name}").COMMAND
        values = flags.FlagValues()
        command.define_flags(values, [f"stlight {name}"])
        rows = [_row(flag) for of_module in values.flags_by_module_dict().values() for flag in of_module]
        parts += [f"## {name}", "", _description(command.description), "", *_table(rows), ""]
    return "\n".join(parts)


def _description(text: str) -> str:
    """Wraps the paragraphs of a description, whose lines have 128 characters."""
    return "\n\n".join(textwrap.fill(part, 120, break_on_hyphens=False) for part in _with_code(text.strip()).split("\n\n"))


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (_HEADINGS, tuple("---" for _ in _HEADINGS), *rows)]


def _row(flag: flags.Flag) -> tuple[str, ...]:
    default = "" if flag.default in (None, "") else f"`{str(flag.default_as_str).strip(chr(39))}`"
    if "  (required)\n" in help_text("", [flag], ()):
        default = "required"
    meaning = re.sub(r"^<.*?>: ", "", flag.help)  # the values, which absl repeats
    return f"`--{flag.name}`", default, _permitted(flag), _with_code(meaning)


def _permitted(flag: flags.Flag) -> str:
    if flag.boolean:
        return "switch"
    if isinstance(flag.parser, flags.EnumParser):
        return ", ".join(flag.parser.enum_values)
    return re.sub("^an? ", "", flag.parser.syntactic_help or "text")


def _with_code(text: str) -> str:
    """Marks flags as code, whose two hyphens Sphinx would join."""
    return re.sub(r"`[^`]*`|--[\w=.]*\w", lambda match: f"`{match[0].strip('`')}`", text)


if __name__ == "__main__":
    PATH.write_text(page())
