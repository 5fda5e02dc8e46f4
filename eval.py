"""Evaluates a run: `python eval.py` is `stlight evaluate`."""

import sys

from stlight_jax.__main__ import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
