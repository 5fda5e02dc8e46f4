"""Lists all keys of a config with value, default, permitted values and meaning: `stlight config --config=frames:tiny`.

Values that differ from the default are marked by `*`.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from absl import flags

from stlight_jax.commands.command import HELP_WIDTH, Command
from stlight_jax.commands.shared_flags import define_config_flag
from stlight_jax.config.schema import MISSING, Key


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(values, arguments, required=True)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.config.run_config import key_values
    from stlight_jax.data.load import check_config

    for key, value in key_values(check_config(values.config)):
        print(_entry(key, value))


def _entry(key: Key, value: Any) -> str:
    default = "no default" if key.default is MISSING else f"default {key.default!r}"
    mark = "" if key.default in (MISSING, value) else "  *"
    text = f"{default}; {key.permitted}. {key.meaning}"
    indented = textwrap.fill(text, HELP_WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4, break_on_hyphens=False)
    return f"{key.path} = {value!r}{mark}\n{indented}"


COMMAND = Command(__doc__, _define_flags, _run)
