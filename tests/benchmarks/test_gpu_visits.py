"""The programs for a GPU, `benchmarks/gpu`, on a CPU: drawing, state, schedule, bounds; every stage with small networks."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from speed_jax import JaxContestant
from speed_networks import NETWORKS

from benchmarks.gpu import flat_state, parcel, program_check, training_run
from benchmarks.gpu.bounds import fused_bytes
from benchmarks.gpu.device_sequences import Placements, draw, plan_steps
from benchmarks.gpu.records import Deadline, Records
from benchmarks.gpu.trace_summary import operation_names, part_of
from benchmarks.gpu.training_run import DeviceTraining, Visit, recipe
from stlight_jax import InputError, STLightConfig
from stlight_jax.data.load import network_config, open_training
from stlight_jax.inference import trained
from stlight_jax.model.stlight import STLight
from stlight_jax.torch_reference.weights import variable_shapes
from stlight_jax.training.schedule import OneCycle
from stlight_jax.training.state import TrainState, create_state, make_optimizer
from tests.conftest import ROOT

# Makes modules unknown that a bare machine lacks, though it has JAX and Flax.
BLOCKED = "import sys\nsys.modules.update(dict.fromkeys({names}))\n"
MISSING = ("tensorflow", "tensorflow_datasets", "orbax", "tensorstore", "array_record", "pytest", "matplotlib", "h5py", "PIL")


@pytest.fixture
def source():
    """Training sequences with 12 steps in an epoch."""
    return open_training(recipe(toy=True))[0]


def test_sequences_drawn_on_the_device_have_the_bytes_of_the_host(source):
    indices = np.array([0, 3, 7, 199])
    placements = Placements(*(array.astype(np.int32) for array in source.placements(indices, epoch=2)))
    drawn = jax.jit(draw, static_argnums=2)(jnp.asarray(source.digits.images), placements, source.side)
    np.testing.assert_array_equal(np.asarray(drawn), source.frames(indices, epoch=2))


def test_planned_steps_are_those_of_the_pipeline_across_epochs(source):
    """Step 12 is the first one of the second epoch; eight sequences of each are left out, as from any incomplete batch."""
    plan = plan_steps(source, first=10, count=4, batch_size=16)
    for number, (epoch, first) in enumerate([(0, 160), (0, 176), (1, 0), (1, 16)]):
        step = Placements(*(array[number] for array in plan))
        drawn = draw(jnp.asarray(source.digits.images), step, source.side)
        np.testing.assert_array_equal(np.asarray(drawn), source.frames(np.arange(first, first + 16), epoch))


def random_state(config):
    """A state whose arrays are all random, after 75 steps."""
    fresh = jax.eval_shape(lambda: create_state(STLight(config), make_optimizer(recipe(toy=True).optimizer), 0, (16, 16, 1)))
    random = np.random.default_rng(0)
    state = jax.tree.map(lambda x: random.standard_normal(x.shape, np.float32).astype(x.dtype), fresh)
    return dataclasses.replace(state, step=np.asarray(75, np.int32))


def test_a_packed_state_changes_only_in_the_rounding_of_the_moments(tmp_path, monkeypatch):
    monkeypatch.setattr(flat_state, "PART_BYTES", 16_000)
    config = network_config(recipe(toy=True))
    state = random_state(config)
    flat_state.save(tmp_path, state, {"position": 2.5})
    parts = flat_state.find(tmp_path)
    assert len(parts) > 2
    assert flat_state.read_header(parts)["position"] == 2.5
    (tmp_path / "sent").mkdir()
    flat_state.copy_compressed(parts, tmp_path / "sent")
    sent = flat_state.find(tmp_path / "sent")
    assert sum(path.stat().st_size for path in sent) < sum(path.stat().st_size for path in parts)
    loaded = flat_state.load(sent, jax.eval_shape(lambda: state))
    moments = 0
    for (path, before), after in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(loaded), strict=True):
        name = jax.tree_util.keystr(path)
        is_moment = ".mu" in name or ".nu" in name
        moments += is_moment
        expected = before.astype(ml_dtypes.bfloat16).astype(np.float32) if is_moment else before
        np.testing.assert_array_equal(after, expected, err_msg=name)
        assert after.dtype == before.dtype
    assert moments == 2 * len(jax.tree.leaves(state.params))


def test_the_newest_complete_state_counts_and_a_damaged_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(flat_state, "PART_BYTES", 50_000)
    config = network_config(recipe(toy=True))
    state = random_state(config)
    flat_state.save(tmp_path, state, {})
    whole = flat_state.find(tmp_path)
    (tmp_path / "state-100-0-of-2").write_bytes(b"cut off")
    assert flat_state.find(tmp_path) == whole
    like = jax.eval_shape(lambda: state)
    with pytest.raises(InputError, match="the state of another network"):
        flat_state.load(whole, dataclasses.replace(like, batch_stats={}))
    content = bytearray(whole[-1].read_bytes())
    content[-1] ^= 1
    whole[-1].write_bytes(content)
    with pytest.raises(InputError, match="the checksum differs; copy them again"):
        flat_state.load(whole, like)
    later = dataclasses.replace(state, step=np.asarray(101, np.int32))
    flat_state.save(tmp_path, later, {})
    assert {path.name.split("-")[1] for path in tmp_path.iterdir()} == {"101"}  # older ones are removed


def test_the_state_of_the_published_network_fits_into_three_files():
    """Four bytes for a weight and two for each moment; 5,325,498 parameters (paper.md, section 2)."""
    shapes = variable_shapes(network_config(recipe()))
    sizes = {name: sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert sizes["params"] == 5_325_498
    assert 8 * sizes["params"] + 4 * sizes["batch_stats"] + 20_000 < 3 * flat_state.PART_BYTES


def test_a_parcel_that_is_too_large_is_refused(tmp_path, monkeypatch):
    (tmp_path / "large").write_bytes(bytes(101))
    monkeypatch.setattr(parcel, "FILE_BYTES", 100)
    with pytest.raises(InputError, match="large has 101 bytes; expected at most 100"):
        parcel.check_sizes(tmp_path)
    monkeypatch.setattr(parcel, "FILE_BYTES", 1000)
    monkeypatch.setattr(parcel, "ALL_BYTES", 100)
    with pytest.raises(InputError, match="has 101 bytes; expected at most 100; leave out --mnist"):
        parcel.check_sizes(tmp_path)


def test_records_keep_results_and_try_errors_again(tmp_path):
    records = Records(tmp_path / "results.json")

    def fail():
        raise ValueError("no card")

    assert not records.measure("check", "card", Deadline(9), fail)
    assert records.failed == ["check: card"]
    again = Records(tmp_path / "results.json")
    assert again.content["check"]["card"]["error"] == "ValueError: no card"
    assert again.measure("check", "card", Deadline(9), lambda: {"name": "a card"})
    assert again.measure("check", "card", Deadline(0), fail)  # it is done
    assert not again.measure("check", "late", Deadline(0), fail)
    assert json.loads((tmp_path / "results.json").read_text())["check"]["card"]["name"] == "a card"


class StandIn:
    """A `DeviceTraining` whose steps only take time."""

    def __init__(self, total_steps, milliseconds):
        self.total_steps, self._seconds = total_steps, milliseconds / 1000
        self.config, self.digits, self.validation = recipe(toy=True), None, None
        self.schedule = OneCycle(total_steps, 0.003)
        self.launcher = self
        self.positions, self.steps = [], []

    def replicate(self, tree):
        return tree

    def fresh_state(self):
        return TrainState(np.zeros((), np.int32), {"kernel": np.zeros(3, np.float32)}, {}, ())

    def work(self, first, positions):
        self.positions += list(positions)
        self.steps += range(first, first + len(positions))
        return [self.schedule(position) for position in positions]

    def program(self, state, work, digits):
        time.sleep(self._seconds * len(work))
        return dataclasses.replace(state, step=np.asarray(int(state.step) + len(work), np.int32)), np.ones(len(work))

    def evaluate(self, variables, source):
        return {"overall": {"mse": 1.0, "ssim": 0.5}}


@pytest.fixture
def visit(tmp_path, monkeypatch):
    """Makes a visit of some seconds; its folder is that of all visits."""
    monkeypatch.setattr(jax, "eval_shape", lambda function: function())
    monkeypatch.setattr(training_run, "open_test", lambda config: dataclasses.replace(open_training(config)[1], count=1))

    def make(training, seconds, visits=0):
        return Visit(training, Records(tmp_path / "results.json"), tmp_path, Deadline(seconds), visits)

    return make


def test_a_schedule_that_is_too_long_ends_in_the_visit(visit):
    """10,000 steps of 2 ms would take 20 seconds."""
    training = StandIn(10_000, milliseconds=2)
    last = visit(training, seconds=2, visits=1)
    last.run()
    assert last.is_finished
    assert training.positions[-1] == 9_999
    assert np.all(np.diff(training.positions) >= 0)
    assert last.step < 1_000


def test_visits_continue_each_other_and_make_every_step_once(visit):
    training = StandIn(500, milliseconds=1)
    count = 0
    while not (latest := visit(training, seconds=0.3)).is_finished:
        latest.run()
        count += 1
    assert count >= 2
    assert training.steps == list(range(500))
    np.testing.assert_array_equal(training.positions, np.arange(500))
    assert [point["step"] for point in latest._record["validation"]] == list(range(25, 501, 25))


def test_a_training_with_other_settings_is_refused(visit):
    visit(StandIn(500, milliseconds=1), seconds=0.1).run()
    with pytest.raises(InputError, match="other settings"):
        visit(StandIn(600, milliseconds=1), seconds=0.1)


def test_larger_batches_have_a_rate_that_grows_with_their_root():
    training = DeviceTraining(recipe(64, toy=True))
    assert training.schedule.peak == pytest.approx(0.006)
    assert training.total_steps == 8 * 3
    assert DeviceTraining(recipe(toy=True)).schedule.peak == 0.003


def test_the_bytes_of_a_perfect_fusion_are_those_counted_by_hand():
    """L in bfloat16, batch 16: 45,875,200 bytes a pass; 32,879,710 parameters (paper.md, section 2)."""
    config = STLightConfig(**NETWORKS["L"]["network"], dtype="bfloat16")
    one_pass = 16 * 32 * 32 * 1400 * 2
    assert fused_bytes(config, 64, 16, training=False) == (16 * 7 + 2) * one_pass + 2 * 32_879_710
    assert fused_bytes(config, 64, 16, training=True) == (16 * 21 + 6) * one_pass + (32 + 6) * 32_879_710


def test_a_trace_is_divided_by_part_and_direction():
    program = """
  %fusion.3 = bf16[2,8]{1,0} fusion(%a), kind=kLoop, metadata={op_name="jit(steps)/jvp(STLight)/mixers_before_skip/far/mul"}
  ROOT %wgrad = f32[7]{0} custom-call(), metadata={op_name="jit(steps)/transpose(jvp(STLight))/mixers_before_skip/far/conv"}
"""
    names = operation_names(program)
    assert part_of(names["fusion.3"]) == part_of(names["fusion_3"]) == "far"  # an instruction and its kernel
    assert part_of(names["wgrad"]) == "far, backward"
    assert part_of("jit(steps)/jvp(STLight)/mixers_after_skip/add") == "between convolutions"
    assert part_of("jit(steps)/while/body/sqrt") == "other"


def test_nothing_that_a_bare_machine_lacks_is_imported(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED.format(names=MISSING))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'benchmarks'}", "JAX_PLATFORMS": "cpu"}
    code = "import benchmarks.gpu.__main__, speed_worker, speed_jax, stlight_jax.torch_reference.weights, stlight_jax.inference"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.torch
def test_contestants_of_both_frameworks_compute_the_same_numbers():
    from speed_torch import TorchContestant

    spec = NETWORKS["toy"] | {"device": "cpu", "precision": "float32"}
    contestants = TorchContestant("eager", spec), JaxContestant("auto", spec)
    stored = dict(np.load(program_check.REFERENCES / "toy.npz"))
    seen = set()
    for task in program_check.TASKS:
        torch_numbers, jax_numbers = (contestant.numbers(task) for contestant in contestants)
        seen |= torch_numbers.keys()
        for reference in (jax_numbers, stored):
            program_check.relative_errors(torch_numbers, reference, "torch:eager", program_check.LIMITS["float32"])
    assert seen == stored.keys()


@pytest.mark.long
def test_all_stages_run_from_a_parcel_on_a_bare_machine(tmp_path):
    """Everything that the machine has is JAX, Flax and their own packages; optax and ml_collections come along."""
    folder, out, results = tmp_path / "parcel", tmp_path / "out", tmp_path / "results"
    parcel.pack(folder, results)
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED.format(names=MISSING))
    environment = os.environ | {"PYTHONPATH": str(blocked), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    stages = "--stages=check:15,kernels:15,contest:15,train:15"

    def start():
        command = [sys.executable, str(folder / "start.py"), "--toy", stages, f"--out={out}"]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3600)

    first = start()
    assert first.returncode == 0, first.stdout + first.stderr
    again = start()
    assert ": done" not in again.stdout, again.stdout
    visit = [sys.executable, "-m", "benchmarks.gpu.unpack", f"--visit={out}", f"--results={results}"]
    unpacked = subprocess.run(visit, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert unpacked.returncode == 0, unpacked.stdout + unpacked.stderr
    content = json.loads((results / "results.json").read_text())
    assert {stage: [item for item, record in items.items() if "error" in record] for stage, items in content.items()} == {
        "check": [], "kernels": [], "contest": [], "train": [],
    }  # fmt: skip
    assert content["train"]["run"]["losses"][-1][1] < 0.5 * content["train"]["run"]["losses"][0][1]
    assert trained.load(results / "network.stlight").description["frame_size"] == [32, 32]
    assert (results / "curve.png").exists()
    parcel.pack(folder, results)  # for the next visit
    assert {path.name for path in folder.iterdir()} == {"code.zip", "start.py", "results.json", "state-100-0-of-1"}
    shutil.rmtree(folder)


def test_messages_of_the_command_line_name_the_problem():
    code = (
        "import sys; sys.argv[1:] = ['--stages=train:0']; import runpy; runpy.run_module('benchmarks.gpu', run_name='__main__')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120
    )
    assert result.returncode == 2
    expected = "expected STAGE:MINUTES with a stage of check, contest, kernels, train, such as check:2"
    assert result.stderr == f"error: --stages has 'train:0'; {expected}\n"
