"""Bounds by hand, the search for the largest batch on a made-up compiler, widths, and refusals; no libtpu needed."""

import dataclasses
import json
import types

import pytest

from stlight_jax import InputError, STLightConfig
from stlight_jax.data.load import check_config
from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.batch_search import largest_batch
from stlight_jax.tpu_planning.chips import CHIPS, Slice, slice_by_name
from stlight_jax.tpu_planning.compile_all import compile_all
from stlight_jax.tpu_planning.compile_plan import CompilePlan, hbm_needed
from stlight_jax.tpu_planning.compiled_program import CompiledProgram, DeviceMemory, OversizedProgram, time_bound
from stlight_jax.tpu_planning.hlo_costs import ProgramCost
from stlight_jax.tpu_planning.hlo_program import Collective
from stlight_jax.tpu_planning.lanes import lane_fit
from tests.conftest import load_config


def test_bounds_are_work_over_published_peaks():
    cost = ProgramCost(
        flops=1e12, product_flops=197e9, product_passes=6 * 197e9, transcendentals=0, bytes=819e6, padding_bytes=0
    )
    found = time_bound(CHIPS["v5e"], cost, (Collective("all-reduce", 50_000_000, 2),), 4)
    assert found.products == pytest.approx(6e-3)  # 6 passes of 0.197 TFLOP at 197 TFLOP/s
    assert found.memory == pytest.approx(1e-3)
    assert found.network == pytest.approx(100e6 * 2 * 3 / 4 / 200e9)  # a ring sends 3/4 of the bytes twice
    assert found.seconds == found.products
    assert found.limited_by == "products"
    assert time_bound(CHIPS["v5e"], cost, (Collective("all-reduce", 50_000_000, 2),), 1).network == 0


def made_up(batch, per_sequence=1.0, limit=16.0):
    """A chip of `limit` GiB and a program of 1 GiB and so much for each sequence."""
    one_chip = Slice("v5e:1x1", CHIPS["v5e"], (None,))
    if 1 + batch * per_sequence > limit:
        return OversizedProgram("training", one_chip, batch, None)
    memory = DeviceMemory(2**30, 0, int(batch * per_sequence * 2**30), 0)
    return CompiledProgram("training", one_chip, batch, memory, ProgramCost(bytes=1.0), (), 0.0)


@pytest.mark.parametrize(
    ("message", "gibibytes"),
    [
        ("RESOURCE_EXHAUSTED: required for HLO temporaries (65.59G) exceeds available HBM (15.75G)", 65.59),
        ("Ran out of memory in memory space hbm. Used 64.00G of 15.75G hbm. Exceeded hbm capacity by 48.25G.", 64),
        ("Ran out of memory in memory space hbm. Used 1.50T of 15.75G hbm.", 1536),
        ("RESOURCE_EXHAUSTED: nothing more is known", None),
        ("Ran out of memory in memory space vmem. Used 17.50M of 16.00M vmem. Exceeded vmem capacity by 1.50M.", None),
    ],
)
def test_the_compilers_message_tells_what_is_needed(message, gibibytes):
    assert hbm_needed(message) == (gibibytes and pytest.approx(gibibytes * 2**30))


# The sequences have 15 GiB. From 8 on the search is in steps of 8.
@pytest.mark.parametrize(
    ("per_sequence", "true"), [(0.01, 1496), (0.09, 160), (0.35, 40), (1.0, 8), (2.1, 7), (8.0, 1), (15.1, 0)]
)
@pytest.mark.parametrize("start", [8, 16, 64])
def test_the_search_finds_the_largest_batch(per_sequence, true, start):
    asked = []

    def compiled_at(batch):
        asked.append(batch)
        return made_up(batch, per_sequence)

    found = largest_batch(compiled_at, 16 * 2**30, start, 8, limit=12)
    assert len(asked) == len(set(asked)) <= 8
    assert found.fits <= true < found.too_large
    assert found.too_large - found.fits <= (max(8, found.fits // 8) if true >= 8 else 1)
    assert all(batch % 8 == 0 for batch in asked if batch > 8)


def test_the_search_below_a_step_keeps_to_batches_that_can_be_accumulated():
    asked = []

    def compiled_at(batch):
        asked.append(batch)
        return made_up(batch, 2.1)

    found = largest_batch(compiled_at, 16 * 2**30, 24, 24, limit=8, fine=3)
    assert (found.fits, found.too_large) == (6, 9)  # 7 would fit
    assert all(batch % 3 == 0 for batch in asked)


def test_a_search_that_reaches_its_limit_reports_what_it_tried():
    found = largest_batch(made_up, 16 * 2**30, 8, 8, limit=1)
    assert (found.fits, found.too_large) == (8, None)
    text = tpu_table.search_text({"topology": "v5e:1x1", **dataclasses.asdict(found)})
    assert text == "Largest batch per chip of training on v5e:1x1: 8 fits (8: 9.00 GiB).\n"


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
    results = json.loads(json.dumps(tpu_table.as_json("made up", STLightConfig(**load_config("tiny").model), programs, search)))
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


@pytest.mark.parametrize(
    ("hidden_dim", "patch_size", "lanes", "padded", "narrower", "wider"),
    [
        (1400, 2, 128, 1408, 1280, 1408),
        (400, 2, 128, 512, 384, 512),
        (256, 1, 128, 256, 256, 256),
        (96, 2, 128, 128, 0, 128),
        (1000, 2, 256, 1024, 768, 1024),
        (90, 3, 128, 128, 0, 1152),  # multiples of 128 and of the 9 cells of a patch
    ],
)
def test_widths(hidden_dim, patch_size, lanes, padded, narrower, wider):
    found = lane_fit(hidden_dim, patch_size, lanes)
    assert (found.padded, found.narrower, found.wider) == (padded, narrower, wider)
    assert found.padding == pytest.approx((padded - hidden_dim) / padded)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9:2x2", "--topology=v9:2x2: expected CHIP:LAYOUT, .* chips v4, v5e, v5p, v6e"),
        ("v5e", "--topology=v5e: expected CHIP:LAYOUT"),
        ("v5e:4x0", "expected CHIP:LAYOUT"),
        ("v4:2x2", "--topology=v4:2x2: a v4 slice has 3 dimensions, such as v4:2x2x1"),
    ],
)
def test_topologies_that_are_none(name, message):
    with pytest.raises(InputError, match=message):
        slice_by_name(name)


def test_frames_that_the_network_does_not_take_are_refused():
    with pytest.raises(InputError, match="33 x 32 pixels; model.patch_size 2"):
        CompilePlan(check_config(load_config("tiny")), (33, 32))


def test_a_batch_that_cannot_be_accumulated_is_refused():
    config = load_config("tiny")
    config.train.accumulate = 3
    with pytest.raises(InputError, match="--batch_per_chip=4 is no multiple of train.accumulate, 3"):
        CompilePlan(check_config(config), (32, 32)).training(Slice("v5e:1x1", CHIPS["v5e"], (None,)), 4)
