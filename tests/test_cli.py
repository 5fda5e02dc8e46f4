"""The commands as a clumsy user meets them: one line, the right exit status, no traceback."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.commands import ROOT, run


def test_a_second_start_says_no_more_than_the_first(tmp_path):
    """JAX 0.10 on a CPU takes every program read back for one of another machine, and says so at great length."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for chosen in ("TF_CPP_MIN_LOG_LEVEL", "JAX_COMPILATION_CACHE_DIR"):
        environment.pop(chosen, None)
    code = "from stlight_jax.commands import cli\nimport jax\ncli.run(lambda: jax.jit(lambda x: x @ x)(jax.numpy.ones((9, 9))))"
    for _ in range(2):
        result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
        assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.rglob("jit__lambda*"))


LATER = "stopped before the first step, so nothing had to be saved; run the same command to resume\n"


@pytest.mark.parametrize(
    ("command", "number", "status", "said"),
    [
        (["-m", "stlight_jax", "predict", "a.npy"], signal.SIGINT, 130, "interrupted\n"),
        (["train.py"], signal.SIGINT, 130, "interrupted\n"),
        (["eval.py"], signal.SIGINT, 130, "interrupted\n"),
        (["train.py"], signal.SIGTERM, 75, LATER),
    ],
)
def test_a_signal_while_libraries_load_is_one_line(tmp_path, command, number, status, said):
    (tmp_path / "jax.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")  # the first to be imported
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, **pipes)
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (status, said)


def test_inspect_json_gives_the_published_counts():
    result = run("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py:L", "--json")
    assert result.returncode == 0, result.stderr
    total = json.loads(result.stdout)["total"]
    assert total["parameters"] == 32_879_710
    assert total["paper"] / 1e9 == pytest.approx(32.279, abs=5e-4)
    assert total["true"] / 1e9 == pytest.approx(33.609, abs=5e-4)


def test_inspect_says_that_the_paper_leaves_depthwise_out():
    result = run("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py:tiny")
    assert "the depthwise convolutions, which the paper leaves out" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "stlight_jax", "inspekt"), "no command 'inspekt'; choose one of inspect"),
        (("-m", "stlight_jax", "inspect"), "--config must have a value"),
        (("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py:Q"), "no size 'Q'; choose one of tiny, XS"),
        (("-m", "stlight_jax", "inspect", "--config=configs/nothing.py"), "No such file or directory: 'configs/nothing.py"),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py", "--config.model.hiden_dim=3"),
            'Did you mean "hidden_dim" instead of "hiden_dim"?',
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py", "--config.model.depth=deep"),
            "--config.model.depth=deep: invalid literal for int()",
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py", "--config.model.depth=1"),
            "model.depth is 1; it must be at least 2",
        ),
        (("train.py", "--config=configs/moving_mnist.py:tiny"), "--workdir must have a value"),
        (("train.py", "--confg=configs/moving_mnist.py:tiny"), "Unknown command line flag 'confg'. Did you mean: config"),
        (("eval.py", "--workdir=/nowhere"), "/nowhere/checkpoints: no checkpoint here"),
        (("eval.py", "--workdir=x", "tiny"), "unexpected argument 'tiny'"),
        (("-m", "stlight_jax", "predict", "--model", "tiny", "a.npy", "--horizon=3"), "a.npy: there is no such file or folder"),
        (("-m", "stlight_jax", "predict", "a.npy", "--model=tiny", "b.npy"), "unexpected argument 'b.npy'"),
        (
            ("-m", "stlight_jax", "prepare", "--raw=a", "ktth", "--out=b"),
            "--dataset=ktth: value should be one of <taxibj|kth|kitti_caltech|moving_fashion_mnist|",
        ),
        (("-m", "stlight_jax", "prepare", "kth", "--out=b"), "--raw must have a value"),
    ],
)
def test_mistakes_get_one_line_and_exit_status_2(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2, result.stderr
    *progress, error = result.stderr.splitlines()
    assert progress in ([], ["loading libraries ..."])
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:", r"error: the config file failed with SyntaxError: .*mine.py, line 1"),
        ("import nonexistent_module", r"error: the config file failed with ModuleNotFoundError: .*mine.py, line 1"),
        ("x = 1", "error: the file of --config has no function get_config"),
    ],
)
def test_mistakes_in_a_config_file_are_placed(tmp_path, content, message):
    (tmp_path / "mine.py").write_text(content + "\n")
    result = run("-m", "stlight_jax", "inspect", f"--config={tmp_path}/mine.py")
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(message + r"\)?", result.stderr.strip()), result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(("--help",), ""), (("inspect", "--help"), "1"), (("inspect", "--config=configs/moving_mnist.py:tiny"), "")],
)
def test_nobody_reads_what_is_printed(arguments, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "stlight_jax", *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_another_pipe_that_breaks_is_a_defect():
    code = "from stlight_jax.commands import cli\ndef main():\n  raise BrokenPipeError\ncli.run(main)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.returncode, "BrokenPipeError" in result.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [("train.py", "--help"), ("eval.py", "--help"), ("-m", "stlight_jax", "--help")])
def test_help(arguments):
    result = run(*arguments)
    assert result.returncode == 0
    assert "workdir" in result.stdout or "inspect" in result.stdout
