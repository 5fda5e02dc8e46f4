"""Runs a command: flags in, one clear line and the right exit status out."""

from __future__ import annotations

import contextlib
import logging as python_logging
import os
import re
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what importing JAX reads, and would set to 1

import jax
from absl import flags, logging

from stlight_jax.console import signals
from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError, PreemptedError, StlightError, TerminationInterrupt
from stlight_jax.parallel import distributed
from stlight_jax.storage import caches, paths


def run(main: Callable[[], None], arguments: list[str] | None = None, positional: str | None = None) -> None:
    """Parses absl flags, calls `main` and exits: 0 done, 2 bad input, 3 non-finite loss, 75 stopped and saved, 130 Ctrl-C, 143
    SIGTERM, to which `main` may listen in its own way.

    One argument, anywhere among the flags, may stand for the flag `positional`, without its name.

    Errors a user can meet are printed as one line; anything else is a defect and shows its traceback (exit status 1).
    """
    quiet_libraries()
    _keep_compiled_programs()
    try:
        signals.raise_on_signals()
        arguments = list(sys.argv if arguments is None else arguments)
        with printing():
            _parse(arguments, main.__module__, positional)
            with distributed.lost_process_errors():
                main()
    except StlightError as error:
        _tell(f"{error}" if isinstance(error, PreemptedError) else f"error: {error}")
        distributed.shut_down(error, error.exit_status)
        sys.exit(error.exit_status)
    except KeyboardInterrupt as error:
        said, status = ("terminated", error.exit_status) if isinstance(error, TerminationInterrupt) else ("interrupted", 130)
        _tell(said)
        distributed.shut_down(error, status)
        sys.exit(status)
    except Exception as error:
        if paths.is_bucket_error(error):
            _tell(f"error: a bucket failed to answer, {type(error).__name__}: {one_line(error)}")
            distributed.shut_down(error, StlightError.exit_status)
            sys.exit(StlightError.exit_status)
        if jax.distributed.is_initialized():
            traceback.print_exc()
            distributed.shut_down(error, 1)
        raise


def define_process_flags() -> None:
    """Defines --coordinator, --processes and --process, see `process_arguments`."""
    flags.DEFINE_string("coordinator", None, "Of several processes: HOST:PORT of the first one.")
    flags.DEFINE_integer("processes", None, "Of several processes: how many.")
    flags.DEFINE_integer("process", None, "Of several processes: this one's number, from 0.")


def process_arguments() -> dict[str, Any]:
    """Returns the arguments of `distributed.start` that the flags give."""
    return {name: flags.FLAGS[name].value for name in ("coordinator", "processes", "process")}


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Ends the process quietly, as if all was read, if the reader of standard output has gone. Commands print last."""
    try:
        yield
        print(end="", flush=True)
    except BrokenPipeError:
        poll = select.poll()
        poll.register(sys.stdout, 0)
        if not poll.poll(0):  # it was another pipe
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes on its way out
        sys.exit(0)


def _tell(message: str) -> None:
    with contextlib.suppress(OSError):  # nobody may read that either
        print(message, file=sys.stderr)


def _parse(arguments: list[str], module: str, positional: str | None) -> None:
    if any(argument in ("--help", "-h", "-help") for argument in arguments[1:]):
        print(sys.modules[module].__doc__ or "")
        known = flags.FLAGS
        print(known.main_module_help() if module == "__main__" else known.module_help(sys.modules[module]), flush=True)
        sys.exit(0)
    try:
        rest = _parsed(arguments, positional)
        if "config" in flags.FLAGS and flags.FLAGS["config"].present:
            flags.FLAGS.config.to_dict()  # a file that could not be read shows itself only now
    except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(_one_line(error)) from error
    except StlightError:
        raise
    except Exception as error:  # whatever a user's config file may do
        if isinstance(error, SyntaxError):
            where = f"{error.filename}, line {error.lineno}"
        else:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename}, line {frame.lineno}"
        raise InputError(f"the config file failed with {type(error).__name__}: {_one_line(error)} ({where})") from error
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; options are written --name=value, see --help")


def _parsed(arguments: list[str], positional: str | None) -> list[str]:
    """What absl leaves of the arguments, without the one that stands for `positional`."""
    flags.FLAGS.set_gnu_getopt(True)
    if positional is None:
        return flags.FLAGS(arguments)
    flag = flags.FLAGS[positional]
    checks, flag.validators = flag.validators, []  # that it is there, which shows itself only afterwards
    rest = flags.FLAGS(arguments)
    flag.validators = checks
    if len(rest) > 1 and not flag.present:
        flag.parse(rest.pop(1))
    flags.FLAGS.validate_all_flags()
    return rest


def _one_line(error: Exception) -> str:
    """The telling line of what absl and ml_collections say, which may hold a whole traceback."""
    text = str(error.args[0] if error.args else error).replace("\\n", "\n").replace("\\'", "'")
    lines = [_unquoted(line.strip()) for line in text.splitlines() if line.strip()]
    if lines and "has no attribute 'get_config'" in lines[-1]:
        return "the file of --config has no function get_config"
    if isinstance(error, KeyError | AttributeError):  # a key the locked config does not have, and the one that is close
        return "--config has no key " + ": ".join(lines)
    missing = next((line for line in reversed(lines) if "No such file" in line), None)
    return missing or re.sub(r"^[\w.]*(Error|Exception): ", "", lines[-1] if lines else repr(error))


def _unquoted(line: str) -> str:
    """Without the quotes around all of it, or the odd one that belongs to a longer text."""
    for quote in "'\"":
        if line.count(quote) % 2:
            line = line.removeprefix(quote) if line.startswith(quote) else line.removesuffix(quote)
        elif len(line) > 1 and line[0] == line[-1] == quote and line.count(quote) == 2:
            line = line[1:-1]
    return line


def _keep_compiled_programs() -> None:
    """Compiles a program once per machine: the second start finds it in a folder, unless JAX was told of another one."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(caches.folder() / f"compiled-{caches.processor()}"))


def quiet_libraries() -> None:
    """Keeps warnings meant for developers of the libraries off a user's screen; ours stay. To be called before their import.

    And keeps TensorFlow from importing Keras, and with it pandas and pyplot: nothing here uses them.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow computes nothing here, and would announce it
    warnings.filterwarnings("ignore", module=r"(orbax|flax|jax|tensorflow|xarray)(\.|$)")
    sys.unraisablehook = signals.resend_unraisable_interrupt
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().setFormatter(python_logging.Formatter("%(levelname)s: %(message)s"))
