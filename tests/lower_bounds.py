"""Prints the lower bounds of setup.cfg as constraints of pip, `h5py==3.12`: python -m tests.lower_bounds EXTRA,EXTRA"""

import configparser
import sys

from packaging.requirements import Requirement
from packaging.version import Version

from tests.commands import ROOT


def lower_bounds(extras: list[str]) -> dict[str, Version]:
    """The lower bound of every dependency, with those of extras; the higher one if a package has two."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    texts = [setup["options"]["install_requires"], *(setup["options.extras_require"][extra] for extra in extras)]
    bounds: dict[str, Version] = {}
    for line in "\n".join(texts).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        versions = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
        if versions and (requirement.marker is None or requirement.marker.evaluate()):
            bounds[requirement.name] = max(*versions, bounds.get(requirement.name, Version("0")))
    return bounds


if __name__ == "__main__":
    for name, version in lower_bounds(sys.argv[1].split(",")).items():
        print(f"{name}=={version}")
