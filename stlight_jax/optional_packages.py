"""Imports of packages that an installation can lack."""

import importlib
from types import ModuleType

from stlight_jax.console.messages import one_line
from stlight_jax.console.signals import find_interrupt
from stlight_jax.errors import InputError


def import_optional(module: str, missing: str) -> ModuleType:
    """Imports a module of a package that need not be installed.

    Args:
      module: Name of the module.
      missing: Message if its package is not installed.

    Raises:
      InputError: The package is not installed, or it is and cannot be imported, such as for want of a library of the system.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if find_interrupt(error) is not None:  # not the package's fault
            raise
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise InputError(missing) from None
        raise InputError(f"{package} is installed, but cannot be imported ({one_line(error)}); install it anew") from error
