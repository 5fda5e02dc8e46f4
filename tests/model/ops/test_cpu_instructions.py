"""The kernels that processors with fewer instructions get, on this processor."""

import os
import platform
import shutil
import stat
import subprocess
import sys

import pytest

from stlight_jax.model.ops import cpu_training
from stlight_jax.storage import caches
from tests.conftest import ROOT
from tests.model import compiled_kernels

COMPILER = """#!/bin/sh
for argument; do
  shift
  [ "$argument" = -march=native ] && argument="{option}"
  set -- "$@" $argument  # an option may be two
done
exec {real} "$@"
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("option", "needed"),
    [
        ("-march=x86-64", "sse2"),  # vectors of 4
        ("-march=haswell", "avx2"),  # vectors of 8
        ("-march=skylake-avx512", "avx512f"),  # vectors of 16, no conversion to bfloat16
        ("-march=cooperlake -DSTLIGHT_PRODUCTS_OF_PAIRS", "avx512_bf16"),  # products of bfloat16, as on AMD's processors
    ],
)
def test_kernels_for_other_processors_pass_the_same_tests(option, needed, tmp_path):
    compiled_kernels.require(cpu_training)
    if platform.machine() != "x86_64" or needed not in caches.processor_features().split():
        pytest.skip(f"this processor does not have {needed}")
    compiler = tmp_path / "compiler"
    real = next(path for path in map(shutil.which, ("c++", "g++", "clang++")) if path)
    compiler.write_text(COMPILER.format(option=option, real=real))
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    tests = [f"tests/model/ops/test_cpu_{name}.py" for name in ("mixers", "training")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path), "CXX": str(compiler)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not long", *tests]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "skipped" not in result.stdout
    assert len(list((tmp_path / "stlight_jax" / "kernels").iterdir())) == 2  # made by this compiler
