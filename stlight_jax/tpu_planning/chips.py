"""TPU chips with their published peaks, and the slices that libtpu can compile for."""

import dataclasses
import math
import os
from typing import Any

import jax
from jax.experimental import topologies

from stlight_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published peak figures of one chip.

    Attributes:
      name: such as "v5e".
      bf16_flops: floating-point operations per second in products of bfloat16.
      hbm_bytes: capacity of the main memory.
      hbm_bandwidth: bytes per second to and from main memory.
      ici_bandwidth: bytes per second to and from the other chips of a slice together, over all links.
      mxu: side of the matrix units, in lanes.
      dimensions: dimensions of the network between chips, 2 or 3.
      source: page of the figures.
      options: options of libtpu with which each chip is one device.
    """

    name: str
    bf16_flops: float
    hbm_bytes: float
    hbm_bandwidth: float
    ici_bandwidth: float
    mxu: int
    dimensions: int
    source: str
    options: tuple[tuple[str, Any], ...] = ()


# Capacities are published in "GB" that are GiB: 15.75 GiB of a v5e's 16 are available to programs.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            "v4", 275e12, 32 * 2**30, 1200e9, 600e9, 128, 3,
            "https://docs.cloud.google.com/tpu/docs/v4; links (6 of 50 GB/s each way): Jouppi et al., ISCA 2023, table 4",
            (("chip_config_name", "megacore"),),
        ),
        Chip("v5e", 197e12, 16 * 2**30, 819e9, 400e9, 128, 2, "https://docs.cloud.google.com/tpu/docs/v5e"),
        Chip(
            "v5p", 459e12, 95 * 2**30, 2765e9, 1200e9, 128, 3, "https://docs.cloud.google.com/tpu/docs/v5p",
            (("chip_config_name", "megacore"),),
        ),
        Chip("v6e", 918e12, 32 * 2**30, 1640e9, 800e9, 256, 2, "https://docs.cloud.google.com/tpu/docs/v6e"),
    )
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are connected by a network.

    Attributes:
      name: such as "v5e:4x4".
      chip: the kind of chip.
      devices: JAX's devices, one per chip; programs can be compiled for them but not run.
    """

    name: str
    chip: Chip
    devices: tuple[Any, ...]


def slice_by_name(name: str) -> Slice:
    """Finds a slice.

    Args:
      name: chip and layout, such as "v5e:4x4" or "v4:2x2x4".

    Raises:
      InputError: the chip is unknown, libtpu does not support the layout, or libtpu is not installed.
    """
    kind, _, layout = name.partition(":")
    sides = layout.split("x")
    if kind not in CHIPS or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(
            f"--topology={name}: expected CHIP:LAYOUT, such as v5e:4x4 or v4:2x2x4, with one of the chips {', '.join(CHIPS)}"
        )
    chip = CHIPS[kind]
    if len(sides) != chip.dimensions:
        example = "x".join(["2", "2", "1"][: chip.dimensions])
        raise InputError(f"--topology={name}: a {kind} slice has {chip.dimensions} dimensions, such as {kind}:{example}")
    _keep_libtpu_from_searching()
    options = dict(chip.options)
    if math.prod(map(int, sides)) == 1:  # a part of a host
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"--topology={name}: {str(error).splitlines()[0]}") from None
    except (RuntimeError, ImportError) as error:
        raise InputError(
            "libtpu is not installed, or not in the version of this JAX; compiling for TPUs needs libtpu but no TPU: "
            f"pip install 'stlight_jax[tpu-aot]' ({str(error).splitlines()[0]})"
        ) from None
    return Slice(name, chip, tuple(devices))


def _keep_libtpu_from_searching() -> None:
    """Keeps libtpu from searching TPUs, asking a metadata server for them, and locking out a second process."""
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_MIN_LOG_LEVEL": "3",
        "TPU_STDERR_LOG_LEVEL": "3",
    }.items():
        os.environ.setdefault(name, value)
