"""A training on a CPU keeps freed memory, so that the arrays of its steps do not cost page faults."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from stlight_jax.training import kept_memory

FAULTS = """
import resource
import jax
import jax.numpy as jnp
from stlight_jax.training.kept_memory import keep_freed_memory

if {called}:
    keep_freed_memory()
array = jnp.ones(2**24)
double = jax.jit(lambda x: 2 * x)
for _ in range(16):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    double(array).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
LARGE_PAGES = 32  # of an array
TUNED = "glibc.malloc.mmap_threshold=131072"


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
@pytest.mark.parametrize(("called", "tunables", "keeps"), [(True, "", True), (False, "", False), (True, TUNED, False)])
def test_an_array_like_earlier_ones_costs_page_faults_unless_memory_is_kept(called, tunables, keeps, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    command = [sys.executable, "-c", FAULTS.format(called=called)]
    faults = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (faults < LARGE_PAGES / 2) == keeps, faults


@pytest.mark.parametrize(
    ("platforms", "installed", "expected"),
    [("cpu", "libtpu", True), ("cuda,cpu", "", False), (None, "", True), (None, "libtpu", False), (None, "jax_plugins", False)],
)
def test_memory_is_kept_for_cpus_only(platforms, installed, expected, monkeypatch):
    settings = []
    monkeypatch.setattr(
        kept_memory.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *setting: settings.append(setting))
    )
    monkeypatch.setattr(kept_memory.jax, "config", SimpleNamespace(values={"jax_platforms": platforms}))
    monkeypatch.setattr(kept_memory.importlib.metadata, "entry_points", lambda group: [])
    monkeypatch.setattr(kept_memory.importlib.util, "find_spec", lambda name: name == installed)
    monkeypatch.setattr(kept_memory.sys, "platform", "linux")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    kept_memory.keep_freed_memory()
    assert bool(settings) == expected
