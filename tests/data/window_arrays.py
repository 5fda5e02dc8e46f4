"""Small arrays of own frames, configs for windows of them, and the windows cut by hand."""

import numpy as np

from tests.conftest import ROOT

IN, OUT = 3, 2
LENGTH = IN + OUT


def load(name, root, **data):
    """A config of `configs/` for windows of 3 and 2 frames."""
    namespace = {}
    exec((ROOT / "configs" / f"{name}.py").read_text(), namespace)
    config = namespace["get_config"]()
    config.model.update(in_frames=IN, out_frames=OUT)
    config.data.root = str(root)
    if name == "frames":
        config.data.update(validation_fraction=0.1, test_fraction=0.2)
    config.data.update(data)
    config.train.update(batch_size=4, seed=7)
    return config


def write(folder, frames=60, dtype=np.uint16, seed=0, name="a.npy", channels=2):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    array = (
        rng.random((frames, 6, 5, channels)) if np.dtype(dtype).kind == "f" else rng.integers(3, 250, (frames, 6, 5, channels))
    )
    array = array.astype(dtype)
    np.save(folder / name, array)
    return array


def slices(array, stride=1):
    return np.stack([array[first : first + LENGTH] for first in range(0, len(array) - LENGTH + 1, stride)])


def everything(source, epoch=0):
    return source.frames(np.arange(len(source)), epoch)
