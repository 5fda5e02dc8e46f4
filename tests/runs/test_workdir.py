"""The folder of a run, and a folder that belongs to something else."""

import json

import pytest

from stlight_jax import InputError
from stlight_jax.runs.workdir import Workdir


def remark(folder, capsys):
    Workdir(folder).check_contents()
    return " ".join(capsys.readouterr().err.split())


def test_a_folder_with_other_files_gets_a_remark_that_names_them(tmp_path, capsys):
    assert remark(tmp_path / "new", capsys) == ""
    (tmp_path / ".hidden").touch()
    assert remark(tmp_path, capsys) == ""
    for name in ("thesis.tex", "a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    assert "holds no run, but 4 other files or folders (a.png, b.png, c.png, ...)" in remark(tmp_path, capsys)


def test_the_folder_of_a_run_gets_no_remark(tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "config.json").write_text(json.dumps({"dataset": "kth"}))
    assert remark(tmp_path, capsys) == ""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").unlink()
    assert remark(tmp_path, capsys) == ""


@pytest.mark.parametrize("content", ['{"name": "web-app"}', "[1]", "no JSON"])
def test_the_config_of_another_program_is_not_replaced(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config.json is of another program; name another --workdir, such as runs/my_run$"):
        Workdir(tmp_path).check_contents()
    assert (tmp_path / "config.json").read_text() == content
