"""Packs all that a bare machine with a GPU needs: `python -m benchmarks.gpu.pack --mnist=FOLDER [--results=FOLDER]`.

The parcel is a folder of files of at most 16 MiB, 60 MiB in all: the code with its small dependencies, MNIST's images, and the
results and the state of earlier visits. Copy it to the machine and run its `start.py`; see `benchmarks/gpu/README.md`.
"""

from __future__ import annotations

import pathlib

from absl import flags

from benchmarks.gpu.parcel import pack
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message

_MNIST = flags.DEFINE_string("mnist", "", "Folder of MNIST's idx files; the 7,000 digits in the package if empty.")
_RESULTS = flags.DEFINE_string("results", "runs/gpu/results", "Folder of earlier visits' results; may be missing.")
_OUT = flags.DEFINE_string("out", "runs/gpu/parcel", "Folder of the parcel; an existing one is replaced.")


def main() -> None:
    """Packs the parcel."""
    parcel = pathlib.Path(_OUT.value)
    pack(parcel, pathlib.Path(_RESULTS.value), _MNIST.value)
    sizes = [path.stat().st_size for path in parcel.iterdir()]
    print_message(f"packed {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB, into {parcel}")


if __name__ == "__main__":
    run_script(main)
