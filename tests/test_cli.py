"""The commands as a clumsy user meets them: one line, the right exit status, no traceback."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from stlight_jax.commands import predict, score, train
from stlight_jax.errors import InputError
from tests.commands import ROOT, run


def test_a_second_start_prints_no_more_than_the_first(tmp_path):
    """JAX 0.10 on a CPU takes every program that it reads back for one of another machine, and warns at great length."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for chosen in ("TF_CPP_MIN_LOG_LEVEL", "JAX_COMPILATION_CACHE_DIR"):
        environment.pop(chosen, None)
    (tmp_path / "square.py").write_text(
        "from stlight_jax.commands.run_command import run_script\n"
        "def main():\n  import jax\n  jax.jit(lambda x: x @ x)(jax.numpy.ones((9, 9)))\n"
        "run_script(main)\n"
    )
    environment["PYTHONPATH"] = str(ROOT)
    for _ in range(2):
        command = [sys.executable, tmp_path / "square.py"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.rglob("jit__lambda*"))


def test_a_warning_is_printed_alone_and_verbosity_shows_more():
    code = (
        "import sys\nfrom absl import logging\n"
        "from stlight_jax.commands.command import Command\nfrom stlight_jax.commands.run_command import run_command\n"
        "def run(values):\n  logging.info('hidden')\n  logging.warning('seen')\n"
        "run_command(Command('', lambda values, arguments: None, run), sys.argv)\n"
    )
    errors = [
        subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
        ).stderr
        for arguments in ([], ["--verbosity=1"])
    ]
    assert errors[0] == "WARNING: seen\n"
    assert errors[1].endswith("INFO: hidden\nWARNING: seen\n")  # after messages of libraries
    assert "flag parsing" not in errors[1]


RESUMABLE = "stopped before the first step, so nothing had to be saved; run the same command to resume\n"
TRAIN = ["--config=moving_mnist:tiny", "--workdir=run"]


@pytest.mark.parametrize("library", ["absl", "jax"])  # the first to be imported, and the one that takes longest
@pytest.mark.parametrize(
    ("command", "number", "status", "message"),
    [
        (["-m", "stlight_jax", "predict", "README.md", "--model=tiny"], signal.SIGINT, 130, "interrupted\n"),
        (["train.py", *TRAIN], signal.SIGINT, 130, "interrupted\n"),
        (["eval.py", "--workdir=."], signal.SIGINT, 130, "interrupted\n"),
        (["-m", "stlight_jax", "predict", "README.md", "--model=tiny"], signal.SIGTERM, 143, "terminated\n"),
        (["eval.py", "--workdir=."], signal.SIGTERM, 143, "terminated\n"),
        (["train.py", *TRAIN], signal.SIGTERM, 75, RESUMABLE),
        (["-m", "stlight_jax", "train", *TRAIN], signal.SIGTERM, 75, RESUMABLE),
    ],
)
def test_a_signal_while_libraries_load_is_one_line(tmp_path, command, number, status, message, library):
    (tmp_path / f"{library}.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, **pipes)
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (status, message)


@pytest.mark.parametrize(
    ("raised", "cause", "status", "message"),
    [
        ("KeyboardInterrupt", "error", 130, "interrupted\n"),
        ("TerminationInterrupt", "error", 143, "terminated\n"),
        ("KeyboardInterrupt", "None", 130, "interrupted\n"),
        ("TerminationInterrupt", "None", 143, "terminated\n"),
    ],
)
def test_an_import_that_fails_because_of_a_signal_is_an_interrupt(tmp_path, raised, cause, status, message):
    (tmp_path / "interrupted.py").write_text(
        "from stlight_jax.commands.run_command import run_script\nfrom stlight_jax.errors import TerminationInterrupt\n"
        f"def main():\n  try:\n    raise {raised}\n"
        f"  except BaseException as error:\n    raise ImportError('a library') from {cause}\n"
        "run_script(main)\n"
    )
    result = run(str(tmp_path / "interrupted.py"))
    assert (result.returncode, result.stderr) == (status, message)


def test_inspect_json_gives_the_published_counts():
    result = run("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py:L", "--json")
    assert result.returncode == 0, result.stderr
    total = json.loads(result.stdout)["total"]
    assert total["parameters"] == 32_879_710
    assert total["paper"] / 1e9 == pytest.approx(32.279, abs=5e-4)
    assert total["true"] / 1e9 == pytest.approx(33.609, abs=5e-4)


def test_inspect_explains_that_the_paper_leaves_depthwise_out():
    result = run("-m", "stlight_jax", "inspect", "--config=moving_mnist:tiny")
    assert "the depthwise convolutions, which the paper leaves out" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "stlight_jax", "inspekt"), "no command 'inspekt'; choose one of train, evaluate"),
        (
            ("train.py", "--workdir=x"),
            "--config is missing (The config: the name of a shipped one with a size, such as moving_mnist:L, ",
        ),
        (("-m", "stlight_jax", "inspect"), "give --config=NAME:SIZE, such as moving_mnist:L, or a trained network, --workdir="),
        (
            ("-m", "stlight_jax", "inspect", "--config=kth:S", "--model=tiny"),
            "--config and --workdir or --model name two networks",
        ),
        (("-m", "stlight_jax", "inspect", "--model=README.md"), "README.md is a file; expected a workdir, the folder of a"),
        (("-m", "stlight_jax", "inspect", "--workdir=/nowhere"), "--workdir=/nowhere: no such file or folder"),
        (
            ("-m", "stlight_jax", "inspect", "--model=tinny"),
            "--model=tinny: no such file or folder; the shipped networks are moving_mnist, tiny",
        ),
        (("-m", "stlight_jax", "inspect", "--config=tiny:L"), "--config=tiny:L: tiny has one config; leave out :L"),
        (("-m", "stlight_jax", "inspect", "--config=tests"), "--config=tests: tests/checkpoints: no checkpoint here"),
        (
            ("-m", "stlight_jax", "inspect", "--config=frames:S"),
            "the config does not fix the size of the frames; give --frame_size=",
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=tests/config/configs_of_version_0_1.json"),
            "configs_of_version_0_1.json holds no config; expected the config.json of a run",
        ),
        (("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py:Q"), "no size 'Q'; choose one of tiny, plus, XS"),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/nothing.py"),
            "--config=configs/nothing.py is neither a shipped config nor a file; choose one of frames, kitti_caltech, kth, ",
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/frame.py"),
            "--config=configs/frame.py is neither a shipped config nor a file (did you mean configs/frames.py?); choose one of",
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=moving_mnst:tiny"),
            "--config=moving_mnst is neither a shipped config nor a file (did you mean moving_mnist?); choose one of frames, ",
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py", "--config.model.hiden_dim=3"),
            'Did you mean "hidden_dim" instead of "hiden_dim"?',
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py", "--config.model.depth=deep"),
            "--config.model.depth=deep is no whole number",
        ),
        (
            ("-m", "stlight_jax", "inspect", "--config=configs/moving_mnist.py", "--config.model.depth=1"),
            "model.depth is 1; it must be 0, or at least 2",
        ),
        (("train.py", "--config=configs/moving_mnist.py:tiny"), "--workdir is missing (Folder of the run, "),
        (("train.py", "--confg=configs/moving_mnist.py:tiny"), "no flag --confg; did you mean --config?"),
        (
            ("train.py", "--config=kth:S", "--workdir=x", "--config.data.root=/nowhere"),
            "--config.data.root=/nowhere: no such file or folder",
        ),
        (("eval.py", "--workdir=/nowhere"), "--workdir=/nowhere: no such file or folder"),
        (("eval.py", "--workdir=tests"), "tests/checkpoints: no checkpoint here"),
        (("eval.py", "--workdir=x", "tiny"), "unexpected argument 'tiny'"),
        (("eval.py", "run1"), "unexpected argument 'run1'; options are written --name=value, see --help"),
        (("train.py", "kth:S", "--workdir=x"), "unexpected argument 'kth:S'; options are written --name=value, see --help"),
        (("-m", "stlight_jax", "prepare", "--raw=a", "kth", "b"), "unexpected argument 'b'"),
        (("benchmarks/ship_network.py", "--name=tiny"), "--workdir is missing (Folder of an evaluated run)"),
        (("train.py", "--config.train.seed=3", "--workdir=x"), "--config.train.seed needs --config, which is missing ("),
        (("eval.py", "--workdir=tests", "--horizon=0"), "--horizon=0: 0 is not a positive integer"),
        (("eval.py",), "error: --workdir is missing (Folder of the run, as given to `stlight train`)"),
        (
            ("train.py", "--config=kth:S", "--workdir=x", "--config.evaluation.thresholds=a"),
            "evaluation.thresholds is 'a'; expected",
        ),
        (
            ("train.py", "--config=kth:S", "--workdir=x", "--config.train.batch_size=-1"),
            "train.batch_size is -1; it must be at least 0",
        ),
        (("train.py", "--config=kth:S", "--workdir=x", "--process=a"), "--process=a is no whole number"),
        (("train.py", "--config=kth:S", "--workdir=x", "--config.optimizer.learning_rate=a"), "rate=a is no number"),
        (("train.py", "--config=kth:S", "--workdir=x", "--allow_changes=a"), "--allow_changes=a is neither true nor false"),
        (("-m", "stlight_jax", "predict", "--model", "tiny", "a.npy", "--horizon=3"), "a.npy: there is no such file or folder"),
        (("-m", "stlight_jax", "predict", "a.npy", "--model=tiny", "b.npy"), "unexpected argument 'b.npy'"),
        (
            ("-m", "stlight_jax", "prepare", "--raw=a", "ktth", "--out=b"),
            "--dataset=ktth: value should be one of <moving_mnist|moving_fashion_mnist|taxibj|kth|kitti_caltech|",
        ),
        (("-m", "stlight_jax", "prepare", "kth", "--out=b"), "--raw is missing (Folder with the raw files"),
        (("-m", "stlight_jax", "prepare", "--raw=a", "--out=b"), "--dataset is missing (<moving_mnist|moving_fashion_mnist|"),
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
        ("def get_config():\n  return {}['x']", r"error: the config file failed with KeyError: x \(.*mine.py, line 2"),
        ("\0", r"error: the config file failed with SyntaxError: .* \(.*mine.py\); expected a program in Python"),
        ("x = 1", "error: .*mine.py: the file of --config has no function get_config"),
        (
            "def get_config():\n  pass",
            "error: .*mine.py: get_config returns NoneType; expected a ConfigDict, as base_config .*",
        ),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n  return ConfigDict({'depth': 2}).dept",
            r'error: the config file failed with AttributeError: .*Did you mean "depth" instead of .* \(.*mine.py, line 3',
        ),
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
def test_output_that_nobody_reads_is_no_error(arguments, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "stlight_jax", *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_another_pipe_that_breaks_is_a_defect():
    code = "from stlight_jax.commands.run_command import run_script\ndef main():\n  raise BrokenPipeError\nrun_script(main)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.returncode, "BrokenPipeError" in result.stderr) == (1, True)


def test_command_lines_of_several_commands_are_parsed_in_one_process(tmp_path):
    np_file = tmp_path / "a.npy"
    np_file.touch()
    first = train.COMMAND.parse(["stlight train", "--config=kth:S,40", "--workdir=a", "--config.train.batch_size=3"])
    second = train.COMMAND.parse(["stlight train", "--config=configs/kth.py:XS", "--workdir=b"])
    third = predict.COMMAND.parse(["stlight predict", str(np_file), "--model=tiny", "--value_range=0,1"])
    assert (first.workdir, first.config.size, first.config.train.batch_size, first.config.model.out_frames) == (
        "a",
        "S,40",
        3,
        40,
    )
    assert (second.workdir, second.config.size, second.config.train.batch_size) == ("b", "XS", 12)
    assert (third.input, third.model, third.value_range, third.horizon) == (str(np_file), "tiny", (0, 1), None)
    with pytest.raises(InputError, match="give --pred=FILE.npy and --true=FILE.npy"):
        score.COMMAND.parse(["stlight score"])


def test_a_command_that_fails_ends_before_threads_of_tensorflow_can_abort_it():
    code = """
import atexit, sys
from stlight_jax import __main__
from stlight_jax.commands import run_command
from stlight_jax.data.pipeline import training_batches
from tests.test_cli import EndlessSequences

atexit.register(print, "the interpreter ended")
def fail(command, arguments):
    batches = training_batches(EndlessSequences(), 2, 0, 10_000)
    next(batches)
    sys.exit(3)
run_command.run_command = fail
__main__.main(["train"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (result.returncode, result.stdout) == (3, ""), result.stderr


class EndlessSequences:
    """Sequences that are made slowly in threads of TensorFlow."""

    scaling = types.SimpleNamespace(dtype="uint8")

    def __len__(self):
        return 10_000

    def frames(self, indices, epoch=0):
        time.sleep(0.01)
        return np.zeros((len(indices), 2, 4, 4, 1), np.uint8)
