"""The trained networks that are part of the package, by name."""

import pathlib

SUFFIX = ".stlight"
ONNX_SUFFIX = ".onnx"
FOLDER = pathlib.Path(__file__).parent / "shipped"


def shipped() -> list[str]:
    """Returns the names of the shipped networks."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))
