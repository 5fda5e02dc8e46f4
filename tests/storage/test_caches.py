"""The cache of users without a home: compiled code is loaded from it, so no other user may write there."""

import os
import tempfile

import pytest

from stlight_jax.storage import caches


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files of a user without a home."""

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(caches.pathlib.Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_home_has_a_folder_that_others_cannot_write(temporary):
    assert caches.folder() == caches.folder() == temporary / f"cache-{os.getuid()}" / "stlight_jax"
    assert caches.folder().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["shared folder", "link", "file"])
def test_a_name_that_another_user_may_have_taken_is_not_used(kind, temporary):
    taken = temporary / f"cache-{os.getuid()}"
    if kind == "shared folder":
        taken.mkdir()
        taken.chmod(0o777)
    elif kind == "link":
        (temporary / "elsewhere").mkdir()
        taken.symlink_to(temporary / "elsewhere")
    else:
        taken.touch()
    folder = caches.folder()
    assert folder == caches.folder()  # the same in one process
    assert folder.parent.parent == temporary
    assert folder.parent != taken
    assert folder.parent.stat().st_mode & 0o777 == 0o700
