"""A server that stands in for a bucket's, and the way to it."""

import contextlib
import re

import pytest
from etils import epath

from stlight_jax.storage import lease, paths
from tests.fake_gcs import FakeGcs


@pytest.fixture(scope="session")
def server():
    """A bucket of the name "bucket", to which gs:// leads."""
    with FakeGcs("bucket") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def place(server, request):
    """A folder in it, of this test alone, which must not ask for what object stores do not have."""
    path = f"gs://bucket/{re.sub('[^a-z_]', '_', request.node.name)}"
    paths.ready(path, checkpoints=True)
    yield epath.Path(path)
    assert not server.unknown


@pytest.fixture
def refuse(server, monkeypatch):
    """`with refuse(part):` every request with `part` in it is answered by a status of failure."""

    @contextlib.contextmanager
    def refuse(part, status=403):
        with monkeypatch.context() as patch:
            patch.setattr(server, "fault", lambda method, path: status if part in f"{method} {path}" else None)
            yield

    return refuse


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """An empty cache of this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stlight_jax"


@pytest.fixture
def quick(monkeypatch):
    """Locks that are found stale within a second."""
    monkeypatch.setattr(lease, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "_STALE_SECONDS", 0.6)
