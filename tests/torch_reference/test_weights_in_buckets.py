"""PyTorch weights that come from a bucket, and go to one."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.torch_reference.convert import checkpoint_from_torch, torch_from_checkpoint
from stlight_jax.torch_reference.weight_files import read_weights, write_weights

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
from tests.torch_reference.test_convert import network  # noqa: E402


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_go_both_ways(small_run, bucket_folder, suffix):
    expected = network(small_run).state_dict()
    write_weights(bucket_folder / f"in{suffix}", expected)
    checkpoint_from_torch(small_run, bucket_folder / f"in{suffix}", bucket_folder / "run")
    with pytest.raises(InputError, match="holds checkpoints already"):
        checkpoint_from_torch(small_run, bucket_folder / f"in{suffix}", bucket_folder / "run")
    torch_from_checkpoint(bucket_folder / "run", "last", bucket_folder / f"out{suffix}")
    found = read_weights(bucket_folder / f"out{suffix}")[""]
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
    with pytest.raises(InputError, match="nothing.*: no such file"):
        read_weights(bucket_folder / f"nothing{suffix}")
