"""The package as a dependency of others, and its architecture: layers, names, libraries."""

import ast
import collections
import graphlib
import pathlib
import subprocess
import sys

import pytest

import stlight_jax
from tests.conftest import ROOT

PACKAGE = ROOT / "stlight_jax"
# Imports go from a layer to a lower one, and within a package.
LAYERS = {
    "configs": 11,
    "__main__": 10.5, "commands": 10,  # one layer, in which `__main__` chooses a command
    "forecasting": 9, "scoring": 9, "torch_reference": 9, "tpu_planning": 9,
    "training": 8, "reports": 8,
    "evaluation": 7,
    "inference": 6,
    "runs": 5, "parallel": 5,
    "metrics": 4, "data": 4,
    "model": 3,
    "config": 2, "storage": 2,
    "optional_packages": 1.5,
    "console": 1,
    "errors": 0, "version": 0, "checkout": 0, "deprecated": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "libraries"),
    [
        ("import stlight_jax", ("jax", "flax", "tensorflow", "torch", "orbax", "numpy", "etils", "rich")),
        ("from stlight_jax import *", ("tensorflow", "torch", "orbax")),
        ("from stlight_jax.training import loop", ("tensorflow", "torch")),
        ("from stlight_jax.scoring import evaluate", ("tensorflow", "torch")),
        ("from stlight_jax.data import prepare", ("tensorflow", "torch")),
        ("import stlight_jax.config", ("jax", "flax", "tensorflow", "torch", "orbax")),
    ],
)
def test_importing_the_package_imports_no_more_than_it_needs(statement, libraries):
    code = f"import sys\n{statement}\nprint([library for library in {libraries} if library in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr


def test_what_the_package_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Forecast'"):
        _ = stlight_jax.Forecast


def modules():
    """The files of all modules, by name: `data.pipeline`, `data` for the package's own file."""
    files = {path.relative_to(PACKAGE): path for path in PACKAGE.rglob("*.py")}
    files |= {pathlib.Path("configs") / path.name: path for path in (ROOT / "configs").glob("*.py")}
    return {
        ".".join((file.parent if file.name == "__init__.py" else file.with_suffix("")).parts): path
        for file, path in files.items()
    }


def imported(path):
    """Full names of everything that a file imports, anywhere in it: `stlight_jax.data.load`, `absl.flags`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            constants = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
            names |= {str(name).rstrip(".") for name in constants[:1]}
    return names


def imports_within():
    """The modules of the package that each of its modules imports."""
    known = modules()
    graph = {}
    for module, path in known.items():
        targets = set()
        for name in imported(path):
            if name == "stlight_jax" or name.startswith("stlight_jax."):
                target = name.removeprefix("stlight_jax").removeprefix(".")
                targets.add(target if target in known else target.rpartition(".")[0])
        graph[module] = targets - {module}
    return graph


def test_imports_go_down_the_layers_only():
    """But for the package's own file, which hands out classes on first use."""
    upward = [
        f"{module} imports {target}"
        for module, targets in imports_within().items()
        for target in targets
        if module and target and (here := module.partition(".")[0]) != (there := target.partition(".")[0])
        if LAYERS[here] <= LAYERS[there]
    ]
    assert not upward


def test_every_package_has_a_layer():
    assert {module.partition(".")[0] for module in modules()} - {""} == LAYERS.keys()


def test_no_modules_import_each_other_in_a_circle():
    """`configs` is read as files by the commands, so nothing below imports it."""
    graph = imports_within()
    graph[""] = set()
    list(graphlib.TopologicalSorter(graph).static_order())


def test_names_of_modules_are_unique():
    """But for a command's file, which bears the command's name, and a config's, which bears its data set's."""
    names = collections.Counter(
        module.rpartition(".")[2] for module in modules() if module.partition(".")[0] not in ("commands", "configs")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_names_of_public_classes_are_unique():
    """But for the PyTorch reference, which has the paper's names, too."""
    places = collections.defaultdict(list)
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not module.startswith("torch_reference"):
                places[node.name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("tensorflow", ("data",)),
        ("tensorflow_datasets", ("data",)),
        ("torch", ("torch_reference",)),
        ("orbax", ("runs.checkpoint", "runs.checkpoint_writer")),
        ("matplotlib", ("reports",)),
        ("onnx", ("inference",)),
        ("onnxruntime", ("inference.onnx_file",)),
        ("absl.flags", ("commands",)),
        ("ml_collections.config_flags", ("commands",)),
        ("jax.experimental.multihost_utils", ("parallel",)),
    ],
)
def test_each_big_library_is_known_where_the_design_allows_it(library, places):
    for module, path in modules().items():
        if any(name == library or name.startswith(f"{library}.") for name in imported(path)):
            assert any(module == place or module.startswith(f"{place}.") for place in places), module


def test_entry_points_are_thin():
    for name in ("train.py", "eval.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 20


def test_embedded_digits_are_small_and_have_their_licence():
    digits = PACKAGE / "data" / "digits"
    assert sum(path.stat().st_size for path in digits.iterdir()) < 2_000_000
    assert "Attribution-Share Alike 3.0" in (digits / "LICENSE").read_text()
