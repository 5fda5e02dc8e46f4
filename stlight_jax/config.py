"""What a config holds, checked once; the files in `configs/` are where the sizes live."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import ml_collections

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLightConfig

_KEYS = {
    "model": {field.name for field in dataclasses.fields(STLightConfig)},
    "data": {
        "digit_size", "digits", "image_size", "root", "sequences_per_epoch", "test_sequences", "validation_sequences",
    },
    "optimizer": {
        "beta1_high", "beta1_low", "beta2", "clip_norm", "div_factor", "eps", "final_div_factor", "learning_rate", "rise",
        "weight_decay",
    },
    "train": {
        "batch_size", "checkpoint_every", "epochs", "init_from", "keep_checkpoints", "log_every", "seed", "tensorboard",
    },
    "evaluation": {"batch_size", "pictures"},
}  # fmt: skip
_ADDED_LATER = {"model": {"rematerialise"}}  # the configs in older checkpoints lack them
# Keys that may change between the parts of a run: they do not touch the course of training. The digits' checksum stands in
# the data's description, so where they were read from does not matter either.
_FREE = (
    "data.digits",
    "data.root",
    "data.test_sequences",
    "evaluation",
    "model.rematerialise",
    "size",
    "train.checkpoint_every",
    "train.init_from",
    "train.keep_checkpoints",
    "train.log_every",
    "train.tensorboard",
)
# name: (least value, whether it may equal it)
_RANGES = {
    "data.sequences_per_epoch": (1, True),
    "data.validation_sequences": (1, True),
    "data.test_sequences": (1, True),
    "data.image_size": (1, True),
    "optimizer.learning_rate": (0, False),
    "optimizer.div_factor": (0, False),
    "optimizer.final_div_factor": (0, False),
    "optimizer.eps": (0, False),
    "optimizer.clip_norm": (0, True),
    "optimizer.weight_decay": (0, True),
    "train.batch_size": (1, True),
    "train.epochs": (1, True),
    "train.seed": (0, True),
    "train.checkpoint_every": (1, True),
    "train.keep_checkpoints": (2, True),
    "train.log_every": (1, True),
    "evaluation.batch_size": (1, True),
    "evaluation.pictures": (1, True),
}


def check(config: ml_collections.ConfigDict) -> STLightConfig:
    """Checks every value that can be judged without data or devices, and returns the model's part.

    Raises InputError naming the key, what it holds and what it may hold.
    """
    _check_keys(config)
    if config.dataset != "moving_mnist":
        raise InputError(f"dataset is {config.dataset!r}; the only one there is, is moving_mnist")
    for key, (least, inclusive) in _RANGES.items():
        section, name = key.split(".")
        value = config[section][name]
        if not math.isfinite(value) or value < least or (value == least and not inclusive):
            raise InputError(f"{key} is {value}; it must be {'at least' if inclusive else 'more than'} {least}")
        if isinstance(value, int) and value >= 2**31 and key != "train.seed":
            raise InputError(f"{key} is {value}; it must be less than 2**31")
    if config.train.seed >= 2**32:
        raise InputError(f"train.seed is {config.train.seed}; it must be less than 2**32")
    if config.model.dtype == "float64" and not jax.config.jax_enable_x64:
        raise InputError("model.dtype is float64, which JAX offers only with JAX_ENABLE_X64=1 in the environment")
    for name in ("beta1_low", "beta1_high", "beta2"):
        if not 0 <= config.optimizer[name] < 1:
            raise InputError(f"optimizer.{name} is {config.optimizer[name]}; it must be at least 0 and less than 1")
    return STLightConfig(**config.model)


def _check_keys(config: ml_collections.ConfigDict) -> None:
    """Config files are written by users, and checkpoints carry the configs of older versions."""
    for section, wanted in _KEYS.items():
        if not isinstance(config.get(section), ml_collections.ConfigDict):
            raise InputError(f"the config has no section {section}")
        found = set(config[section])
        missing, unknown = wanted - found - _ADDED_LATER.get(section, set()), found - wanted
        for problem, names in (("lacks", missing), ("has an unknown key,", unknown)):
            if names:
                raise InputError(f"the config {problem} {', '.join(f'{section}.{name}' for name in sorted(names))}")


def course_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The keys, with both values, that would change the course of training between two configs given as plain dicts."""
    old, new = _flat(old), _flat(new)
    return [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(key == free or key.startswith(f"{free}.") for free in _FREE)
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
