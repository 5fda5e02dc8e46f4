"""What all tests of predict have."""

import pytest


@pytest.fixture(autouse=True)
def current_folder(tmp_path, monkeypatch):
    """Where the command is run."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"
