"""The page of commands has every flag of every command."""

import pytest

from stlight_jax.__main__ import COMMANDS
from tests.commands import ROOT
from tests.config.write_commands_page import PATH, page


def section(command):
    return page().partition(f"\n## {command}\n")[2].partition("\n## ")[0]


def test_every_command_has_a_section_and_every_row_four_cells():
    assert [line[3:] for line in page().splitlines() if line.startswith("## ")] == list(COMMANDS)
    assert {line.count(" | ") for line in page().splitlines() if line.startswith("|")} == {3}


def test_a_row_has_default_values_and_meaning():
    assert "| `--start` |  | text | First frame to predict: its index" in section("predict")
    assert "| `--rollout` | `blocks` | blocks, frames | Feed back whole forecasts" in section("predict")
    assert "| `--rolling` | `false` | switch |" in section("predict")
    assert "| `--workdir` | required | text | Folder of the run, as given to `stlight train`. |" in section("evaluate")
    assert "| `--horizon` |  | positive integer |" in section("evaluate")
    assert "`--config.SECTION.KEY=VALUE` replaces the value of one key" in section("train")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_are_those_in_the_source_of_the_command(command):
    source = (ROOT / "stlight_jax" / "commands" / f"{command}.py").read_text()
    assert ("| `--config` |" in section(command)) == ("define_config_flag(" in source)
    assert ("| `--model` |" in section(command)) == ("define_network_flags(" in source)
    assert ("| `--process` |" in section(command)) == ("define_process_flags(" in source)


def test_the_page_in_the_documentation_is_that_of_the_flags():
    assert PATH.read_text() == page(), "write it again: python -m tests.config.write_commands_page"
