"""Nowcasts rain from radar frames with missing values, and scores the nowcasts by thresholds.

A network trains for 60 steps, some minutes, on the first hours of a night, then predicts the last hours, which it has not
seen. The score is the critical success index (CSI): hits / (hits + misses + false alarms) of the event "at least this much
rain". Pixels without a measurement count nowhere. The baseline is the last frame, repeated. `python examples/nowcast.py 300`
trains for 300 steps.
"""

import subprocess
import sys
import tempfile

import numpy as np

from stlight_jax import Forecaster

DATA, MISSING = "examples/data/knmi_radar.npz", 65535
steps = sys.argv[1] if len(sys.argv) > 1 else "60"
workdir = tempfile.mkdtemp(prefix="nowcast_")
data = [f"--config.data.root={DATA}", f"--config.data.fill_value={MISSING}"]
run = [f"--config.train.steps={steps}", f"--workdir={workdir}"]
subprocess.run([sys.executable, "-m", "stlight_jax", "train", "--config=frames:tiny", *data, *run], check=True)

forecaster = Forecaster.load(workdir)
seen, ahead = forecaster.model.in_frames, forecaster.model.out_frames
rain = np.load(DATA)["precip"][-18:]  # [18, 104, 104], uint16 in 0.01 mm: the test frames
starts = range(seen, len(rain) - ahead + 1)
truth = np.stack([rain[start : start + ahead] for start in starts])  # [n, t, h, w]
forecasts = {
    "network": np.stack([forecaster(rain[start - seen : start]) for start in starts]),
    "last frame": np.stack([np.repeat(rain[start - 1 : start], ahead, axis=0) for start in starts]),
}


def csi(forecast: np.ndarray, threshold: int) -> np.ndarray:
    """Returns the critical success index of each lead time, `[t]`."""
    valid = (truth != MISSING) & (forecast != MISSING)
    predicted, observed = (forecast >= threshold) & valid, (truth >= threshold) & valid
    return (predicted & observed).sum((0, 2, 3)) / np.maximum((predicted | observed).sum((0, 2, 3)), 1)


for threshold in (5, 50):
    print(f"CSI of at least {threshold / 100:g} mm in five minutes, by lead time")
    for name, forecast in forecasts.items():
        print(f"  {name:10}", *(f"{value:.2f}" for value in csi(forecast, threshold)))
