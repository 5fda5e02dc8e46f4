"""Real programs, compiled for real TPU slices by libtpu: `make test-tpu`."""

import json
import subprocess
import sys

import jax
import pytest
from jax import export

from stlight_jax import InputError, STLight
from stlight_jax.data.load import check_config
from stlight_jax.inference import trained
from stlight_jax.inference.export import export_model
from stlight_jax.model.count import count
from stlight_jax.model.stlight import init_variables
from stlight_jax.tpu_planning.chips import CHIPS, slice_by_name
from stlight_jax.tpu_planning.compile_plan import CompilePlan, OversizedProgram
from stlight_jax.tpu_planning.hlo_program import HloProgram
from tests.conftest import ROOT, load_config

pytestmark = pytest.mark.tpu


def small(**changes):
    config = load_config("tiny")
    config.model.update(hidden_dim=128, depth=6, scan_unroll=1, dtype="bfloat16", shortcut="none")
    config.train.loss = "squared"
    for key, value in changes.items():
        config.model[key] = value
    return check_config(config)


@pytest.fixture(scope="module")
def training():
    return CompilePlan(small(), (32, 32)).training(slice_by_name("v5e:2x2"), 16)


@pytest.mark.parametrize("name", ["v4:2x2x4", "v5e:1x1", "v5e:16x16", "v5p:2x2x2", "v6e:4x4"])
def test_slices_have_one_device_per_chip(name):
    chips = 1
    for side in name.split(":")[1].split("x"):
        chips *= int(side)
    assert len(slice_by_name(name).devices) == chips


def test_layouts_that_libtpu_does_not_know_are_refused():
    with pytest.raises(InputError, match="--topology=v5e:3x3: .*not divisible"):
        slice_by_name("v5e:3x3")


def test_the_training_step_reduces_gradients_once_and_gathers_nothing(training):
    assert {one.kind for one in training.collectives} == {"all-reduce"}
    parameters = count(CompilePlan(small(), (32, 32)).model_config, 32, 32).total.parameters
    largest = max(training.collectives, key=lambda one: one.bytes)
    assert largest.bytes == 4 * (parameters + 1)  # and the loss
    assert largest.times == 1
    rest = [one for one in training.collectives if one is not largest]
    assert {one.bytes for one in rest} == {2 * 4 * 128}  # two sums of each norm
    assert sum(one.times for one in rest) == 2 * (1 + 2 * 6)  # forward and backward


def test_its_work_is_three_times_the_forward_pass(training):
    plan = CompilePlan(small(), (32, 32))
    parts = count(plan.model_config, 32, 32).parts
    products = 2 * 16 * sum(part.true for part in parts if "norm" not in part.name)
    # Taps beyond the border are no work (a fifth of those of the far kernel), and the frames need no gradient.
    assert 0.85 * 3 * products < training.cost.product_flops < 3 * products
    assert training.cost.product_passes == training.cost.product_flops  # all in bfloat16
    assert 0 < training.cost.padding_bytes < training.cost.bytes


def test_memory_holds_the_state_and_is_updated_in_place(training):
    model = CompilePlan(small(), (32, 32)).model_config
    variables = jax.eval_shape(lambda: init_variables(STLight(model), 0, (32, 32, 1)))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    frames = 16 * 20 * 32 * 32
    assert training.memory.arguments > 3 * 4 * parameters + frames  # parameters and two moments
    assert training.memory.results < 10_000  # the metrics
    assert training.memory.total < CHIPS["v5e"].hbm_bytes


def network(program):
    return program.as_json()["bound_not_a_measurement"]["network"]


def test_more_chips_change_the_network_only(training):
    larger = CompilePlan(small(), (32, 32)).training(slice_by_name("v5e:4x4"), 16)
    assert larger.cost.product_flops == training.cost.product_flops
    assert network(larger) == pytest.approx(network(training) * (15 / 16) / (3 / 4))
    assert larger.as_json()["hosts"] == 4


def test_float32_products_take_six_passes():
    cost = CompilePlan(small(dtype="float32"), (32, 32)).prediction(slice_by_name("v5e:1x1"), 4).cost
    assert cost.product_passes == pytest.approx(6 * cost.product_flops, rel=0.01)


def test_what_does_not_fit_is_said_with_its_size():
    found = CompilePlan(small(hidden_dim=1024), (512, 512)).prediction(slice_by_name("v5e:1x1"), 128)
    assert isinstance(found, OversizedProgram)
    activations = 128 * 256 * 256 * 1024 * 2  # one grid of them, in bfloat16
    assert found.needed > max(2 * activations, CHIPS["v5e"].hbm_bytes)


@pytest.mark.parametrize("batch", [1, 16])
def test_an_exported_program_compiles(batch):
    model = export_model(trained.load("tiny"))
    (device,) = slice_by_name("v5e:1x1").devices
    place = jax.sharding.SingleDeviceSharding(device)
    variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), model.variables)
    frames = jax.ShapeDtypeStruct((batch, 10, 32, 32, 1), "float32", sharding=place)
    compiled = jax.jit(export.deserialize(bytearray(model.program.content)).call).lower(variables, frames).compile()
    assert compiled.out_info.shape == (batch, 10, 32, 32, 1)
    products = 2 * batch * sum(part.true for part in count(model.config, 32, 32).parts if "norm" not in part.name)
    assert HloProgram(compiled.as_text()).cost().product_flops == pytest.approx(
        products, rel=0.3
    )  # taps at the border are no work


def test_the_command(tmp_path):
    arguments = [
        "--config=configs/moving_mnist.py:tiny", "--config.model.depth=2", "--config.model.scan_unroll=1",
        "--config.model.dtype=bfloat16", "--topology=v5e:2x2,v5e:4x4", "--batch_per_chip=8", "--nosearch", f"--out={tmp_path}",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "stlight_jax", "compile", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "bounds, not measurements" in done.stdout
    results = json.loads((tmp_path / "compile.json").read_text())
    assert [(program["program"], program["chips"]) for program in results["programs"]] == [
        ("training", 4),
        ("training", 16),
        ("prediction", 4),
    ]
    assert results["width"]["128"]["padded"] == 128
    assert (tmp_path / "compile.txt").read_text() == done.stdout
    assert (tmp_path / "compile.png").stat().st_size > 5000
