"""Records the outputs of the comparison's networks in PyTorch, for tests without it.

Run `python -m tests.torch_reference.record`.
"""

import json
import platform

import numpy as np
import torch

from stlight_jax.torch_reference.parity import CASES, make_frames, make_variables, outcome_in_torch
from tests.torch_reference.test_recorded import FIXTURES, digest


def main() -> None:
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    for name, case in CASES.items():
        outcome = outcome_in_torch(case, make_variables(case), make_frames(case))
        np.savez_compressed(
            FIXTURES / f"{name}.npz",
            versions=json.dumps(versions),
            prediction=outcome["prediction"][""].astype(np.float32),
            training_prediction=outcome["prediction in training"][""].astype(np.float32),
            loss=outcome["loss"],
            gradients=digest(outcome["gradients"]),
            running_means=digest(outcome["running means"]),
        )
        print(name, (FIXTURES / f"{name}.npz").stat().st_size)


if __name__ == "__main__":
    main()
