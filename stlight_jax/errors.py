"""The errors a user can meet, each with its exit status. Everything else is a defect and keeps its traceback."""

from __future__ import annotations


class StlightError(Exception):
    """Ends a command with one line on standard error and `exit_status`."""

    exit_status = 1


class InputError(StlightError, ValueError):
    """Bad input or configuration: the message says what was found, what was wanted and what to change."""

    exit_status = 2


class NonFiniteLossError(StlightError, ArithmeticError):
    """Training met a loss or gradient that is not finite."""

    exit_status = 3


class PreemptedError(StlightError):
    """Training was told to stop, saved, and stopped."""

    exit_status = 75


class TerminationInterrupt(KeyboardInterrupt):
    """SIGTERM came: a command ends and cleans up as after Ctrl-C."""

    exit_status = 143


class LockLostError(StlightError):
    """Another process has taken over the folder that this one was writing to."""


class LostProcessError(StlightError):
    """Another process of the same run is gone."""


class ParityError(StlightError):
    """Two implementations that must agree do not."""
