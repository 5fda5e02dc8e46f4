"""From a command line to an exit status, for the commands of the package and for scripts."""

import contextlib
import logging as python_logging
import os
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

from absl import flags, logging

from stlight_jax.commands.command import Command, help_text, parse_flags
from stlight_jax.commands.shared_flags import define_config_flag
from stlight_jax.console import signals
from stlight_jax.errors import InputError, PreemptedError, StlightError, TerminationInterrupt

_INTERRUPTED = 130
_DEFECT = 1


def run_command(command: Command, arguments: Sequence[str]) -> None:
    """Runs a command and ends the process with its exit status.

    The status is 0 if the command is done, 2 for bad input, 3 for a loss that is not finite, 75 for a training that was
    stopped and saved, 130 after Ctrl-C, 143 after SIGTERM, and 1 for anything else. An error that a user can meet is printed
    on one line; any other is a defect and shows its traceback.

    Args:
      command: the command.
      arguments: its name and its command line, as in `sys.argv`.
    """
    if _asks_for_help(arguments):
        with exit_quietly_without_reader():
            print(command.help(arguments), flush=True)
        sys.exit(0)
    _run(lambda: command.parse(arguments), command.run)


def run_script(main: Callable[[], None]) -> None:
    """Runs the main function of a script, which has defined absl's global flags, as `run_command` runs a command.

    Args:
      main: reads the parsed flags itself.
    """
    if _asks_for_help(sys.argv):
        with exit_quietly_without_reader():
            modules = flags.FLAGS.flags_by_module_dict()  # also of libraries
            own = [flag for name in (sys.argv[0], define_config_flag.__module__) for flag in modules.get(name, [])]
            print(help_text(sys.modules[main.__module__].__doc__ or "", own, sys.argv), flush=True)
        sys.exit(0)

    def parse() -> flags.FlagValues:
        parse_flags(flags.FLAGS, sys.argv)
        return flags.FLAGS

    _run(parse, lambda _: main())


def quiet_libraries() -> None:
    """Hides warnings of libraries that are meant for their developers. To be called before the libraries are imported.

    Also keeps TensorFlow from importing Keras, and with it pandas and pyplot, none of which this package uses.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the import of JAX would set it to 1
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # otherwise TensorFlow announces these at its import
    warnings.filterwarnings("ignore", module=r"(orbax|flax|jax|tensorflow|PIL)(\.|$)")
    sys.unraisablehook = signals.resend_unraisable_interrupt
    flags.FLAGS.mark_as_parsed()  # commands have flags of their own; absl would print a line before the first warning
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().setFormatter(python_logging.Formatter("%(levelname)s: %(message)s"))


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return any(argument in ("--help", "-help", "-h", "--helpfull", "-helpfull") for argument in arguments[1:])


def _run(parse: Callable[[], flags.FlagValues], main: Callable[[flags.FlagValues], None]) -> None:
    quiet_libraries()
    try:
        with exit_quietly_without_reader():
            values = parse()
            _load_libraries()
            from stlight_jax.parallel import distributed

            signals.raise_on_signals()
            with distributed.lost_process_errors():
                main(values)
    except StlightError as error:
        _exit(error, f"{error}" if isinstance(error, PreemptedError) else f"error: {error}", error.exit_status)
    except (KeyboardInterrupt, Exception) as error:
        interrupt = signals.find_interrupt(error)
        if isinstance(interrupt, TerminationInterrupt):
            _exit(error, "terminated", interrupt.exit_status)
        if interrupt is not None:
            _exit(error, "interrupted", _INTERRUPTED)
        message = _bucket_message(error)
        if message is not None:
            _exit(error, message, StlightError.exit_status)
        if isinstance(error, PermissionError) and error.filename:
            _exit(error, f"error: {error.filename}: permission denied; get the right to use it", InputError.exit_status)
        if _is_one_of_several():
            traceback.print_exc()
            _leave(error, _DEFECT)
        raise


def _load_libraries() -> None:
    """Imports JAX and makes it keep compiled programs in a folder of this machine, unless the user has named another."""
    import jax

    from stlight_jax.storage import caches

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(caches.folder() / f"compiled-{caches.processor()}"))


def _exit(error: BaseException, message: str, status: int) -> None:
    with contextlib.suppress(OSError):  # standard error may have lost its reader, too
        print(message, file=sys.stderr)
    _leave(error, status)
    sys.exit(status)


def _is_one_of_several() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def _leave(error: BaseException, status: int) -> None:
    if _is_one_of_several():
        from stlight_jax.parallel import distributed

        distributed.shut_down(error, status)


def _bucket_message(error: BaseException) -> str | None:
    """Returns the line for an error of a bucket, None for any other error."""
    from stlight_jax.console.messages import one_line
    from stlight_jax.storage import paths

    if not paths.is_bucket_error(error):
        return None
    return f"error: a bucket failed to answer, {type(error).__name__}: {one_line(error)}"


@contextlib.contextmanager
def exit_quietly_without_reader() -> Iterator[None]:
    """Ends the process with status 0 if the reader of standard output has gone, as in `stlight inspect ... | head -1`.

    Raises:
      BrokenPipeError: if another pipe than standard output has lost its reader.
    """
    try:
        yield
        print(end="", flush=True)
    except BrokenPipeError:
        poll = select.poll()
        poll.register(sys.stdout, 0)
        if not poll.poll(0):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes standard output at its exit
        sys.exit(0)
