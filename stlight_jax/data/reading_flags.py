"""The options of reading as flags of commands; in configs, and so in messages of readers, they are keys of `data`."""

import contextlib
import re
from collections.abc import Iterator

from stlight_jax.errors import InputError

KEYS = ("variable", "time", "layout", "channels", "fill_value", "mask", "frame_step", "height", "width")


@contextlib.contextmanager
def errors_name_flags() -> Iterator[None]:
    """Replaces config keys in the messages of readers, such as `data.variable`, by the command's flags, `--variable`."""
    try:
        yield
    except InputError as error:
        raise InputError(name_flags(str(error)), key=error.key) from None


def name_flags(text: str) -> str:
    """Replaces config keys in a message, such as `--config.data.variable`, by the command's flags, `--variable`."""
    keys = "|".join(KEYS)
    text = re.sub(rf"--config\.data\.({keys})\b", r"--\1", text)
    return re.sub(rf"(?<![\w/.-])data\.({keys})\b(?!\.)", r"--\1", text)
