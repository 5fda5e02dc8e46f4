"""The errors that a user can meet, with their exit statuses. Any other exception is a defect and keeps its traceback."""


class StlightError(Exception):
    """An error that ends a command with one line on standard error.

    Attributes:
      exit_status: status of the process.
    """

    exit_status = 1


class InputError(StlightError, ValueError):
    """Bad input or a bad config. The message names the key or file, the value found, the values expected, and the remedy.

    Args:
      message: the message.
      key: option of reading files that does not fit, such as "layout"; "" for other errors.
    """

    exit_status = 2

    def __init__(self, message: str = "", *, key: str = ""):
        super().__init__(message)
        self.key = key


class NonFiniteLossError(StlightError, ArithmeticError):
    """A loss or a gradient of the training is not finite."""

    exit_status = 3


class PreemptedError(StlightError):
    """The training has saved its state and stopped, as a signal requested."""

    exit_status = 75


class TerminationInterrupt(KeyboardInterrupt):
    """The process has received SIGTERM; the command cleans up and ends as after Ctrl-C.

    Attributes:
      exit_status: status of the process.
    """

    exit_status = 143


class LockLostError(StlightError):
    """Another process has taken over the folder that this process was writing to."""


class LostProcessError(StlightError):
    """Another process of the same run has failed or lost its connection."""


class ParityError(StlightError):
    """The results of two implementations differ by more than rounding."""
