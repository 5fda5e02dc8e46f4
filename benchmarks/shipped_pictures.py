"""Draws the forecasts of a shipped network: the example data that it is shown with, and the animation of the README.

    python benchmarks/shipped_pictures.py --name=moving_mnist

The network forecasts the first 200 test sequences of the digits in the package, which it has not seen. The sequence with the
median error becomes the file of the network in examples/data. `moving_mnist` is also drawn in docs/demo.gif, with six of the
sequences, evenly spaced.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import ml_collections
import numpy as np
from absl import flags
from PIL import Image, ImageSequence

from stlight_jax import Forecaster, InputError
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import open_test
from stlight_jax.evaluation.samples import evenly_spaced
from stlight_jax.reports import pictures

EXAMPLES = {"tiny": "moving_digits.gif", "moving_mnist": "moving_digits_64.gif"}
_ROOT = pathlib.Path(__file__).parent.parent
_SEQUENCES, _SHOWN = 200, 6
_MILLISECONDS = 200  # for each frame


class Forecasts(NamedTuple):
    """Forecasts of unseen digits.

    Attributes:
      frames: uint8 `[n, T + t, h, w, 1]`, seen and true frames.
      prediction: In grey levels, `[n, t, h, w, 1]`.
    """

    frames: np.ndarray
    prediction: np.ndarray

    def median(self) -> int:
        """Returns the index of the sequence with the median squared error."""
        truth = self.frames[:, -self.prediction.shape[1] :]
        errors = np.square(self.prediction - truth).mean((1, 2, 3, 4))  # [n]
        return int(np.argsort(errors, kind="stable")[len(errors) // 2])


def forecasts(name: str) -> Forecasts:
    """Forecasts the first test sequences of the digits in the package with a shipped network."""
    forecaster = Forecaster.load(name)
    frames = open_test(ml_collections.ConfigDict(forecaster.description["config"])).frames(np.arange(_SEQUENCES))
    return Forecasts(frames, forecaster(frames[:, : forecaster.model.in_frames], dtype="float64"))


def write_gif(path: pathlib.Path, frames: np.ndarray) -> None:
    """Writes grey frames `[t, h, w, 1]` without loss.

    Raises:
      InputError: Two frames that follow each other are equal; Pillow would join them.
    """
    first, *rest = [Image.fromarray(frame[..., 0]) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=_MILLISECONDS, loop=0)
    if not np.array_equal(read_gif(path), frames):
        path.unlink()
        raise InputError(f"{path} holds other frames than those to write, of which two may be equal; choose another sequence")


def read_gif(path: pathlib.Path) -> np.ndarray:
    """Reads grey frames `[t, h, w, 1]`."""
    with Image.open(path) as gif:
        return np.stack([np.array(frame.convert("L")) for frame in ImageSequence.Iterator(gif)])[..., None]


def main() -> None:
    """Writes the files of the network of the flag."""
    name = flags.FLAGS.name
    made = forecasts(name)
    path = _ROOT / "examples" / "data" / EXAMPLES[name]
    write_gif(path, made.frames[made.median()])
    print_message(f"wrote {path}, sequence {made.median()} of the test set")
    if name == "moving_mnist":
        shown, ahead = evenly_spaced(_SEQUENCES, _SHOWN), made.prediction.shape[1]
        frames = made.frames[shown] / 255
        path = _ROOT / "docs" / "demo.gif"
        pictures.animate(path, frames[:, :-ahead], frames[:, -ahead:], made.prediction[shown] / 255)
        print_message(f"wrote {path}")


if __name__ == "__main__":
    flags.DEFINE_enum("name", None, list(EXAMPLES), "Name of the shipped network.", required=True)
    run_script(main)
