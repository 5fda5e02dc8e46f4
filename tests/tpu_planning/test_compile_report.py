"""All programs of a config and their table, on a made-up compiler."""

import dataclasses
import json
import types

import pytest

from stlight_jax import InputError, STLightConfig
from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.chips import CHIPS, Slice
from stlight_jax.tpu_planning.compile_plan import OversizedProgram
from stlight_jax.tpu_planning.compile_report import compile_all
from tests.conftest import load_config
from tests.tpu_planning.made_up_compiler import made_up


def made_up_plan(capacities):
    """Programs of 1 GiB and 1 for each sequence, for slices of so many GiB; of a prediction half a GiB for each."""

    def compile_for(kind, per_sequence):
        def compiled(slice_, batch):
            program = made_up(batch, per_sequence, capacities[slice_.chip.name])
            if isinstance(program, OversizedProgram):
                program = dataclasses.replace(program, needed=batch * per_sequence * 2**30)
            return dataclasses.replace(program, kind=kind, slice=slice_)

        return compiled

    return types.SimpleNamespace(
        training=compile_for("training", 1.0), prediction=compile_for("prediction", 0.5), config=load_config("tiny")
    )


def test_what_does_not_fit_is_in_the_results_too():
    chip = types.SimpleNamespace(process_index=0)
    slices = [Slice(f"{name}:1x1", CHIPS[name], (chip,)) for name in ("v6e", "v5e")]
    programs, search = compile_all(made_up_plan({"v6e": 32, "v5e": 8}), slices, 16, search=True)
    assert (search.fits, search.too_large) == (24, 32)
    searched = {"topology": "v6e:1x1", **dataclasses.asdict(search)}
    results = tpu_table.as_json("made up", STLightConfig(**load_config("tiny").model), programs, searched)
    results = json.loads(json.dumps(results))
    found = {(one["program"], one["topology"], one["batch_per_chip"]): one for one in results["programs"]}
    assert {key: "does_not_fit" in one for key, one in found.items()} == {
        ("training", "v6e:1x1", 16): False,
        ("training", "v5e:1x1", 16): True,
        ("training", "v6e:1x1", 24): False,
        ("prediction", "v6e:1x1", 16): False,
        ("prediction", "v5e:1x1", 16): True,
    }
    assert found["training", "v5e:1x1", 16]["needed"] == 16 * 2**30
    text = tpu_table.as_text(results)
    assert "as parallel.launcher shard_map launches it" in text
    (row,) = [line for line in text.splitlines() if line.strip().startswith("training, v5e:1x1, 16 per chip")]
    assert row.endswith("16.00 of 16: does not fit")
    with pytest.raises(InputError, match="the training step does not fit a v5e chip with 16 sequences"):
        compile_all(made_up_plan({"v5e": 8}), slices[1:], 16, search=False)
