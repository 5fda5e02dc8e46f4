"""What TPU chips can do at most, as published, and the slices of them that libtpu knows how to compile for."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax
from jax.experimental import topologies

from stlight_jax.errors import InputError

LANES = 128  # the innermost dimension of an array in memory fills so many, on all of them


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published peak figures of one chip.

    Attributes:
      bf16_flops: floating-point operations per second, in products of bfloat16.
      hbm_bytes: capacity of its main memory.
      hbm_bandwidth: of it, bytes per second.
      ici_bandwidth: bytes per second to and from other chips of its slice together, over all its links.
      mxu: side of its matrix units, in lanes.
      dimensions: of its network: 2 or 3.
      source: where that stands.
      options: that libtpu wants, to make one device of a chip.
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


# Capacities are published in "GB" that are GiB: the compiler has 15.75 GiB of a v5e's 16 to give away.
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
    """Chips that are wired together; `devices` are JAX's, one per chip, and nothing can be run on them."""

    name: str
    chip: Chip
    devices: tuple[Any, ...]

    @property
    def hosts(self) -> int:
        """How many machines drive it."""
        return len({device.process_index for device in self.devices})


def describe(name: str) -> Slice:
    """The slice that a name such as "v5e:4x4" or "v4:2x2x4" means.

    Raises InputError for unknown chips, for layouts that libtpu does not take, and without libtpu.
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
    _keep_libtpu_off_the_machine()
    options = dict(chip.options)
    if math.prod(map(int, sides)) == 1:  # a part of a host
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"--topology={name}: {str(error).splitlines()[0]}") from None
    except (RuntimeError, ImportError) as error:
        raise InputError(
            "libtpu is not installed, or not the version that goes with this JAX; compiling for TPUs needs it, and no TPU: "
            f"pip install -e '.[tpu-aot]' ({str(error).splitlines()[0]})"
        ) from None
    return Slice(name, chip, tuple(devices))


def _keep_libtpu_off_the_machine() -> None:
    """It would look for TPUs, ask a metadata server about them, and let no second process in."""
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
