"""Interrupts are neither lost nor misreported, whatever library receives them."""

import contextlib
import signal
import sys
import time

import pytest

from stlight_jax.console.progress import Progress
from stlight_jax.console.signals import DeferInterrupts, raise_termination, resend_unraisable_interrupt
from stlight_jax.errors import TerminationInterrupt

both_signals = pytest.mark.parametrize(
    ("number", "handler", "error"),
    [(signal.SIGINT, signal.default_int_handler, KeyboardInterrupt), (signal.SIGTERM, raise_termination, TerminationInterrupt)],
)


@both_signals
def test_ctrl_c_and_sigterm_end_the_work_even_if_a_library_swallows_them(number, handler, error):
    before = signal.signal(number, handler)
    try:
        with Progress("working", 3) as progress:
            with contextlib.suppress(BaseException):
                signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt) as raised:
                progress.advance(1)
        assert raised.type is error
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


@DeferInterrupts()
def fail_instead(number):
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        raise ValueError("a library's") from None


@both_signals
def test_what_a_library_makes_an_error_of_its_own_is_still_an_interrupt(number, handler, error):
    before = signal.signal(number, handler)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            fail_instead(number)
    finally:
        signal.signal(number, before)
    assert raised.type is error


class Interrupting:
    """As a callback of the garbage collector: Python can only report what is raised here."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


def work(number, shown):
    with Progress("working", 3) if shown else contextlib.nullcontext() as progress:
        Interrupting(number)
        if shown == "advance":
            progress.advance(1)
        if not shown:
            time.sleep(30)


@both_signals
@pytest.mark.parametrize("shown", ["", "advance", "end"])
def test_what_python_cannot_raise_comes_again_and_says_nothing(monkeypatch, capsys, number, handler, error, shown):
    monkeypatch.setattr(sys, "unraisablehook", resend_unraisable_interrupt)
    before = signal.signal(number, handler)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            work(number, shown)
    finally:
        signal.signal(number, before)
    assert raised.type is error
    assert capsys.readouterr().err == ""


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
