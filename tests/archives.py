"""Building of wheels and sdists from a copy of the checkout."""

import pathlib
import shutil
import subprocess
import sys

from tests.commands import ROOT

_FILES = (
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CITATION.cff",
    "train.py",
    "eval.py",
)


def copy_sources(folder: pathlib.Path) -> pathlib.Path:
    """Copies what is packed to a folder, in which building leaves its own folders."""
    for name in ("stlight_jax", "configs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in _FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(sources: pathlib.Path, kind: str, out: pathlib.Path) -> pathlib.Path:
    """Builds a `wheel`, an `sdist` or an `editable` wheel with the installed setuptools."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=sources, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return out / result.stdout.splitlines()[-1]
