"""Messages on standard error, read or not, and errors on one line."""

import os
import subprocess
import sys

from stlight_jax.console.messages import each_message_once, one_line, print_message
from tests.conftest import ROOT


def test_what_nobody_reads_on_standard_error_is_no_reason_to_end():
    code = "from stlight_jax.console.progress import print_message\nprint_message('here')\nprint('there')"
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    assert (result.returncode, result.stdout) == (0, b"there\n")


def test_an_error_is_one_line_that_keeps_its_beginning_and_its_end():
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert one_line(KeyError()) == "KeyError"
    long = one_line(OSError("first " + "x" * 1000 + " last"))
    assert long.startswith("first xxx")
    assert long.endswith("xxx last")
    assert len(long) < 310
    failed = subprocess.CalledProcessError(1, "c++", stderr=b"note: x\na.cc:1: error: no type\nerror: 2")
    assert one_line(failed) == "a.cc:1: error: no type"


def test_equal_messages_of_one_task_are_printed_once(capsys):
    with each_message_once():
        for message in ("a", "b", "a"):
            print_message(message)
        with each_message_once():
            print_message("b")
        print_message("a")
    print_message("a")
    assert capsys.readouterr().err.split() == ["a", "b", "a"]
