"""Trains a network, or resumes a run: `python train.py` is `stlight train`."""

import sys

from stlight_jax.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
