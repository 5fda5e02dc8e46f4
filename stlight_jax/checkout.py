"""Finds the package `stlight_jax.configs` in a checkout, where it is the folder `configs` beside this package."""

import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = pathlib.Path(__file__).parent
_NAME = "stlight_jax.configs"


class _ConfigsFinder:
    """Finds `configs` of this checkout before an editable installation finds that of another one."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns where `stlight_jax.configs` is; None for any other module."""
        folder = _PACKAGE.parent / "configs"
        if fullname != _NAME:
            return None
        return importlib.util.spec_from_file_location(_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])


def find_configs() -> None:
    """Makes `stlight_jax.configs` importable from a checkout; in an installed wheel it is an ordinary package."""
    if not (_PACKAGE / "configs").is_dir() and (_PACKAGE.parent / "configs" / "__init__.py").is_file():
        sys.meta_path.insert(0, _ConfigsFinder)
