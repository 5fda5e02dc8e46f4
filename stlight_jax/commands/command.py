"""The parts of a command, its command line and its help text."""

import contextlib
import dataclasses
import difflib
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

import ml_collections
from absl import flags, logging

from stlight_jax.commands.config_source import ConfigFileError
from stlight_jax.errors import InputError

HELP_WIDTH = 100

# Messages of absl and of Python on a flag's value: what the value is.
_BAD_VALUES = {
    r"invalid literal for int\(\).*": "is no whole number",
    r"could not convert string to float.*": "is no number",
    r"\('Non-boolean argument to boolean flag'.*": "is neither true nor false",
}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command with flags of its own.

    Attributes:
      description: help text above the list of flags; its first line shows how the command is called.
      define_flags: defines the flags in the given `FlagValues`, for the given command line. The command line begins with the
        name of the command, as `sys.argv` does.
      run: runs the command with the parsed flags.
      check: refuses flags that are wrong whatever the input contains, such as paths that do not exist. It runs before JAX
        is imported, so that a typo is reported at once.
      positional: name of the flag that one argument without a name stands for, if any.
    """

    description: str
    define_flags: Callable[[flags.FlagValues, Sequence[str]], None]
    run: Callable[[flags.FlagValues], None]
    check: Callable[[flags.FlagValues], None] = lambda values: None
    positional: str | None = None

    def parse(self, arguments: Sequence[str]) -> flags.FlagValues:
        """Reads a command line without running the command.

        Args:
          arguments: the name of the command and its arguments, as in `sys.argv`.

        Returns:
          The values of the command's flags.

        Raises:
          InputError: for unknown flags, impossible values, missing required flags, and what `check` refuses.
        """
        values = flags.FlagValues()
        for flag in flags.FLAGS.get_flags_for_module(logging):
            values[flag.name] = flag  # --verbosity and others, which belong to the whole process
        self.define_flags(values, arguments)
        parse_flags(values, arguments, self.positional)
        self.check(values)
        if "config" in values and values.config is not None:
            _check_config(values.config)
        return values

    def help(self, arguments: Sequence[str]) -> str:
        """Returns the description and all flags of the command, in the order of their definition.

        Args:
          arguments: as for `parse`. `--helpfull` adds the flags that all commands have.
        """
        values = flags.FlagValues()
        self.define_flags(values, arguments[:1])
        return help_text(self.description, _defined(values), arguments)


def help_text(description: str, own: Iterable[flags.Flag], arguments: Sequence[str]) -> str:
    """Returns a description and the help texts of flags.

    Args:
      description: text above the flags.
      own: flags of the command.
      arguments: the command line. `--helpfull` adds the flags that all commands have.
    """
    lines = [f"{description.strip()}\n\nFlags:", *map(_flag_help, own)]
    if not any(argument.lstrip("-") == "helpfull" for argument in arguments[1:]):
        return "\n".join([*lines, "\n--helpfull also shows the flags that all commands have, for logging."])
    return "\n".join([*lines, "\nFlags of all commands:", *map(_flag_help, flags.FLAGS.get_flags_for_module(logging))])


def _check_config(config: ml_collections.ConfigDict) -> None:
    """Refuses values that are wrong whatever the data, before the libraries of a training load."""
    from stlight_jax.data.load import check_config, network_config

    checked = check_config(config)
    network_config(checked)
    if checked.evaluation.thresholds:
        from stlight_jax.metrics.threshold_scores import parse_thresholds  # imports JAX

        parse_thresholds(checked.evaluation.thresholds)


def parse_flags(values: flags.FlagValues, arguments: Sequence[str], positional: str | None = None) -> None:
    """Parses a command line into `values`.

    Args:
      values: the defined flags.
      arguments: the name of the command and its arguments. Flags and the positional argument may come in any order.
      positional: name of the flag that one argument without a name stands for, if any.

    Raises:
      InputError: for unknown flags, impossible values, missing required flags and unexpected arguments.
    """
    values.set_gnu_getopt(True)
    try:
        with _deferred_validation(values):
            rest = values(list(arguments))[1:]
            if positional is not None and rest and not values[positional].present:
                values[positional].parse(rest.pop(0))
        if rest:
            raise InputError(f"unexpected argument {rest[0]!r}; options are written --name=value, see --help")
        _check_required(values)
        values.validate_all_flags()
    except InputError:
        raise
    except ConfigFileError as error:
        raise InputError(str(error)) from error
    except flags.UnrecognizedFlagError as error:
        raise InputError(_unknown_flag(values, error.flagname)) from error
    except (KeyError, AttributeError) as error:  # the locked config, which names the key that is close
        raise InputError(f"--config has no key {_unknown_key(error)}") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(_plain_message(_last_line(error))) from error


@contextlib.contextmanager
def _deferred_validation(values: flags.FlagValues) -> Iterator[None]:
    """Keeps absl from validating flags at once, so that an argument without a name is reported before a missing flag."""
    validators = {name: list(values[name].validators) for name in values}
    for name in validators:
        values[name].validators.clear()
    try:
        yield
    finally:
        for name, saved in validators.items():
            values[name].validators[:] = saved


def _check_required(values: flags.FlagValues) -> None:
    """Refuses a command line that lacks required flags.

    Raises:
      InputError: Names all missing flags, each with the first sentence of its help text.
    """
    missing = [flag for flag in _defined(values) if _is_required(flag)]
    if missing:
        raise InputError("; ".join(f"--{flag.name} is missing ({_first_sentence(flag.help)})" for flag in missing))


def _is_required(flag: flags.Flag) -> bool:
    """Returns whether a flag has no value and a validator that demands one; other validators check bounds."""
    return flag.value is None and not all(validator.checker(None) for validator in flag.validators)


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].removesuffix(".")


def _unknown_flag(values: flags.FlagValues, name: str) -> str:
    section = name.split(".")[0]
    if section != name and section in values:
        return f"--{name} needs --{section}, which is missing ({_first_sentence(values[section].help)})"
    close = difflib.get_close_matches(name, list(values), 1)
    return f"no flag --{name}; did you mean --{close[0]}?" if close else f"no flag --{name}; see --help"


def _defined(values: flags.FlagValues) -> list[flags.Flag]:
    """Returns the flags in the order of their definition."""
    return [flag for module_flags in values.flags_by_module_dict().values() for flag in module_flags]


def _flag_help(flag: flags.Flag) -> str:
    text = flag.help or ""
    if flag.default:
        text += f" Default: {str(flag.default_as_str).strip(chr(39))}."
    indented = textwrap.fill(text, HELP_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
    required = "  (required)" if _is_required(flag) else ""
    return f"  --{'[no]' if flag.boolean else ''}{flag.name}{required}\n{indented}"


def _unknown_key(error: BaseException) -> str:
    """Returns what ml_collections writes of an unknown key, on one line."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return ": ".join(str(error.args[0]).splitlines())


def _last_line(error: Exception) -> str:
    """Returns the last line of a message; absl and ml_collections begin some messages with a whole traceback."""
    lines = [line for line in str(error.args[0] if error.args else error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _plain_message(message: str) -> str:
    """Returns absl's "flag --name=value: reason" in the form of this package's messages."""
    message = message.removeprefix("flag ")
    for reason, plain in _BAD_VALUES.items():
        message = re.sub(rf"^(--.*?): {reason}$", rf"\1 {plain}", message)
    return message
