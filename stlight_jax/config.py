"""What a config holds, checked once; the files in `configs/` are where the sizes and recipes live."""

from __future__ import annotations

import math
from typing import Any

import jax
import ml_collections

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLightConfig

_GENERATED_KEYS = {
    "digit_size", "digits", "image_size", "root", "sequences_per_epoch", "test_sequences", "validation", "validation_sequences",
}  # fmt: skip
_BENCHMARK_KEYS = {"colour_order", "memory", "root", "stride", "validation", "validation_fraction"}
_FRAMES_KEYS = {
    "channels", "crop", "evaluation_stride", "fill_value", "flips", "frame_step", "gap", "group", "height", "layout", "mask",
    "memory", "per_channel", "prepared", "root", "split", "stride", "test_fraction", "time", "validation_fraction",
    "value_high", "value_low", "variable", "width",
}  # fmt: skip
# data set: the keys of its section `data`
DATASETS = {
    "moving_mnist": _GENERATED_KEYS,
    "moving_fashion_mnist": _GENERATED_KEYS,
    "taxibj": _BENCHMARK_KEYS,
    "kth": _BENCHMARK_KEYS,
    "kitti_caltech": _BENCHMARK_KEYS,
    "frames": _FRAMES_KEYS,
}
_FRAME_SIZES = {"taxibj": (32, 32), "kth": (128, 128), "kitti_caltech": (128, 160)}
# What the configs in older checkpoints lack, with the value that they stand for.
_ADDED_LATER = {
    "model": {"rematerialise": "elementwise"},
    "data": {"validation": "generated"},
    "optimizer": {
        "schedule": "onecycle", "batch_scaling": "none", "reference_batch_size": 16, "beta1": 0.9,
        "least_learning_rate": 1e-6, "warmup_epochs": 5, "warmup_start": 1e-5,
    },
    "train": {"accumulate": 1, "ema_decay": 0.0, "horizon": 0},
    "parallel": {"batch_norm": "synchronised", "launcher": "pmap"},
    "evaluation": {"horizon": 0, "cycle": 0},
    "profile": {"steps": 0, "first": 5},
}  # fmt: skip
_SECTIONS_ADDED_LATER = ("parallel", "profile")
_CHOICES = {
    "data.validation": ("openstl", "held_out"),
    "data.colour_order": ("openstl", "rgb"),
    "optimizer.schedule": ("onecycle", "cosine"),
    "optimizer.batch_scaling": ("none", "linear", "sqrt"),
    "parallel.batch_norm": ("synchronised", "local"),
    "parallel.launcher": ("pmap", "shard_map"),
}
_GENERATED_VALIDATIONS = ("generated", "openstl")
# Keys that may change between the parts of a run: they do not touch the course of training. The data's checksum stands in
# their description, so where they were read from does not matter either.
_FREE = (
    "data.digits",
    "data.memory",
    "data.prepared",
    "data.root",
    "evaluation.batch_size",
    "evaluation.cycle",
    "evaluation.pictures",
    "model.rematerialise",
    "parallel.launcher",
    "profile",
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
    "data.memory": (0, True),
    "data.crop": (0, True),
    "data.frame_step": (1, True),
    "data.stride": (0, True),
    "data.evaluation_stride": (1, True),
    "data.validation_fraction": (0, False),
    "optimizer.learning_rate": (0, False),
    "optimizer.div_factor": (0, False),
    "optimizer.final_div_factor": (0, False),
    "optimizer.eps": (0, False),
    "optimizer.clip_norm": (0, True),
    "optimizer.weight_decay": (0, True),
    "train.batch_size": (1, True),
    "train.accumulate": (1, True),
    "train.epochs": (1, True),
    "optimizer.reference_batch_size": (1, True),
    "train.seed": (0, True),
    "train.horizon": (0, True),
    "train.checkpoint_every": (1, True),
    "train.keep_checkpoints": (2, True),
    "train.log_every": (1, True),
    "evaluation.batch_size": (1, True),
    "evaluation.pictures": (1, True),
    "evaluation.horizon": (0, True),
    "evaluation.cycle": (0, True),
    "profile.steps": (0, True),
    "profile.first": (0, True),
}


def base_config(dataset: str, size: str) -> ml_collections.ConfigDict:
    """What all configs in `configs/` start from; they add the section `data`, and sizes and recipe of their data set."""
    config = ml_collections.ConfigDict()
    config.dataset = dataset
    config.size = size

    config.model = ml_collections.ConfigDict()
    config.model.in_frames = 10
    config.model.out_frames = 10
    config.model.in_channels = 1
    config.model.out_channels = 1
    config.model.hidden_dim = 256
    config.model.depth = 16
    config.model.patch_size = 2
    config.model.overlap = 0
    config.model.near_kernel = 3
    config.model.far_kernel = 7
    config.model.dilation = 3
    config.model.depthwise = "auto"  # auto | native | phases | taps | cpu
    config.model.precision = "float32"  # of matrix products: float32 | tensorfloat32 | bfloat16
    config.model.dtype = "float32"  # of activations: float32 | bfloat16
    config.model.rematerialise = "elementwise"  # computed again in training to save memory: nothing | elementwise | blocks
    config.model.scan_unroll = 1  # mixer blocks compiled per turn of the loop over them

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.schedule = "onecycle"  # onecycle | cosine
    config.optimizer.learning_rate = 3e-3  # at the peak
    config.optimizer.batch_scaling = "none"  # of the rate with the batch: none | linear | sqrt, over the next key
    config.optimizer.reference_batch_size = 16  # for which learning_rate is meant
    config.optimizer.rise = 0.3  # onecycle: part of the run spent climbing to it
    config.optimizer.div_factor = 25.0  # onecycle: the first rate is the peak's part
    config.optimizer.final_div_factor = 1e4  # onecycle: the last rate is the first one's part
    config.optimizer.beta1_low = 0.85  # onecycle: at the peak
    config.optimizer.beta1_high = 0.95  # onecycle: at both ends
    config.optimizer.least_learning_rate = 1e-6  # cosine
    config.optimizer.warmup_epochs = 5  # cosine
    config.optimizer.warmup_start = 1e-5  # cosine: the first rate
    config.optimizer.beta1 = 0.9  # cosine
    config.optimizer.beta2 = 0.999
    config.optimizer.eps = 1e-8
    config.optimizer.clip_norm = 0.0  # of the global gradient; 0 is off
    config.optimizer.weight_decay = 0.0  # decoupled, kernels only; 0 is off

    config.train = ml_collections.ConfigDict()
    config.train.batch_size = 16  # over all devices
    config.train.accumulate = 1  # parts of a batch that go through the network one after the other, to save memory
    config.train.epochs = 200
    config.train.ema_decay = 0.0  # of a moving average of the weights, which is then what predicts; 0 is off
    config.train.seed = 42
    config.train.horizon = 0  # frames to predict; beyond model.out_frames they are rolled out; 0 is model.out_frames
    config.train.checkpoint_every = 625  # steps between validations, each saved with its score
    config.train.keep_checkpoints = 3  # newest ones, beside the best; at least 2, lest the only one prove damaged
    config.train.log_every = 25  # steps
    config.train.init_from = ""  # workdir or checkpoint whose weights a new run starts from
    config.train.tensorboard = True  # events too, when the package tensorboard is installed

    config.parallel = ml_collections.ConfigDict()
    config.parallel.batch_norm = "synchronised"  # over all devices | local: each device by its own share of the batch
    config.parallel.launcher = "pmap"  # pmap | shard_map: which of JAX's ways to run the step on many devices

    config.evaluation = ml_collections.ConfigDict()
    config.evaluation.batch_size = 64  # over all devices
    config.evaluation.horizon = 0  # frames to predict, as train.horizon
    config.evaluation.cycle = 0  # sampling steps of a daily or weekly cycle: adds what was then as a baseline; 0 is none
    config.evaluation.pictures = 6  # sequences drawn

    config.profile = ml_collections.ConfigDict()
    config.profile.steps = 0  # to trace with JAX's profiler, each time the run is started; 0 is none
    config.profile.first = 5  # steps before those, not counting the one that compiles
    return config


def benchmark_data() -> ml_collections.ConfigDict:
    """The section `data` of the benchmarks that `python -m stlight_jax prepare` stores."""
    data = ml_collections.ConfigDict()
    data.root = ""  # folder that was given to prepare as --out; "" is TFDS's default folder
    data.validation = "openstl"  # openstl: on the test set, as OpenSTL does | held_out: on a part of the training set
    data.validation_fraction = 0.1  # of the training set, held out
    data.stride = 0  # frames from one window to the next; 0 is OpenSTL's rule
    data.colour_order = "openstl"  # openstl: as the files have them | rgb: all of them in RGB
    data.memory = 256  # MiB of frames per split that are kept in memory; larger splits are read from disk
    return data


def check(config: ml_collections.ConfigDict) -> STLightConfig:
    """Checks every value that can be judged without data or devices, and returns the model's part.

    Channels that are left to the data are taken for 1 as long as no data are there (`take_channels`). Keys that a config of an
    older checkpoint lacks are added to it.

    Raises InputError naming the key, what it holds and what it may hold.
    """
    _check_keys(config)
    for key, (least, inclusive) in _RANGES.items():
        section, name = key.split(".")
        if name not in config[section]:
            continue
        value = config[section][name]
        if not math.isfinite(value) or value < least or (value == least and not inclusive):
            raise InputError(f"{key} is {value}; it must be {'at least' if inclusive else 'more than'} {least}")
        if isinstance(value, int) and value >= 2**31 and key != "train.seed":
            raise InputError(f"{key} is {value}; it must be less than 2**31")
    for key, choices in _CHOICES.items():
        section, name = key.split(".")
        if key == "data.validation" and DATASETS[config.dataset] is _GENERATED_KEYS:
            choices = _GENERATED_VALIDATIONS
        if name in config[section] and config[section][name] not in choices:
            raise InputError(f"{key} is {config[section][name]!r}; choose one of {', '.join(choices)}")
    if config.dataset == "frames" and config.data.stride < 1:
        raise InputError(f"data.stride is {config.data.stride}; it must be at least 1")
    if config.train.seed >= 2**32:
        raise InputError(f"train.seed is {config.train.seed}; it must be less than 2**32")
    if config.model.dtype == "float64" and not jax.config.jax_enable_x64:
        raise InputError("model.dtype is float64, which JAX offers only with JAX_ENABLE_X64=1 in the environment")
    for key in ("optimizer.beta1", "optimizer.beta1_low", "optimizer.beta1_high", "optimizer.beta2", "train.ema_decay"):
        section, name = key.split(".")
        if not 0 <= config[section][name] < 1:
            raise InputError(f"{key} is {config[section][name]}; it must be at least 0 and less than 1")
    model = config.copy_and_resolve_references().model
    if config.dataset == "frames":
        take_channels(model, 1)
    return STLightConfig(**model)


def frame_size(config: ml_collections.ConfigDict) -> tuple[int, int] | None:
    """(height, width) of the data's frames, as far as a config tells without the data; None where it does not."""
    if config.dataset in _FRAME_SIZES:
        return _FRAME_SIZES[config.dataset]
    if config.dataset != "frames":
        return config.data.image_size, config.data.image_size
    return (config.data.height, config.data.width) if config.data.height else None


def take_channels(model: ml_collections.ConfigDict, channels: int) -> None:
    """Where the section `model` leaves its channels to the data (0, of the user's own frames), fills in how many they have."""
    for name in ("in_channels", "out_channels"):
        model[name] = model[name] or channels


def _check_keys(config: ml_collections.ConfigDict) -> None:
    """Config files are written by users, and checkpoints carry the configs of older versions."""
    if config.get("dataset") not in DATASETS:
        raise InputError(f"dataset is {config.get('dataset')!r}; choose one of {', '.join(DATASETS)}")
    standard = base_config(config.dataset, "")
    with config.unlocked():
        for section in _SECTIONS_ADDED_LATER:
            if section not in config:
                config[section] = ml_collections.ConfigDict()
    for section in ("model", "data", "optimizer", "train", "parallel", "evaluation", "profile"):
        if not isinstance(config.get(section), ml_collections.ConfigDict):
            raise InputError(f"the config has no section {section}")
        wanted = DATASETS[config.dataset] if section == "data" else set(standard[section])
        with config.unlocked():
            for name, value in _ADDED_LATER.get(section, {}).items():
                if name in wanted and name not in config[section]:
                    config[section][name] = value
        found = set(config[section])
        for problem, names in (("lacks", wanted - found), ("has an unknown key,", found - wanted)):
            if names:
                raise InputError(f"the config {problem} {', '.join(f'{section}.{name}' for name in sorted(names))}")


def course_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The keys, with both values, that would change the course of training between two configs given as plain dicts."""
    old, new = _flat(_with_defaults(old)), _flat(_with_defaults(new))
    return [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(key == free or key.startswith(f"{free}.") for free in _FREE)
    ]


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **{section: {**added, **config.get(section, {})} for section, added in _ADDED_LATER.items()}}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
