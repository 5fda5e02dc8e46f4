"""Numbers of the timed programs beside those of a CPU: stage `check`, and the references that it needs."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.device_sequences import Placements, draw
from benchmarks.gpu.records import Deadline, Records
from benchmarks.gpu.training_run import DeviceTraining, recipe
from benchmarks.speed_networks import NETWORKS
from benchmarks.speed_worker import ENVIRONMENTS, Contestant
from stlight_jax.config import RunConfig
from stlight_jax.errors import ParityError
from stlight_jax.runs.environment import describe_environment

REFERENCES = pathlib.Path(__file__).with_name("references")
# Largest relative errors in the Euclidean norm: of the loss, predictions and statistics; and of the gradients of a kernel. The
# gradients of biases are sums whose terms cancel.
LIMITS = {"float32": (1e-3, 1e-2), "tensorfloat32": (1e-2, 1e-1), "bfloat16": (5e-2, 2e-1)}
TASKS = ("train", "throughput", "latency")
_STEPS = 8
_LOSS_LIMIT = 2e-2


def device_kind() -> str:
    """Returns "gpu" or "cpu": the device that JAX takes."""
    return "gpu" if jax.default_backend() == "gpu" else "cpu"


def start_contestant(name: str, network: str, precision: str, device: str, **options: Any) -> Contestant:
    """Starts a contestant in its own process, see `benchmarks/speed_worker.py`.

    Args:
      name: framework and mode.
      network: key of `NETWORKS`; the batch is 16 but for "toy".
      precision: key of `PRECISIONS`.
      device: "gpu" or "cpu".
      **options: further fields of `STLightConfig`.
    """
    spec = NETWORKS[network] | {"device": device, "precision": precision}
    spec["options"] = spec.get("options", {}) | options
    if network != "toy":
        spec["batch"] = 16
    environment = dict(ENVIRONMENTS[device])
    if name.startswith("torch"):  # it uses JAX for the shapes of weights only
        environment["JAX_PLATFORMS"] = "cpu"
    return Contestant(name, spec, sys.executable, environment)


def compare_numbers(
    contestant: Contestant, network: str, precision: str, tasks: Sequence[str], deadline: Deadline
) -> dict[str, Any]:
    """Compares the numbers of a contestant's programs with those of a CPU.

    Args:
      contestant: the contestant, in any framework.
      network: key of `NETWORKS`.
      precision: key of `PRECISIONS`.
      tasks: some of `TASKS`.
      deadline: end of the stage.

    Returns:
      Relative errors, see `relative_errors`.

    Raises:
      ParityError: an error exceeds its limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "numbers.npz"
        contestant.order(deadline.left() + 1, task="numbers", of=list(tasks), path=str(path))
        found = dict(np.load(path))
    if not (REFERENCES / f"{network}.npz").exists():  # it takes minutes for large networks, so most come with the code
        write_reference(network)
    reference = dict(np.load(REFERENCES / f"{network}.npz"))
    return relative_errors(found, reference, contestant.name, LIMITS[precision])


def relative_errors(
    found: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], name: str, limits: tuple[float, float]
) -> dict[str, Any]:
    """Compares the numbers of a program.

    Args:
      found: the numbers, as from `speed_networks.sampled`.
      reference: the same, and more, of a CPU.
      name: of the program, for the error.
      limits: of all numbers but the gradients, and of the gradients.

    Returns:
      Name -> relative error in the Euclidean norm: of the largest one with its name, and of the kernels' gradients.

    Raises:
      ParityError: an error exceeds its limit.
    """
    errors: dict[str, float] = {}
    for key in found:
        expected = np.float64(reference[key])
        norm = np.linalg.norm(expected)
        if norm > 0:  # the gradient of the encoder's bias is zero
            errors[key] = float(np.linalg.norm(np.float64(found[key]) - expected) / norm)
    values = [key for key in errors if not key.startswith("gradient")]
    gradients = [key for key in errors if key.startswith("gradient") and key.endswith("kernel")]
    summary: dict[str, Any] = {"limits": list(limits)}
    for kind, keys, limit in zip(("value", "gradient"), (values, gradients), limits, strict=True):
        if not keys:
            continue
        worst = max(keys, key=errors.__getitem__)
        if not errors[worst] <= limit:
            raise ParityError(f"{name}: the error of {worst} is {errors[worst]:.2g}; expected at most {limit:g}, as on a CPU")
        summary[f"largest error of a {kind}"] = [errors[worst], worst]
    return summary


def write_reference(network: str) -> None:
    """Computes a network's numbers in float32 on this machine's CPU, with a version of JAX that the package supports."""
    contestant = start_contestant("jax:auto", network, "float32", "cpu", rematerialise="blocks")  # with less memory
    REFERENCES.mkdir(exist_ok=True)
    contestant.order(task="numbers", of=TASKS, path=str(REFERENCES / f"{network}.npz"))
    contestant.close()


def check(records: Records, deadline: Deadline, networks: tuple[str, ...], config: RunConfig) -> None:
    """Runs the stage: the card, the drawing of sequences, the training program, and the contest's programs of this project.

    Args:
      records: results of all visits.
      deadline: end of the stage.
      networks: keys of `NETWORKS`.
      config: the training's.
    """
    records.measure("check", "card", deadline, describe_card)
    records.measure("check", "drawing", deadline, lambda: _check_drawing(DeviceTraining(config)))
    for network in networks:

        def compare(network: str = network) -> dict[str, Any]:
            contestant = start_contestant("jax:auto", network, "bfloat16", device_kind())
            try:
                return compare_numbers(contestant, network, "bfloat16", TASKS, deadline)
            finally:
                contestant.close()

        records.measure("check", f"{network} bfloat16", deadline, compare)
    records.measure("check", "training program", deadline, _check_training)


def describe_card() -> dict[str, Any]:
    """Measures the card's two ceilings, and returns them with its state and all versions."""
    large = 1024 if device_kind() == "gpu" else 4  # MiB
    x = jnp.ones(large * 2**18, jnp.float32)
    side = 8192 if device_kind() == "gpu" else 256
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    copy, product = jax.jit(lambda x: x + 1), jax.jit(jnp.matmul)
    copied, multiplied = _seconds(copy, x), _seconds(product, a, a)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.sm,power.draw,power.limit", "--format=csv"]
    try:
        state = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        state = "no nvidia-smi"
    return {
        "environment": describe_environment() | {"torch": _torch_version()},
        "card": state,
        "copy_bytes_per_second": 2 * x.nbytes / copied,
        "bfloat16_operations_per_second": 2 * side**3 / multiplied,
    }


def _torch_version() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.__version__


def _seconds(call: Any, *arguments: jax.Array) -> float:
    times = []
    for _ in range(12):
        begun = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        times.append(time.perf_counter() - begun)
    return sorted(times[2:])[5]


def _check_drawing(training: DeviceTraining) -> dict[str, Any]:
    """Draws sequences on the device and on the host."""
    source, indices = training.training, np.arange(32)
    placements = Placements(*(array.astype(np.int32) for array in source.placements(indices, epoch=3)))
    drawn = jax.jit(draw, static_argnums=2)(training.digits, placements, source.side)
    different = int(np.sum(np.asarray(drawn) != source.frames(indices, epoch=3)))
    if different:
        raise ParityError(f"{different} pixels drawn on the device differ from the host's; expected none")
    return {"different_pixels": different, "digits": source.digits.origin}


def _check_training() -> dict[str, Any]:
    """Makes steps of a small training on the device, and on this machine's CPU in float32."""
    losses = []
    for device, dtype in ((jax.devices()[0], "bfloat16"), (jax.devices("cpu")[0], "float32")):
        config = recipe(toy=True, dtype=dtype)
        training = DeviceTraining(dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1)), device)
        with jax.default_device(device):
            state, work = training.fresh_state(), training.work(0, np.arange(_STEPS))
            losses.append(np.asarray(training.program(state, work, training.digits)[1], np.float64))
    error = float(np.abs(losses[0] / losses[1] - 1).max())
    if not error <= _LOSS_LIMIT:
        raise ParityError(f"a small training's losses differ by {error:.2g} from a CPU's; expected at most {_LOSS_LIMIT}")
    return {"error_of_losses": error, "limit": _LOSS_LIMIT}
