"""Tests of the CPU kernels are skipped where the kernels cannot be compiled, and fail where the kernels are the cause."""

import pytest

COMPILER_FAILED = "the C++ compiler failed"


def require(kernels):
    """Skips a test on machines without a compiler, or with one that takes too long.

    Args:
      kernels: `cpu_kernels` or `cpu_training`.
    """
    reason = kernels.why_unavailable()
    if COMPILER_FAILED in reason:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
