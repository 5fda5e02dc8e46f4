"""A training on a CPU keeps freed memory, so that the arrays of its steps do not cost page faults."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from stlight_jax.training.kept_memory import keep_freed_memory

if {keeps}:
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.ones(2**24, np.float32)
    del array
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
LARGE_PAGES = 32  # of the array


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
@pytest.mark.parametrize("keeps", [True, False])
def test_the_third_array_of_a_size_costs_page_faults_unless_memory_is_kept(keeps):
    command = [sys.executable, "-c", FAULTS.format(keeps=keeps)]
    faults = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (faults < LARGE_PAGES / 2) == keeps
