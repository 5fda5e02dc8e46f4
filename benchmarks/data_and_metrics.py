"""Times the data stream and the metrics: `python benchmarks/data_and_metrics.py`. Figures are medians over rounds.

Data: the Moving MNIST stream against a generator that makes one sequence at a time with Python's `random`, as OpenSTL's
`dataloader_moving_mnist.py` does, both on one core; and against the consumption of training the tiny network on all cores.
Metrics: all figures of an evaluation on the device against a loop over frames with scikit-image; the script first compares
their numbers.
"""

from __future__ import annotations

import itertools
import math
import os
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table
from skimage.metrics import structural_similarity
from speed_jax import JaxContestant
from speed_networks import NETWORKS

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.data.digits import Digits, load_digits
from stlight_jax.data.moving_images import GeneratedSequences
from stlight_jax.metrics.metric_sums import frame_metrics
from stlight_jax.runs.environment import describe_environment
from stlight_jax.storage.atomic import write_json

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each contestant.")
_OUT = flags.DEFINE_string("out", "runs/speed", "Folder for table and figures.")
_BATCH, _LENGTH = 16, 20


def main() -> None:
    """Times data and metrics and writes their table."""
    digits = load_digits("train", "embedded", "")
    rates = metric_rates(digits)
    tiny = NETWORKS["tiny"]
    print_message("training of the tiny network ...")
    step = JaxContestant("auto", tiny).build("train")
    rates["training of tiny"] = _rate(lambda: _repeated(step, 20, tiny["batch"]))
    rates |= data_rates(digits)  # last, because TensorFlow's threads stay on one core
    ratios = {
        "stream over per-sequence generator (at least 5)": _over(rates, "our stream", "per-sequence generator"),
        "tiny's stream over tiny's training (at least 2)": _over(rates, "our stream, 32x32", "training of tiny"),
        "metrics over scikit-image loop (at least 5)": _over(rates, "our metrics", "scikit-image loop"),
    }
    table = Table("", "per second", "quartiles")
    for name, found in rates.items():
        unit = "frames" if name in ("our metrics", "scikit-image loop") else "sequences"
        low, _, high = statistics.quantiles(found, n=4)
        table.add_row(name, f"{statistics.median(found):,.0f} {unit}", f"{low:,.0f} to {high:,.0f}")
    console = Console(width=110, color_system=None, record=True)
    console.print(table)
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.1f}", highlight=False)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    (out / "data_and_metrics.txt").write_text(console.export_text())
    write_json(out / "data_and_metrics.json", {"environment": describe_environment(), "rates": rates, "ratios": ratios})
    print_message(f"wrote data_and_metrics.txt and .json to {out}")


def data_rates(digits: Digits) -> dict[str, list[float]]:
    """Measures sequences per second on one core, 64 x 64 pixels, and for this project also tiny's 32 x 32."""
    from stlight_jax.data.pipeline import training_batches  # imports TensorFlow, after its messages are off

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        contestants: dict[str, Callable[[], int]] = {}
        reference = per_sequence(digits.images, random.Random(0))
        contestants["per-sequence generator"] = lambda: sum(len(collated(reference)[0]) for _ in range(20))
        for name, images, side in (("our stream", digits, 64), ("our stream, 32x32", digits.resized(14), 32)):
            source = GeneratedSequences(images, 10_000_000, 0, "train", _LENGTH, side)
            stream = training_batches(source, _BATCH, 0, 600_000)
            contestants[name] = lambda stream=stream: sum(len(next(stream)) for _ in range(100))
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(_ROUNDS.value + 1):
            for name, contestant in contestants.items():
                print_message(f"data: {name}, round {turn}")
                begun = time.perf_counter()
                count = contestant()
                if turn:  # the first turn warms up
                    rates[name].append(count / (time.perf_counter() - begun))
        return rates
    finally:
        os.sched_setaffinity(0, cores)


def per_sequence(images: np.ndarray, source: random.Random) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Generates sequences as OpenSTL does: one at a time, frame by frame, in float32 0..255, divided at the end."""
    size, side = images.shape[-1], 64
    free = side - size
    while True:
        canvas = np.zeros((_LENGTH, side, side), np.float32)
        for _ in range(source.choice([2])):
            x, y, angle = source.random(), source.random(), source.random() * 2 * math.pi
            v_y, v_x = math.sin(angle), math.cos(angle)
            tops, lefts = np.zeros(_LENGTH), np.zeros(_LENGTH)
            for frame in range(_LENGTH):
                y, x = y + v_y * 0.1, x + v_x * 0.1
                if x <= 0:
                    x, v_x = 0, -v_x
                elif x >= 1:
                    x, v_x = 1, -v_x
                if y <= 0:
                    y, v_y = 0, -v_y
                elif y >= 1:
                    y, v_y = 1, -v_y
                tops[frame], lefts[frame] = y, x
            tops, lefts = (free * tops).astype(np.int32), (free * lefts).astype(np.int32)
            digit = images[source.randint(0, len(images) - 1)]
            for frame in range(_LENGTH):
                window = (frame, slice(tops[frame], tops[frame] + size), slice(lefts[frame], lefts[frame] + size))
                canvas[window] = np.maximum(canvas[window], digit)
        frames = canvas[:, None] / np.float32(255)  # [t, c, h, w]
        yield frames[: _LENGTH // 2].copy(), frames[_LENGTH // 2 :].copy()


def collated(sequences: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns a batch of inputs and one of outputs, as PyTorch's loader stacks them."""
    inputs, outputs = zip(*itertools.islice(sequences, _BATCH), strict=True)
    return np.stack(inputs), np.stack(outputs)


def metric_rates(digits: Digits) -> dict[str, list[float]]:
    """Measures frames per second of MSE, MAE, PSNR and SSIM with both data ranges, on all cores."""
    frames = GeneratedSequences(digits, 64, 0, "test", 10, 64).frames(np.arange(64)) / np.float32(255)
    target = frames.astype(np.float32)
    prediction = target + np.random.default_rng(0).normal(0, 0.1, target.shape).astype(np.float32)
    on_device = jax.jit(frame_metrics)
    few = slice(0, 8)

    def ours() -> int:
        jax.block_until_ready(on_device(prediction, target))
        return len(target) * target.shape[1]

    def loop() -> int:
        by_scikit_image(prediction[few], target[few], (2.0,))  # as OpenSTL; this project has one SSIM more
        return len(target[few]) * target.shape[1]

    expected = by_scikit_image(prediction[few], target[few])
    found = on_device(prediction, target)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][few], values, rtol=1e-4, err_msg=name)
    print_message("metrics: equal numbers; timing ...")
    rates: dict[str, list[float]] = {"our metrics": [], "scikit-image loop": []}
    for _ in range(_ROUNDS.value):
        rates["our metrics"] += _rate(lambda: _repeated(ours, 5, 1), 1)
        rates["scikit-image loop"] += _rate(loop, 1)
    return rates


def by_scikit_image(
    prediction: np.ndarray, target: np.ndarray, data_ranges: tuple[float, ...] = (2.0, 1.0)
) -> dict[str, np.ndarray]:
    """Computes the scores of `frame_metrics` with scikit-image, one frame at a time."""
    rows = []
    for of_prediction, of_target in zip(prediction, target, strict=True):
        for frame, truth in zip(of_prediction, of_target, strict=True):
            clipped = np.clip(frame, 0, 1)
            mean_squared = np.mean((clipped - truth) ** 2)
            ssim = [structural_similarity(clipped, truth, data_range=r, channel_axis=-1) for r in data_ranges]
            error = frame - truth
            rows.append((np.sum(error**2), np.sum(np.abs(error)), -10 * np.log10(mean_squared), *ssim))
    columns = np.array(rows).reshape(*prediction.shape[:2], -1)
    names = ("mse", "mae", "psnr", "ssim", "ssim_unit_range")
    return {name: columns[..., index] for index, name in enumerate(names[: columns.shape[-1]])}


def _repeated(call: Callable[[], object], times: int, worth: int) -> int:
    """Calls `times` times; returns the sum of the results, or `worth` per call if the results are no numbers."""
    return sum(found if isinstance(found := call(), int) else worth for _ in range(times))


def _rate(work: Callable[[], int], rounds: int | None = None) -> list[float]:
    rates = []
    for _ in range(rounds or _ROUNDS.value):
        begun = time.perf_counter()
        count = work()
        rates.append(count / (time.perf_counter() - begun))
    return rates


def _over(rates: dict[str, list[float]], ours: str, other: str) -> float:
    return statistics.median(rates[ours]) / statistics.median(rates[other])


if __name__ == "__main__":
    run_script(main)
