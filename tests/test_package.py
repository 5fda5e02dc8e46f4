"""The package as a dependency of others."""

import ast
import subprocess
import sys

from tests.conftest import ROOT

PACKAGE = ROOT / "stlight_jax"


def test_importing_the_package_imports_no_tensorflow_torch_or_orbax():
    code = "import sys, stlight_jax; print([m for m in ('tensorflow', 'torch', 'orbax') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr


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
        "tensorflow": {*data, "training/log.py"},
        "tensorflow_datasets": data,
        "orbax": {"training/checkpoint.py"},
        "matplotlib": {"evaluation/pictures.py", "baseline/compare.py", "pods/report.py"},
        "torch": {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "baseline").glob("*.py")},
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
