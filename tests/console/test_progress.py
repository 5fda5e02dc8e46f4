"""Progress where standard error is no terminal."""

from stlight_jax.console import progress as progress_module
from stlight_jax.console.progress import Progress


def test_what_is_on_its_way_is_shown_too(capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN_LINES", 0)
    with Progress("predicting", 3, unit="window") as progress:
        progress.note("frame 10/40")
        progress.advance(1)
        progress.note("frame 20/40")
    first, _, third = capsys.readouterr().err.splitlines()
    assert first == "predicting: window 0/3  frame 10/40  ETA ?"
    assert third.startswith("predicting: window 1/3  frame 20/40  ETA 0:0")
