"""Measures the extrapolation of rain by pysteps and by `stlight_jax.model.ops.optical_flow`, side by side.

    pip install pysteps opencv-python-headless
    python benchmarks/pysteps_extrapolation.py --data=FOLDER

FOLDER holds radar_knmi/ and radar_fmi/. pysteps runs with its defaults on the values as they are: motion by Lucas-Kanade from
the six input frames, then semi-Lagrangian extrapolation. Where pysteps has no value, the table takes 0 or the last frame.
"""

import pathlib

import numpy as np
from absl import flags

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.text_table import text_table
from stlight_jax.data.resize import resize_valid

IN_FRAMES, OUT_FRAMES = 6, 6
# name: (path below FOLDER, array, fill value, first frame, side in pixels or None, value that becomes 1)
CLIPS = {
    # The test split of the run "radar" of real_data.py: the last 23 of 92 frames, at 4 km, in the range of its network.
    "knmi": ("radar_knmi/knmi_5min_20100826.npz", "precip", 65535, 69, 104, 109),
    "fmi2016": ("radar_fmi/fmi_5min_20160928.npz", "level", 255, 0, None, 145),
    "fmi2017": ("radar_fmi/fmi_5min_20170509.npz", "level", 255, 0, None, 145),
}


def windows(name: str, data: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads all windows of a clip.

    Args:
      name: a key of `CLIPS`.
      data: the folder with the data sets.

    Returns:
      Inputs `[n, IN_FRAMES, h, w]` and targets `[n, OUT_FRAMES, h, w]`, float32, NaN where values are missing.
    """
    path, array, fill, first, side, high = CLIPS[name]
    frames = np.load(data / path)[array][first:, ..., None]
    if side is not None:
        frames = resize_valid(frames, fill, side, side)
    frames = np.where(frames == fill, np.nan, frames / np.float32(high))[..., 0].astype(np.float32)
    length = IN_FRAMES + OUT_FRAMES
    all_windows = np.stack([frames[start : start + length] for start in range(len(frames) - length + 1)])
    return all_windows[:, :IN_FRAMES], all_windows[:, IN_FRAMES:]


def mse_per_lead(forecast: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the mean over windows of the squared error summed over the valid pixels, `[OUT_FRAMES]`."""
    return np.nansum(np.square(forecast - targets, dtype=np.float64), axis=(2, 3)).mean(0)


def by_pysteps(inputs: np.ndarray) -> np.ndarray:
    """Extrapolates by pysteps with its defaults; NaN where it has no value."""
    import pysteps.motion  # not needed for `windows`
    import pysteps.nowcasts

    motion, extrapolate = pysteps.motion.get_method("LK"), pysteps.nowcasts.get_method("extrapolation")
    return np.stack([extrapolate(frames[-1], motion(frames), OUT_FRAMES) for frames in inputs.astype(np.float64)])


def by_optical_flow(inputs: np.ndarray) -> np.ndarray:
    """Extrapolates by `stlight_jax.model.ops.optical_flow`, one window at a time."""
    import jax

    from stlight_jax.model.ops.optical_flow import extrapolate, motion

    @jax.jit
    def forecast(frames: jax.Array) -> jax.Array:
        return extrapolate(frames[:, -1], motion(frames), OUT_FRAMES)[0]

    return np.concatenate([np.asarray(forecast(frames[None, ..., None])[..., 0]) for frames in inputs])


def main() -> None:
    """Prints a table for each clip."""
    for name in CLIPS:
        inputs, targets = windows(name, pathlib.Path(flags.FLAGS.data))
        last = np.broadcast_to(inputs[:, -1:], targets.shape)
        pysteps = by_pysteps(inputs)
        gaps = np.isnan(pysteps)
        forecasts = {
            "last frame": last,
            "pysteps, else 0": np.where(gaps, 0, pysteps),
            "pysteps, else the last frame": np.where(gaps, last, pysteps),
            "optical_flow": by_optical_flow(inputs),
        }
        rows = []
        for title, forecast in forecasts.items():
            mse = mse_per_lead(forecast, targets)
            rows.append([title, *(f"{value:.4g}" for value in mse), f"{mse.mean():.4g}"])
        print(text_table(["", *(f"lead {lead + 1}" for lead in range(OUT_FRAMES)), "mean"], rows, f"{name}: MSE", width=150))


if __name__ == "__main__":  # a test imports this file
    flags.DEFINE_string("data", None, "Folder with the data sets.", required=True)
    run_script(main)
