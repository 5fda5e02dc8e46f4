"""Imports of version 0.1 that have moved: they work, and warn where they stand."""

import importlib
import subprocess
import sys
import warnings

import pytest

from stlight_jax.deprecated import MODULES
from tests.commands import ROOT

# All that the README and the configs of version 0.1 show.
SHOWN = [
    ("baseline", "variables_from_torch", "stlight_jax.torch_reference.weights"),
    ("baseline", "torch_from_variables", "stlight_jax.torch_reference.weights"),
    ("data.builders", "BUILDERS", "stlight_jax.data.tfds_builders"),
    ("evaluation.run", "evaluate_workdir", "stlight_jax.scoring.evaluate"),
    ("inference.predict", "predict", "stlight_jax.forecasting.predict"),
    ("inference.predict", "Request", "stlight_jax.forecasting.predict"),
]
STAYED = [
    ("config", "base_config"),
    ("config", "check"),
    ("training.loop", "train"),
    ("inference.forecaster", "Forecaster"),
    ("inference.predictor", "Predictor"),
    ("model.stlight", "STLightConfig"),
    ("errors", "InputError"),
]


@pytest.fixture(autouse=True)
def not_imported_yet(monkeypatch):
    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"stlight_jax.{name}", raising=False)


@pytest.mark.parametrize(("module", "name", "place"), SHOWN)
def test_an_old_import_gives_the_same_object_with_a_warning_that_names_the_new_place(module, name, place):
    with pytest.warns(DeprecationWarning, match=f"stlight_jax.{module} has moved to {place};") as caught:
        exec(f"from stlight_jax.{module} import {name} as found", scope := {})
    assert scope["found"] is getattr(importlib.import_module(place), name)
    assert caught[-1].filename == "<string>"  # the line with the import


def test_the_builders_of_version_0_1_are_known_to_tfds():
    code = (
        "import warnings\nwarnings.simplefilter('ignore')\nimport stlight_jax.data.builders\n"
        "import tensorflow_datasets as tfds\nprint(tfds.builder_cls('kth').__module__)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "stlight_jax.data.tfds_builders", result.stderr


def test_a_function_that_has_left_its_module_warns_with_its_new_name():
    place = "stlight_jax.data.prepared_benchmark.BenchmarkSection.default_config"
    with pytest.warns(DeprecationWarning, match=f"stlight_jax.config.benchmark_data has moved to {place};") as caught:
        exec("from stlight_jax.config import base_config, benchmark_data", scope := {})
    assert scope["benchmark_data"]()["colour_order"] == "openstl"
    assert caught[-1].filename == "<string>"


@pytest.mark.parametrize(("module", "name"), STAYED)
def test_what_has_not_moved_gives_no_warning(module, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        assert hasattr(importlib.import_module(f"stlight_jax.{module}"), name)


@pytest.mark.filterwarnings("ignore:stlight_jax")
@pytest.mark.parametrize("old", MODULES)
def test_every_moved_module_is_found(old):
    try:
        found = importlib.import_module(f"stlight_jax.{old}")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        pytest.skip(f"needs {error.name}")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; see stlight_jax"):
        found.nothing  # noqa: B018


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match="stlight_jax.basline"):
        importlib.import_module("stlight_jax.basline")
