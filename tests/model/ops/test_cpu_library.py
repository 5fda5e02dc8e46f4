"""How the kernels are compiled and stored, and the messages if they cannot be."""

import concurrent.futures
import os
import shutil
import stat
import subprocess
import sys

import pytest

from stlight_jax.model.ops import cpu_library
from stlight_jax.model.ops.cpu_library import CpuLibrary
from tests.model.compiled_kernels import COMPILER_FAILED

SOURCES = ("cpu_kernels.cc", "cpu_mixers.cc")
COMPILATIONS = len(SOURCES) + 1  # each source, then the library
CODE = f"""
from stlight_jax.model.ops.cpu_library import CpuLibrary
print(repr(CpuLibrary("tests", {SOURCES}, ["stlight_convolve"]).why_unavailable()))
"""


@pytest.fixture
def compiler(tmp_path):
    """A stand-in for a compiler: a script that logs its calls and then runs a command."""

    def make(then):
        path = tmp_path / "compiler"
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ "$1" = --version ] && exit 0\n{then}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


@pytest.fixture
def passing(compiler):
    """A stand-in for a compiler that makes a library which works."""
    real = next(name for name in ("c++", "g++", "clang++") if shutil.which(name))
    made = CpuLibrary("tests", SOURCES, []).load([real])._name  # which takes some 20 seconds, if no other test has made it
    return compiler(f'for last; do :; done; cp {made} "$last"')  # the last argument is where it is wanted


def why(cache, compiler):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "CXX": str(compiler)}
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().strip("'\""), result.stderr


def stored_library(cache):
    """Returns the only file of a cache."""
    (library,) = (cache / "stlight_jax" / "kernels").iterdir()
    return library


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path, compiler):
    failing = compiler('echo "cpu_kernels.cc:1:1: error: no such thing" >&2; exit 1')
    reason, _ = why(tmp_path / "cache", failing)
    assert f"{COMPILER_FAILED}: cpu_kernels.cc:1:1: error: no such thing" in reason
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_compiler_that_hangs_is_stopped(tmp_path, compiler, monkeypatch):
    monkeypatch.setenv("CXX", str(compiler("echo thinking >&2; sleep 30")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu_library, "_COMPILER_SECONDS", 1)
    assert "the C++ compiler did not finish in 1 s" in CpuLibrary("tests", SOURCES, []).why_unavailable()


def test_the_library_is_made_once_and_again_if_it_is_broken(tmp_path, passing):
    cache = tmp_path / "cache"
    # A version each time; a compilation the first and the last time.
    for calls, warned in ((1 + COMPILATIONS, False), (2 + COMPILATIONS, False), (3 + 2 * COMPILATIONS, True)):
        if warned:
            library = stored_library(cache)
            library.write_bytes(library.read_bytes()[:1000])  # calling into this one would be a bus error
        reason, messages = why(cache, passing)
        assert reason == ""
        assert len((tmp_path / "calls").read_text().splitlines()) == calls
        assert ("is damaged and is compiled again" in messages) == warned


def test_without_room_in_the_cache_the_library_is_for_one_process(tmp_path, passing):
    (tmp_path / "cache").write_text("no folder")
    for calls in (1 + COMPILATIONS, 2 + 2 * COMPILATIONS):
        reason, messages = why(tmp_path / "cache", passing)
        assert reason == ""
        assert f"the CPU kernels are for this process only, {tmp_path}/cache/stlight_jax/kernels cannot hold them" in messages
        assert len((tmp_path / "calls").read_text().splitlines()) == calls


def test_a_library_that_cannot_be_read_is_made_again(tmp_path, passing):
    cache = tmp_path / "cache"
    assert why(cache, passing)[0] == ""
    library = stored_library(cache)
    library.unlink()
    library.mkdir()  # as unreadable as a file of another user, for root too
    reason, messages = why(cache, passing)
    assert reason == ""
    assert f"{library} cannot be used and is compiled again" in " ".join(messages.split())
    assert "the CPU kernels are for this process only" in messages


def test_on_a_disk_for_data_only_the_library_is_for_one_process(tmp_path, passing, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real = cpu_library.ctypes.CDLL

    def without_rights(path):
        if path.startswith(str(tmp_path / "cache")):
            raise OSError(f"{path}: failed to map segment from shared object")
        return real(path)

    monkeypatch.setattr(cpu_library.ctypes, "CDLL", without_rights)
    for _ in range(2):
        assert CpuLibrary("tests", SOURCES, []).load([str(passing)])._name.endswith("kernels.so")
    assert stored_library(tmp_path / "cache").stat().st_size > 1000


def test_processes_that_compile_at_the_same_time_leave_one_library(tmp_path, passing):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: why(tmp_path / "cache", passing), range(3)))
    assert [reason for reason, _ in found] == ["", "", ""]
    assert stored_library(tmp_path / "cache").stat().st_size > 1000


def test_a_quotation_mark_that_is_not_closed_is_named(monkeypatch):
    monkeypatch.setenv("CXX", 'g++ "-O1')
    assert CpuLibrary("tests", SOURCES, []).why_unavailable() == 'CXX is g++ "-O1, which is no command: No closing quotation'
