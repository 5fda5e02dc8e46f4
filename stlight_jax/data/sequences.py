"""What training and evaluation ask of data, wherever they come from."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

import numpy as np

from stlight_jax.data.scaling import Scaling

_FINGERPRINT_SEQUENCES = 8


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


def fingerprint(sequences: Sequences) -> str:
    """A SHA-256 that other data, or other windows of the same, do not have.

    Of what they are made of, where that is known, of how many there are, and of some sequences from all over. (A published test
    set is a file of 800 MB that nobody should have to read whole.)
    """
    count = len(sequences)
    made_of = [sequences.description.get("sha256"), count, list(sequences.shape), sequences.scaling.as_json()]
    digest = hashlib.sha256(json.dumps(made_of).encode())
    some = np.linspace(0, count - 1, min(_FINGERPRINT_SEQUENCES, count)).astype(int)
    for index in some:  # long ones are large
        digest.update(np.ascontiguousarray(sequences.frames(np.array([index]))))
    return digest.hexdigest()
