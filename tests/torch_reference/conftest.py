"""A fixture of tests that read files of `torch.save`."""

import pytest

from stlight_jax.torch_reference.torch_pickle import read_torch_file


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def read(request):
    from tests.torch_reference.torch_files import saved  # needs torch

    return lambda content: read_torch_file(saved(content, is_archive=request.param))
