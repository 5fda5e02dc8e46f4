"""The package as a dependency of others."""

import ast
import subprocess
import sys

import pytest

import stlight_jax
from tests.conftest import ROOT

PACKAGE = ROOT / "stlight_jax"


@pytest.mark.parametrize(
    ("statement", "libraries"),
    [
        ("import stlight_jax", ("jax", "flax", "tensorflow", "torch", "orbax")),
        ("from stlight_jax import *", ("tensorflow", "torch", "orbax")),
        ("from stlight_jax.training import loop", ("tensorflow", "torch")),
        ("from stlight_jax.scoring import evaluate", ("tensorflow", "torch")),
        ("from stlight_jax.data import prepare", ("tensorflow", "torch")),
    ],
)
def test_importing_the_package_imports_no_more_than_it_needs(statement, libraries):
    code = f"import sys\n{statement}\nprint([library for library in {libraries} if library in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr


def test_what_the_package_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Forecast'"):
        _ = stlight_jax.Forecast


def imported(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_each_big_library_is_known_where_the_design_says():
    data = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "data").rglob("*.py")}
    allowed = {
        "tensorflow": {"data/pipeline.py"},
        "tensorflow_datasets": data,
        "orbax": {"runs/checkpoint.py"},
        "matplotlib": {"reports/pictures.py", "torch_reference/compare.py", "tpu_planning/tpu_table.py"},
        "torch": {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "torch_reference").glob("*.py")},
    }
    for path in PACKAGE.rglob("*.py"):
        for library in imported(path) & allowed.keys():
            assert path.relative_to(PACKAGE).as_posix() in allowed[library], (path, library)


def test_entry_points_are_thin():
    for name in ("train.py", "eval.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 60


def test_embedded_digits_are_small_and_have_their_licence():
    digits = PACKAGE / "data" / "digits"
    assert sum(path.stat().st_size for path in digits.iterdir()) < 2_000_000
    assert "Attribution-Share Alike 3.0" in (digits / "LICENSE").read_text()
