"""What training and evaluation ask of data, wherever they come from."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from stlight_jax.data.scaling import Scaling


class Sequences(Protocol):
    """A set of sequences that can be made or read by index.

    Attributes:
      description: what a checkpoint or a table says of them, as JSON. "name", "published" (whether they are a published test
        set) and "sequences" are always there, of training sequences "sha256" (of what they are made of), too.
      shape: of one sequence, `[t, h, w, c]`.
      scaling: from its values to the network's.
    """

    description: dict[str, Any]
    shape: tuple[int, int, int, int]
    scaling: Scaling

    def __len__(self) -> int: ...

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """`[len(indices), t, h, w, c]`, of the dtype they are stored in."""
        ...

    def frames_before(self, indices: np.ndarray, steps: int, targets: int) -> tuple[np.ndarray, np.ndarray] | None:
        """What lay `steps` sampling steps before the last `targets` frames of each sequence.

        Returns:
          `[len(indices), targets, h, w, c]`, and bool `[len(indices)]`: whether all of them are there. None if these
          sequences have no past.
        """
        ...
