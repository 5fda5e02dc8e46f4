"""Fixtures for a bucket on a server that stands in for Google Cloud Storage."""

import contextlib
import re

import pytest
from etils import epath

from stlight_jax.storage import locks, paths
from tests.fake_gcs import FakeGcs


@pytest.fixture(scope="session")
def server():
    """The server, with a bucket named "bucket"; gs:// paths lead to it."""
    with FakeGcs("bucket") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket_folder(server, request):
    """A folder in the bucket for one test. Afterwards, checks that the server knew all requests."""
    path = f"gs://bucket/{re.sub('[^a-z_]', '_', request.node.name)}"
    paths.connect(path, checkpoints=True)
    yield epath.Path(path)
    assert not server.unknown


@pytest.fixture
def refuse(server, monkeypatch):
    """`with refuse(part):` makes the server answer every request that contains `part` with an error."""

    @contextlib.contextmanager
    def refuse(part, status=403):
        with monkeypatch.context() as patch:
            patch.setattr(server, "fault", lambda method, path: status if part in f"{method} {path}" else None)
            yield

    return refuse


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """An empty cache folder of this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stlight_jax"


@pytest.fixture
def quick_locks(monkeypatch):
    """Makes locks in a bucket stale within a second."""
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(locks, "_STALE_SECONDS", 0.6)
