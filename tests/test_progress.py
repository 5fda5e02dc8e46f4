"""Progress, and what interrupts it."""

import contextlib
import signal

import pytest

from stlight_jax.progress import Progress


def test_ctrl_c_ends_the_work_even_if_a_library_swallows_it():
    with Progress("working", 3) as progress:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            progress.advance(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_listens_to_ctrl_c_already_goes_on_doing_so(monkeypatch):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with Progress("working", 3) as progress:
            signal.raise_signal(signal.SIGINT)
            progress.advance(1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1]
