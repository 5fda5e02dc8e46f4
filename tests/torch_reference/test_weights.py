"""Names, layouts and bits of weights on their way between the frameworks; none of it needs torch."""

import ast
import dataclasses
import re
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import InputError, STLight, STLightConfig
from stlight_jax.model.stlight import init_variables
from stlight_jax.torch_reference.weight_files import read_weights
from stlight_jax.torch_reference.weights import arrays_from_variables, batches_tracked, network_arguments, variables_from_torch
from tests.conftest import ROOT, load_config


def filled(config):
    """Variables of which no two numbers are equal (as far as float32 can tell them apart)."""
    side = 2 * config.patch_size
    shapes = jax.eval_shape(lambda: init_variables(STLight(config), 0, (side, side, config.in_channels)))
    leaves, structure = jax.tree.flatten(shapes)
    numbers = np.cumsum([0, *(int(np.prod(leaf.shape)) for leaf in leaves)])
    values = [np.arange(first, first + np.prod(leaf.shape)) for first, leaf in zip(numbers, leaves, strict=False)]
    values = [value.astype(np.float32).reshape(leaf.shape) for value, leaf in zip(values, leaves, strict=True)]
    return jax.tree.unflatten(structure, values)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_the_pytorch_network_gets_the_arguments_it_takes():
    tree = ast.parse((ROOT / "stlight_jax" / "torch_reference" / "network.py").read_text())
    network = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "NetworkConfig")
    taken = {node.target.id for node in network.body if isinstance(node, ast.AnnAssign)}
    assert network_arguments(STLightConfig(**load_config("tiny").model)).keys() == taken


@pytest.mark.parametrize("size", ["tiny", "XS", "L", "54M"])
def test_a_round_trip_gives_the_same_bits(size):
    config = STLightConfig(**load_config(size).model)
    variables = filled(config)
    arrays = arrays_from_variables(config, variables, batches_tracked=7)
    assert_same(variables_from_torch(config, arrays), variables)
    assert batches_tracked(arrays) == 7


def test_layouts_are_pytorchs(small_model):
    variables = filled(small_model)
    arrays = arrays_from_variables(small_model, variables)
    kernel = variables["params"]["patch_encoder"]["conv"]["kernel"]  # [row, column, in, out]
    assert arrays["patch_encoder.conv.weight"][5, 2, 1, 3] == kernel[1, 3, 2, 5]
    # Of three blocks the long skip leaves before the second and joins before the third.
    near = variables["params"]["mixers_across_skip"]["near"]["kernel"]  # [block, row, column, 1, channel]
    assert arrays["mixers.1.near.weight"][6, 0, 2, 1] == near[0, 2, 1, 0, 6]
    dense = variables["params"]["mixers_after_skip"]["pointwise"]["kernel"]  # [block, in, out]
    assert arrays["mixers.2.pointwise.weight"][4, 3, 0, 0] == dense[0, 3, 4]
    assert arrays["patch_reassembly.conv.bias"].shape == (small_model.out_frames * small_model.out_channels,)


def listing_names(arrays):
    """As a network built from the paper's appendix G names them."""
    renamed = {}
    for name, array in arrays.items():
        name = name.replace("patch_encoder.conv", "patch_encoder.0").replace("patch_encoder.norm", "patch_encoder.1")
        for ours, theirs in (
            ("near", "0.fn.0"),
            ("far", "0.fn.1"),
            ("spatial_norm", "0.fn.3"),
            ("pointwise_norm", "1.2"),
            ("pointwise", "1.0"),
        ):
            name = re.sub(rf"mixers\.(\d+)\.{ours}\.", rf"net.\1.{theirs}.", name)
        renamed[name.replace("patch_reassembly.conv", "patch_reassemble.1")] = array
    return renamed


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model._orig_mod."])
def test_the_papers_own_names_and_wrappers_are_understood(small_model, prefix):
    variables = filled(small_model)
    theirs = listing_names(arrays_from_variables(small_model, variables))
    assert "net.2.0.fn.3.running_var" in theirs
    assert_same(variables_from_torch(small_model, {prefix + name: array for name, array in theirs.items()}), variables)
    plain = {name.replace("patch_reassemble.1", "patch_reassemble"): array for name, array in theirs.items()}
    assert_same(variables_from_torch(small_model, plain), variables)


def test_a_key_map_brings_other_names(small_model):
    variables = filled(small_model)
    arrays = arrays_from_variables(small_model, variables)
    theirs, key_map = {}, {}
    for name, array in arrays.items():
        other = re.sub(r"mixers\.(\d+)\.near", r"layers.\1.dw1", name).replace("patch_encoder", "stem")
        theirs[other] = array
        if other != name and "num_batches" not in name:
            key_map[re.sub(r"layers\.\d+", "layers.{i}", other)] = re.sub(r"mixers\.\d+", "mixers.{i}", name)
    assert "layers.{i}.dw1.weight" in key_map
    assert_same(variables_from_torch(small_model, theirs, key_map), variables)
    with pytest.raises(InputError, match="1 repeated: mixers.0.near.weight"):
        variables_from_torch(small_model, {**theirs, "layers.0.dw1.weight": 0, "mixers.0.near.weight": 0}, key_map)


def test_a_key_map_may_use_the_files_full_names_and_typos_in_it_are_named(small_model):
    variables = filled(small_model)
    arrays = {
        f"model.{name.replace('near', 'dw')}": array for name, array in arrays_from_variables(small_model, variables).items()
    }
    key_map = {"model.mixers.{i}.dw.weight": "mixers.{i}.near.weight", "mixers.{i}.dw.bias": "mixers.{i}.near.bias"}
    assert_same(variables_from_torch(small_model, arrays, key_map), variables)
    with pytest.raises(InputError, match="the key map has names that no weight has: typo"):
        variables_from_torch(small_model, arrays, {**key_map, "typo": "x"})
    for theirs, ours in (("a.{i}.{i}", "b.{i}"), ("a", "b.{i}"), ("a.{i}", "b")):
        with pytest.raises(InputError, match="stands once on both sides or on neither"):
            variables_from_torch(small_model, arrays, {theirs: ours})


@pytest.mark.parametrize("change", [{"depth": 2}, {"depth": 4}, {"depth": 6}, {"hidden_dim": 16}])
def test_variables_of_another_network_are_not_written(small_model, change):
    variables = jax.tree.map(jnp.asarray, filled(small_model))  # JAX clamps an index that is out of range
    with pytest.raises(InputError, match="these variables are not of this network"):
        arrays_from_variables(dataclasses.replace(small_model, **change), variables)


def test_everything_wrong_is_listed(small_model):
    arrays = arrays_from_variables(small_model, filled(small_model))
    del arrays["mixers.0.near.bias"], arrays["mixers.2.near.bias"], arrays["patch_encoder.norm.weight"]
    arrays["head.weight"] = np.zeros(3)
    arrays["mixers.1.far.weight"] = np.zeros((8, 1, 5, 5))
    with pytest.raises(InputError) as caught:
        variables_from_torch(small_model, arrays)
    message = str(caught.value)
    assert "3 missing: patch_encoder.norm.weight, mixers.0.near.bias, mixers.2.near.bias" in message
    assert "1 unexpected: head.weight" in message
    assert "1 misshapen: mixers.1.far.weight [8, 1, 5, 5] instead of [8, 1, 3, 3]" in message
    assert "\n" not in message


def test_tensors_of_safetensors_are_read_as_its_specification_lays_them_out(tmp_path):
    pytest.importorskip("safetensors")
    header = b'{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}'
    content = struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -2.0) + b"\x80\x3f"
    (tmp_path / "w.safetensors").write_bytes(content)
    found = read_weights(tmp_path / "w.safetensors")[""]
    assert {name: (str(array.dtype), array.tolist()) for name, array in found.items()} == {
        "a": ("float32", [[1.5, -2.0]]),
        "b": ("bfloat16", 1.0),
    }
