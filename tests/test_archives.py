"""What a wheel and an sdist contain, and where the package `configs` is found."""

import configparser
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.archives import build, copy_sources
from tests.commands import ROOT

PACKAGE = ROOT / "stlight_jax"


def test_setup_cfg_lists_all_packages():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("*.py")}
    wanted = {".".join(folder.parts) for folder in folders} | {"stlight_jax.configs", "stlight_jax.examples"}
    assert parser["options"]["packages"].split() == sorted(wanted)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return copy_sources(tmp_path_factory.mktemp("sources"))


def packed_files(sources):
    """The files of an archive, data included, under the names that they have in a wheel."""
    files = {path.relative_to(sources).as_posix() for path in (sources / "stlight_jax").rglob("*") if path.is_file()}
    beside = [*(sources / "configs").glob("*.py"), *(sources / "examples").glob("*.py"), *(sources / "examples/data").iterdir()]
    return files | {f"stlight_jax/{path.relative_to(sources).as_posix()}" for path in beside}


def test_the_wheel_has_all_files_of_the_package_and_no_others(sources, tmp_path):
    expected = packed_files(sources)
    assert {"stlight_jax/py.typed", "stlight_jax/inference/shipped/tiny.stlight", "stlight_jax/configs/kth.py"} < expected
    assert {"stlight_jax/examples/data/knmi_radar.npz", "stlight_jax/examples/data/README.md"} < expected
    names = zipfile.ZipFile(build(sources, "wheel", tmp_path)).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/stlight_jax/data/digits/LICENSE") for name in names)


def test_the_sdist_has_all_files_of_the_package_and_the_entry_points(sources, tmp_path):
    beside = ("stlight_jax/configs/", "stlight_jax/examples/")
    expected = {name.removeprefix("stlight_jax/") if name.startswith(beside) else name for name in packed_files(sources)}
    with tarfile.open(build(sources, "sdist", tmp_path)) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert expected | {"train.py", "eval.py", "setup.cfg", "pyproject.toml", "LICENSE"} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def where_configs_are(folder, code="", **environment):
    """The folder of `stlight_jax.configs` in a Python without installed packages, started elsewhere."""
    code += "\nimport stlight_jax.configs\nprint(stlight_jax.configs.__path__[0])"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    result = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return pathlib.Path(result.stdout.strip())


def test_an_editable_install_finds_the_configs(sources, tmp_path):
    (tmp_path / "built").mkdir()
    with zipfile.ZipFile(build(sources, "editable", tmp_path / "built")) as wheel:
        wheel.extractall(tmp_path / "site")
    (finder,) = (tmp_path / "site").glob("__editable__*.py")
    assert f"'stlight_jax.configs': '{sources}/configs'" in finder.read_text()
    code = f"import site; site.addsitedir({str(tmp_path / 'site')!r})"
    assert where_configs_are(tmp_path, code) == sources / "configs"


def test_a_checkout_on_the_path_finds_its_configs(tmp_path):
    assert where_configs_are(tmp_path, PYTHONPATH=str(ROOT)) == ROOT / "configs"
