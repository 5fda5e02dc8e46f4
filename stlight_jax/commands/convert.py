"""`python -m stlight_jax convert`: PyTorch weights to a checkpoint, and back."""

from __future__ import annotations

import math
from typing import Any

from absl import flags
from ml_collections import config_flags

from stlight_jax.errors import InputError
from stlight_jax.torch_reference import files
from stlight_jax.torch_reference.convert import checkpoint_from_torch, torch_from_checkpoint


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "With --weights: config of the weights' network, and its size.")
    flags.DEFINE_string("weights", None, f"PyTorch weights to bring in: {', '.join(files.SUFFIXES)}.")
    flags.DEFINE_string("key_map", None, "With --weights: JSON file, their names -> ours; for other implementations.")
    flags.DEFINE_string("frame_size", None, "With --weights: HEIGHTxWIDTH of the frames to predict, if not the config's.")
    flags.DEFINE_string("value_range", "0,255", "With --weights: LOW,HIGH, stored values that the network sees as 0 and 1.")
    flags.DEFINE_string("workdir", None, "The other way: the run whose weights are written for PyTorch.")
    flags.DEFINE_string("checkpoint", "best", "With --workdir: best, last, or a step.")
    flags.DEFINE_string("out", None, "What to write: a new workdir, or a file of PyTorch weights.")
    flags.mark_flag_as_required("out")


def main() -> None:
    given = flags.FLAGS
    if bool(given.weights) == bool(given.workdir):
        raise InputError("give --weights=FILE with --config to bring weights in, or --workdir=RUN to write them for PyTorch")
    unfit = ("config", "key_map", "frame_size", "value_range") if given.workdir else ("checkpoint",)
    for flag in unfit:
        if given[flag].present:
            raise InputError(f"--{flag} has no meaning with --{'workdir' if given.workdir else 'weights'}; leave it out")
    if given.workdir:
        torch_from_checkpoint(given.workdir, given.checkpoint, given.out)
        return
    if given.config is None:
        raise InputError("--weights needs --config=configs/FILE.py:SIZE; a file of weights does not say what network it is of")
    checkpoint_from_torch(
        given.config,
        given.weights,
        given.out,
        files.read_key_map(given.key_map) if given.key_map else None,
        _pair(given.frame_size, "frame_size", "HEIGHTxWIDTH", "x", int) if given.frame_size else None,
        _pair(given.value_range, "value_range", "LOW,HIGH", ",", float),
    )


def _pair(text: str, flag: str, wanted: str, separator: str, kind: type) -> tuple[Any, Any]:
    try:
        first, second = (kind(part) for part in text.split(separator))
        if not (math.isfinite(first) and math.isfinite(second)):
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"--{flag}={text[:40]}: expected {wanted}") from None
    return first, second
