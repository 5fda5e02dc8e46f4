"""The help of the commands and scripts, and how soon it comes."""

import subprocess
import sys

import pytest

from stlight_jax.__main__ import COMMANDS
from tests.commands import ROOT, run


@pytest.mark.parametrize(
    ("arguments", "contents"),
    [
        (
            ("train.py", "--help"),
            ("--config  (required)\n", "--workdir  (required)\n", "--[no]allow_changes\n", "--coordinator\n"),
        ),
        (("eval.py", "--help"), ("--checkpoint\n", "Default: both.")),
        (("-m", "stlight_jax", "--help"), tuple(f"\n  {name} " for name in COMMANDS)),
        (("-m", "stlight_jax", "prepare", "--help"), ("taxibj|kth|kitti_caltech|", "Name of the data set;")),
        (("benchmarks/ship_network.py", "--help"), ("--workdir  (required)\n",)),
        (("benchmarks/throughput.py", "--help"), ("--repeats\n", "--config\n")),
        (("train.py", "--helpfull"), ("--workdir  (required)\n", "--verbosity\n")),
        (("benchmarks/ship_network.py", "--helpfull"), ("--workdir  (required)\n", "--verbosity\n")),
    ],
)
def test_help(arguments, contents):
    result = run(*arguments)
    assert result.returncode == 0
    for content in contents:
        assert content in result.stdout


def seconds(*arguments):
    """Processor time of a command, the least of three: unlike the time that passes, the other tests do not change it much."""
    import resource

    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "stlight_jax", *arguments], cwd=ROOT, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.skipif(sys.platform == "win32", reason="does not measure the processor time of children")
def test_help_and_mistakes_are_answered_at_once():
    assert seconds("--help") < 0.5
    assert seconds("train", "--help") < 1
    assert seconds("train", "--confg=moving_mnist:tiny") < 2
    assert seconds("train", "--config=moving_mnst:tiny", "--workdir=x") < 2
    assert seconds("train", "--config=kth:S", "--workdir=x", "--config.data.root=/nowhere") < 2
    assert seconds("predict", "nowhere.npy", "--model=tiny") < 2
    assert seconds("trian") < 0.5


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_imports_no_large_library(name):
    code = (
        "import atexit, sys\nfrom stlight_jax.__main__ import main\n"
        "large = ('jax', 'tensorflow', 'tensorflow_datasets', 'torch', 'orbax', 'flax', 'matplotlib')\n"
        "atexit.register(lambda: print([one for one in large if one in sys.modules], file=sys.stderr))\n"
        f"main({[name, '--help'] if name else ['--help']})"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "[]\n")


SCRIPTS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in path.read_text()]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_explains_itself(path):
    result = run(str(path), "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) > 2
