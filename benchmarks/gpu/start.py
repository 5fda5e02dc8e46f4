"""Runs stages on a machine that has only a copy of this file's folder: `python3 start.py --stages=check:2,train:6 --out=DIR`.

It unpacks the code beside the results, continues from the results and the state in this folder, and passes its arguments to
`python -m benchmarks.gpu`. It needs no network, and of this project's dependencies only JAX, Flax, NumPy and their own.
"""

import os
import pathlib
import shutil
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    """Unpacks and starts."""
    out = next((argument.partition("=")[2] for argument in sys.argv[1:] if argument.startswith("--out=")), "")
    if not out:
        print("error: --out is missing; expected --out=FOLDER for the results; name one", file=sys.stderr)
        sys.exit(2)
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*HERE.glob("state-*"), HERE / "results.json"):
        if path.exists() and not (folder / path.name).exists():
            shutil.copy(path, folder)
    code = pathlib.Path(tempfile.mkdtemp(prefix="stlight_gpu_"))
    with zipfile.ZipFile(HERE / "code.zip") as archive:
        archive.extractall(code)
    path = [str(code), str(code / "site"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(code / "compiled")),
        "PYTHONUNBUFFERED": "1",
    }
    arguments = [f"--out={folder.resolve()}"]
    if next(HERE.glob("train-images-idx3-ubyte*"), None):
        arguments.append(f"--mnist={HERE}")
    arguments += [argument for argument in sys.argv[1:] if not argument.startswith("--out=")]
    os.chdir(code)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *arguments], environment)


if __name__ == "__main__":
    main()
