"""The scripts in `benchmarks` import each other by their names."""

import sys

from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
