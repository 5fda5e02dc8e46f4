"""A data set's section with two keys, and the same with a third one that a later version added in one line."""

import dataclasses
from typing import Annotated, Literal

from stlight_jax.config.schema import Key, Section


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyData(Section, name="data"):
    stride: Annotated[int, Key("Frames from one window to the next.", least=1, recipe=True)] = 2
    low: Annotated[float | None, Key("Low end of the range.")] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterToyData(ToyData):
    order: Annotated[Literal["rgb", "bgr"], Key("Order of the channels.", since="0.3", absent="bgr")] = "rgb"
