"""Measures throughput by OpenSTL's protocol and after warming up, in JAX and in PyTorch: `python benchmarks/throughput.py`.

OpenSTL (`--fps`) times forward passes of uniform random frames without warming up, 100 of batch 100 below 128 pixels, else
1000 of batch 10, and divides sequences by seconds, so the first pass, compilation included, counts like the others. Its
published figures are from a V100. On a CPU give fewer --repeats; the table shows their number.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs room on the same GPU

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from stlight_jax import STLight, STLightConfig
from stlight_jax.commands.run_command import run_script
from stlight_jax.commands.shared_flags import define_config_flag
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config, network_config
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.stlight import init_variables
from stlight_jax.runs.environment import describe_environment
from stlight_jax.storage.atomic import write_json
from stlight_jax.torch_reference.weight_files import require
from stlight_jax.torch_reference.weights import torch_network

define_config_flag(flags.FLAGS, sys.argv, default="moving_mnist:tiny")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, lower_bound=0, help="Sequences per pass; 0 for OpenSTL's: 100, or 10 from 128 pixels on."
)
_REPEATS = flags.DEFINE_integer(
    "repeats", 0, lower_bound=0, help="Forward passes; 0 for OpenSTL's: 100, or 1000 from 128 pixels on."
)
_JSON = flags.DEFINE_string("json", None, "File for the figures; none by default.")


def main() -> None:
    """Prints sequences/s of both frameworks under both protocols."""
    config = flags.FLAGS.config
    model, side = network_config(check_config(config)), config.data.image_size
    batch_size = _BATCH.value or (100 if side < 128 else 10)
    repeats = _REPEATS.value or (100 if side < 128 else 1000)
    size = (batch_size, model.in_frames, side, side, model.in_channels)
    frames = np.random.default_rng(0).random(size, dtype=np.float32)
    variables = init_variables(STLight(model), 0, size[2:])
    forwards = {"JAX": in_jax(model, variables, frames), "PyTorch": in_torch(model, variables, frames)}
    cold: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {name: [] for name in forwards}
    for name, forward in forwards.items():
        print_message(f"{name}: {repeats} passes of batch {batch_size} from a cold start ...")
        cold[name] = _timed(forward, repeats)
    print_message(f"{repeats} warm passes of each, in turns ...")
    for _ in range(repeats):
        for name, forward in forwards.items():
            warm[name] += _timed(forward, 1)
    results = {
        name: {
            "openstl": repeats * batch_size / sum(cold[name]),
            "first_pass_seconds": cold[name][0],
            "warm": batch_size / statistics.median(warm[name]),
        }
        for name in forwards
    }
    table = Table("", title=f"{config.dataset} {config.size}: sequences/s, {repeats} passes of batch {batch_size}")
    for heading in ("OpenSTL's protocol", "first pass, s", "warmed up (median)"):
        table.add_column(heading, justify="right")
    for name, row in results.items():
        table.add_row(name, f"{row['openstl']:.1f}", f"{row['first_pass_seconds']:.2f}", f"{row['warm']:.1f}")
    ratio = {protocol: results["JAX"][protocol] / results["PyTorch"][protocol] for protocol in ("openstl", "warm")}
    versions = describe_environment()
    versions["packages"]["torch"] = require("torch").__version__
    table.caption = f"{versions['devices'][0]}, float32, jax {jax.__version__}, torch {versions['packages']['torch']}"
    table.add_row("JAX over PyTorch", f"{ratio['openstl']:.2f}", "", f"{ratio['warm']:.2f}")
    Console().print(table)
    if _JSON.value:
        content = {"environment": versions, "batch_size": batch_size, "repeats": repeats, "sequences_per_second": results}
        write_json(_JSON.value, content)


def in_jax(config: STLightConfig, variables: dict[str, Any], frames: np.ndarray) -> Callable[[], None]:
    """Makes a forward pass in JAX that returns when the device is done."""
    predict = Predictor(config, variables)
    on_device = jax.device_put(frames)
    return lambda: predict(on_device).block_until_ready()


def in_torch(config: STLightConfig, variables: dict[str, Any], frames: np.ndarray) -> Callable[[], None]:
    """Makes a forward pass in PyTorch that returns when the device is done, on the GPU if the machine has one."""
    torch = require("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_network(config, jax.tree.map(np.array, variables)).eval().to(device)
    torch.backends.cudnn.allow_tf32 = config.precision != "float32"  # the precision of JAX
    inputs = torch.from_numpy(frames.transpose(0, 1, 4, 2, 3).copy()).to(device)

    def forward() -> None:
        with torch.no_grad():
            network(inputs)
        if device == "cuda":
            torch.cuda.synchronize()

    return forward


def _timed(forward: Callable[[], None], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        forward()
        seconds.append(time.perf_counter() - begun)
    return seconds


if __name__ == "__main__":
    run_script(main)
