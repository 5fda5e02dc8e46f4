"""Settings of the whole test session: eight simulated devices, no accelerator but for `make test-gpu`."""

import gc
import os
import pathlib
import runpy
import signal
import tempfile

# Before jax is imported, here and in every process that the tests start. Compiled programs are shared through a folder, the
# smallest, too: a run has dozens of them, and together they take as long as the largest.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="stlight_compiled_"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("XDG_CACHE_HOME", tempfile.mkdtemp(prefix="stlight_cache_"))
os.environ["JAX_PLATFORMS"] = os.environ.get("STLIGHT_TEST_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8").strip()
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"  # but see pytest_runtest_setup
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import ml_collections
import pytest

from stlight_jax import STLightConfig
from tests.commands import ROOT

pytest_plugins = ["tests.networks", "tests.buckets"]


def pytest_configure() -> None:
    """A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C.

    And at Python's own pace the garbage collector takes a tenth of their time, to find hardly anything.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.set_threshold(50_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest, those of whole runs, so that no process is left with one of them while the others are done."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/training", "tests/parallel")))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: how what this test, and what it starts, compiles is optimised.

    Compiling takes most of the time of a short run. The numbers of the network, of its operations and of the metrics are
    checked as users compile them, and so is everything in the long tests.
    """
    fast = item.get_closest_marker("compiled_fast") is not None and item.get_closest_marker("long") is None
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != str(int(fast)):
        jax.clear_caches()  # of programs in memory, which do not know how they were compiled
        jax.config.update("jax_disable_most_optimizations", fast)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(fast))


@pytest.fixture
def test_data() -> pathlib.Path:
    """The folder of real data sets; tests that want it are skipped without it."""
    folder = os.environ.get("STLIGHT_TEST_DATA")
    if not folder:
        pytest.skip("STLIGHT_TEST_DATA is not set")
    return pathlib.Path(folder)


@pytest.fixture
def small_model() -> STLightConfig:
    """A network small enough to check by hand, with every part in it."""
    return STLightConfig(
        in_frames=3, out_frames=4, in_channels=2, out_channels=1, hidden_dim=8, depth=3, patch_size=2, overlap=2,
        near_kernel=3, far_kernel=3, dilation=2,
    )  # fmt: skip


def load_config(size: str, name: str = "moving_mnist") -> ml_collections.ConfigDict:
    """A size of `configs/NAME.py`."""
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](size)


@pytest.fixture
def small_run() -> ml_collections.ConfigDict:
    """A run of six steps that takes seconds: 16x16 frames, 3 -> 2, two blocks, none of them before the skip."""
    return small_config()


def small_config() -> ml_collections.ConfigDict:
    """What `small_run` gives."""
    config = load_config("tiny")
    config.model.update(
        in_frames=3, out_frames=2, hidden_dim=16, depth=2, near_kernel=3, far_kernel=3, dilation=2, scan_unroll=1
    )
    config.data.update(image_size=16, digit_size=7, sequences_per_epoch=24, validation_sequences=5, test_sequences=5)
    config.model.shortcut = "none"
    config.train.update(batch_size=8, epochs=2, checkpoint_every=2, log_every=1, tensorboard=False)
    config.train.update(loss="squared", ema_decay=0.0)
    config.evaluation.update(batch_size=8, pictures=2)
    return config
