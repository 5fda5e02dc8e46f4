"""From a config to its training, validation and test sequences."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.data.augmentation import Augmented
from stlight_jax.data.data_sections import FramesData
from stlight_jax.data.datasets import moving_mnist
from stlight_jax.data.pipeline import MOST_AT_ONCE
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.data.splits import in_fixed_disorder
from stlight_jax.errors import InputError
from stlight_jax.storage import caches, paths

GENERATED = ("moving_mnist", "moving_fashion_mnist")
_MIB = 2**20


def open_training(config: RunConfig[Any]) -> tuple[Sequences, Sequences]:
    """Training and validation sequences; those for validation are as long as an evaluation's horizon asks.

    Raises InputError: data are missing, not prepared or not what they should be, or a key has an impossible value.
    """
    train_length, evaluation_length = _length(config, "train"), _length(config, "evaluation")
    if config.dataset in GENERATED:
        training, validation = moving_mnist.open_training(config.dataset, config.data, train_length, config.train.seed)
        if config.data.validation == "openstl":
            validation = open_test(config)
        return training, validation
    stored = _Stored(config)
    train, held_out = stored.training_clips()
    training = stored.windows("train", train, train_length, seed=config.train.seed)
    if config.dataset == "frames" and (config.data.crop or config.data.flips):
        training = Augmented(training, config.data.crop, config.data.flips, config.train.seed)
    validation = stored.windows(*held_out, evaluation_length)
    return training, validation


def open_test(config: RunConfig[Any]) -> Sequences:
    """Test sequences. Raises: as `open_training`."""
    length = _length(config, "evaluation")
    if config.dataset in GENERATED:
        return moving_mnist.open_test(config.dataset, config.data, length)
    stored = _Stored(config)
    return stored.windows("test", stored.clips("test"), length)


def advice_on_slow_data(config: RunConfig[Any]) -> str:
    """What a user can do when batches come too slowly, on one line."""
    cores = f"give each process more cores (fewer processes per host; up to {MOST_AT_ONCE} make batches)"
    if config.dataset in GENERATED:
        return f"sequences are made on the host as training goes; {cores}"
    return (
        f"a split of more than data.memory ({config.data.memory} MiB) is read from disk; raise it if the host's memory allows, "
        f"put the prepared data on a faster disk, or {cores}"
    )


def _length(config: RunConfig[Any], section: str) -> int:
    horizon = config.train.horizon if section == "train" else config.evaluation.horizon
    return config.model.in_frames + (horizon or config.model.out_frames)


class _Stored:
    """Prepared clips by the rules of their data set and of a config."""

    def __init__(self, config: RunConfig[Any]):
        # TFDS is slow to import, and Moving MNIST does without.
        from stlight_jax.data import stored
        from stlight_jax.data.datasets import BUILDERS

        self._stored, self._config, self._data = stored, config, config.data
        self._rules = BUILDERS.get(config.dataset)
        self._folder = _own_frames(config.data) if self._rules is None else _benchmark(config.dataset, config.data.root)
        self._frames: dict[str, Any] = {}

    def frames(self, split: str) -> Any:
        """The split's `StoredFrames`, opened once."""
        if split not in self._frames:
            self._frames[split] = self._stored.StoredFrames(self._folder, split, self._data.memory * _MIB)
        return self._frames[split]

    def clips(self, split: str) -> Any:
        """All clips of a split as they were prepared."""
        frames = self.frames(split)
        return self._stored.Clips(frames, frames.table["clips"])

    def training_clips(self) -> tuple[Any, tuple[str, Any]]:
        """The clips to train on, and those to validate on with their name."""
        whole = self.clips("train")
        if self._rules is None:
            return whole, ("validation", self.clips("validation"))
        if self._data.validation == "openstl":
            return whole, ("test", self.clips("test"))
        train, held_out = self._hold_out(whole)
        return train, ("held out of train", held_out)

    def windows(self, name: str, clips: Any, length: int, seed: int | None = None) -> Any:
        """Windows of `length` frames."""
        data, frames = self._data, clips.frames
        if self._rules is not None:
            # OpenSTL's strides go with the length of a window: a longer horizon has other windows.
            strides = [data.stride or self._rules.strides(clip["name"], length) for clip in clips.clips for _ in clip["runs"]]
            windows = self._stored.Windows(clips.runs, length, strides, anchor=self._rules.ANCHOR)
        else:
            stride = data.stride if seed is not None else data.evaluation_stride
            windows = self._stored.Windows(clips.runs, length, stride, data.frame_step)
        order = frames.metadata["colour_order"].get("test" if clips.frames is self._frames.get("test") else "train", "rgb")
        # Between the runs of some benchmarks nobody knows how much time lies.
        cycle = self._rules is None and self._config.evaluation.cycle
        past = [self.clips(split) for split in frames.metadata["splits"]] if cycle else []
        title = self._config.dataset if self._rules is not None else "your frames"
        return self._stored.ClipWindows(
            clips,
            windows,
            self.scaling(),
            {
                "name": f"{title}, {name}",
                "published": self._rules is not None and name == "test" and not data.stride,
                "sha256": _checksum(frames.table),
                "training_sha256": _checksum(self.frames("train").table),
                "statistics": frames.table["statistics"],
                "raw": epath.Path(frames.metadata.get("raw", self._folder)).name,
                "folder": str(self._folder),
            },
            seed,
            reverse_channels=order == "bgr" and getattr(data, "colour_order", "openstl") == "rgb",
            past=past,
        )

    def scaling(self) -> Scaling:
        """By the declared range, or the one measured on the training frames."""
        train = self.frames("train")
        metadata, statistics = train.metadata, train.table["statistics"]
        if None in statistics["mean"]:
            raise InputError(f"{self._folder}: a channel of the training frames has no values, all are missing")
        dtype = np.dtype(metadata["dtype"])
        if metadata["value_range"] is not None:
            low, high = ((value,) for value in metadata["value_range"])
        elif dtype == np.uint8 and max(statistics["max"]) > 1:
            low, high = (0.0,), (255.0,)
        elif getattr(self._data, "per_channel", False):
            low, high = tuple(statistics["min"]), tuple(statistics["max"])
        else:
            low, high = (min(statistics["min"]),), (max(statistics["max"]),)
        missing = any(fraction > 0 for split in metadata["splits"].values() for fraction in split["statistics"]["missing"])
        mean = np.asarray(statistics["mean"])
        try:
            scaling = Scaling(dtype.name, low, high, missing, metadata["fill"])
        except InputError as error:
            raise InputError(f"{self._folder}: {error}") from None
        filling = (mean - np.asarray(low)) / (np.asarray(high) - np.asarray(low))
        # Carried even if nothing is missing here: other data to evaluate on may lack some.
        return dataclasses.replace(scaling, filling=tuple(filling.tolist()))

    def _hold_out(self, whole: Any) -> tuple[Any, Any]:
        """Some clips, whole groups of them; of a single clip the last runs, with those that share frames left out."""
        fraction, clips = self._data.validation_fraction, whole.clips
        if len(clips) > 1:
            groups = in_fixed_disorder({self._rules.group(clip["name"]) for clip in clips})
            held = set(groups[: max(1, math.ceil(fraction * len(groups)))])
            parts = [[clip for clip in clips if (self._rules.group(clip["name"]) in held) == side] for side in (False, True)]
        else:
            (clip,) = clips
            count = max(1, math.ceil(fraction * len(clip["runs"])))
            held = clip["runs"][-count:]
            begin = min(first for first, _, _ in held)
            # Some share frames by their content only, see RUNS_THAT_SHARE_FRAMES, others by their places.
            before = clip["runs"][: -count - self._rules.RUNS_THAT_SHARE_FRAMES + 1]
            train = [run for run in before if run[0] + run[1] <= begin]
            parts = [[{**clip, "runs": list(part)}] if part else [] for part in (train, held)]
        if not all(parts):
            raise InputError(
                f"data.validation_fraction is {fraction}: nothing is left to train on of {len(clips)} clip(s); make it smaller"
            )
        return tuple(self._stored.Clips(whole.frames, part) for part in parts)


def _checksum(table: dict[str, Any]) -> str:
    """Of a split's frames, and of where its clips begin and jump."""
    return hashlib.sha256((table["sha256"] + json.dumps(table["clips"])).encode()).hexdigest()


def _benchmark(name: str, root: str) -> epath.Path:
    from stlight_jax.data import stored

    how = f"run `python -m stlight_jax prepare {name} --raw=RAW --out=FOLDER` and give --config.data.root=FOLDER"
    folder = stored.find_prepared(name, root, how)
    if folder is None:
        where = f"data.root is {root!r}" if root else "data.root is empty, so TFDS's default folder was searched"
        raise InputError(f"{where}, and {name} is not prepared there; {how}")
    return folder


def _own_frames(data: FramesData) -> epath.Path:
    """Their prepared form: `data.root` itself, or made from it once and kept."""
    from stlight_jax.data import stored
    from stlight_jax.data.datasets.frames import Frames
    from stlight_jax.data.prepare import frames_options, prepare_frames, refuse_remote

    if not data.root:
        raise InputError("data.root is empty; give --config.data.root=PATH, a file or folder of videos, pictures or arrays")
    paths.connect(data.root)
    raw = epath.Path(data.root).expanduser()
    if not raw.exists():
        raise InputError(f"data.root is {data.root!r}: there is no such file or folder")
    prepared = stored.find_prepared("frames", data.root, "run prepare anew") if raw.is_dir() else None
    options = frames_options(data)
    if prepared is not None:
        _check_options(prepared, options)
        return prepared
    refuse_remote(raw, "data.root", "frames")
    paths.connect(data.prepared)
    kept = epath.Path(data.prepared or caches.folder() / "frames").expanduser()
    if os.path.realpath(kept) == os.path.realpath(raw):
        raise InputError(f"data.prepared is {data.prepared!r}, the same folder as data.root; choose another one")
    content = json.dumps([_fingerprint(raw, kept), dataclasses.asdict(options), str(Frames.VERSION)], sort_keys=True)
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    out = kept / f"{raw.resolve().name}-{key}"
    found = stored.find_prepared("frames", str(out), "remove it")
    if found is not None:
        return found
    print_message(f"reading {raw} once; what is read is kept in {out}")
    return prepare_frames(raw, options, out, wait=True)


def _check_options(prepared: epath.Path, options: Any) -> None:
    """What was decided when frames were prepared cannot be changed by keys. Raises InputError naming those that try to."""
    from stlight_jax.data.stored import read_metadata

    stored = read_metadata(prepared)["options"]
    given, standard = dataclasses.asdict(options), dataclasses.asdict(type(options)())
    changed = [
        f"data.{key} is {value!r}, prepared with {stored.get(key)!r}"
        for key, value in given.items()
        if repr(value) not in (repr(stored.get(key)), repr(standard[key]))
    ]
    if changed:
        raise InputError(
            f"{prepared} was prepared with other keys: {'; '.join(changed)}; prepare the frames anew: "
            "python -m stlight_jax prepare frames --config=configs/frames.py --config.data.KEY=VALUE --raw=PATH --out=FOLDER"
        )


def _fingerprint(path: epath.Path, kept: epath.Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files, so that a changed file is read anew; without those in the folder `kept`."""
    files = [os.fspath(path)] if path.is_file() else []
    seen = {os.path.realpath(kept)}
    for folder, folders, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # links may lead in circles
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [os.path.join(folder, name) for name in sorted(names) if not name.startswith(".")]
    stats = [(file, os.stat(file)) for file in files if os.path.exists(file)]  # links may lead nowhere
    # In nanoseconds: epath's times are whole seconds, in which a file can be written twice.
    return [(os.path.abspath(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
