"""What is wrong whatever the data is refused by the command line itself, before libraries, data or networks are loaded."""

import pathlib

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.commands import evaluate, predict, prepare, train

OWN = ("--config=frames:tiny", "--config.data.root=a.npy")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A file of frames, a file that is none and a folder, in the current folder."""
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((12, 8, 10), np.uint8))
    pathlib.Path("notes.txt").write_text("")
    pathlib.Path("run/checkpoints").mkdir(parents=True)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (train, (*OWN, "--workdir=notes.txt"), "--workdir=notes.txt: notes.txt is a file; expected a folder"),
        (train, (*OWN, "--workdir=notes.txt/run"), "--workdir=notes.txt/run: notes.txt is a file; expected a folder"),
        (
            train,
            (*OWN, "--workdir=run", "--config.data.clip=5"),
            "data.clip is '5'; expected none, auto, or two numbers LOW,HIGH",
        ),
        *(
            (train, (*OWN, "--workdir=run", f"--minutes={few}"), f"--minutes is {few}; expected")
            for few in ("0.01", "nan", "inf")
        ),
        (train, (*OWN, "--workdir=run", "--config.data.clip=9,3"), "data.clip is '9,3'; expected"),
        (train, (*OWN, "--workdir=run", "--config.data.group=("), r"data.group is '\(', which is no regular expression"),
        (train, (*OWN, "--workdir=run", "--config.data.static=sea.npy"), "--config.data.static=sea.npy: no such file"),
        (train, (*OWN, "--workdir=new", "--config.train.init_from=x"), "--config.train.init_from=x: no such file"),
        (evaluate, ("--workdir=run", "--thresholds=hot"), "--thresholds is 'hot'; expected numbers in the data's units"),
        (evaluate, ("--workdir=notes.txt",), "--workdir=notes.txt: notes.txt is a file; expected a folder"),
        (prepare, ("frames", "--raw=a.npy", "--out=notes.txt"), "--out=notes.txt: notes.txt is a file; expected a folder"),
        (predict, ("a.npy", "--model=tiny", "--out=x.xyz"), "--out=x.xyz: no format ends in .xyz; choose one of .mp4, .gif"),
        (predict, ("a.npy", "--model=tiny", "--kind=xyz"), "--kind=xyz: choose one of mp4, gif"),
        (predict, ("a.npy", "--model=tiny", "--out=b.npy", "--kind=nc"), "--out=b.npy and --kind=nc are of different kinds"),
        (predict, ("a.npy", "--model=tiny", "--out=notes.txt"), "--out=notes.txt: no format ends in .txt"),
    ],
)
def test_a_mistake_is_refused_by_the_command_line(command, arguments, message):
    with pytest.raises(InputError, match=message):
        command.COMMAND.parse(["stlight", *arguments])


def test_an_existing_output_is_refused_by_the_command_line(tmp_path):
    np.save("b.npy", np.zeros(1))
    pathlib.Path("b.json").write_text("")
    for flag, name in (("out", "b.npy"), ("json", "b.json")):
        with pytest.raises(InputError, match=rf"{name} exists; choose another name \(--{flag}=NAME\), or pass --overwrite"):
            predict.COMMAND.parse(["stlight", "a.npy", "--model=tiny", f"--{flag}={name}"])


def test_a_run_resumes_without_the_weights_that_it_has_started_from():
    train.COMMAND.parse(["stlight", *OWN, "--workdir=run", "--config.train.init_from=gone"])
