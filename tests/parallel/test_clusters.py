"""What SLURM and TPU VMs tell: nothing of theirs is here, so their variables and JAX's detection stand in for them."""

import os
import signal
import subprocess
import sys

import jax
import pytest
from jax._src.clusters import cloud_tpu_cluster, slurm_cluster

from stlight_jax import InputError
from stlight_jax.parallel import distributed
from tests.conftest import ROOT
from tests.parallel.processes import finish, free_port

ONE_STEP = {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_STEP_NODELIST": "node[1-4]", "SLURM_LOCALID": "0"}


@pytest.fixture
def slurm(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == "CUDA_VISIBLE_DEVICES"]:
        monkeypatch.delenv(name)

    def tells(**variables):
        for name, value in (ONE_STEP | variables).items():
            monkeypatch.setenv(name, value)

    return tells


@pytest.mark.parametrize(
    ("variables", "own"),
    [
        # srun --ntasks-per-node=1 --gpus-per-node=8: all of them
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_GPUS_ON_NODE": "8"}, list(range(8))),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "CUDA_VISIBLE_DEVICES": "0,1,2"}, [0, 1, 2]),
        # --ntasks-per-node=4, all see eight
        ({"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_GPUS_ON_NODE": "8", "SLURM_LOCALID": "3"}, [6, 7]),
        # each sees its own one only, whatever its number
        ({"SLURM_STEP_TASKS_PER_NODE": "4", "CUDA_VISIBLE_DEVICES": "0", "SLURM_LOCALID": "3"}, [0]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_PER_TASK": "2"}, [0, 1]),
        # --gpu-bind: three of the node's six
        ({"SLURM_STEP_TASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "3,4,5", "SLURM_GPUS_ON_NODE": "6"}, [0, 1, 2]),
    ],
)
def test_a_task_of_slurm_takes_all_gpus_that_are_its_own(slurm, variables, own):
    slurm(**variables)
    assert distributed.is_slurm_step()
    assert distributed.slurm_arguments() == {"local_device_ids": own}


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "CUDA_VISIBLE_DEVICES": ""},  # no GPUs
        {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "CUDA_VISIBLE_DEVICES": "NoDevFiles"},
        {"SLURM_STEP_TASKS_PER_NODE": "2,3", "SLURM_GPUS_ON_NODE": "8"},  # unequal: JAX gives each task one
        {"SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_GPUS_ON_NODE": "8", "JAX_LOCAL_DEVICE_IDS": "4,5"},  # told by the user
    ],
)
def test_what_slurm_does_not_tell_is_left_to_jax(slurm, variables):
    slurm(**variables)
    assert distributed.slurm_arguments() == {}


def test_tasks_that_cannot_share_are_refused(slurm):
    slurm(SLURM_STEP_TASKS_PER_NODE="3", SLURM_GPUS_ON_NODE="8")
    with pytest.raises(InputError, match="3 tasks cannot share the 8 GPUs of a node equally"):
        distributed.slurm_arguments()


def test_a_job_of_several_tasks_wants_srun(slurm, monkeypatch):
    assert not distributed.is_slurm_step()
    slurm()
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(InputError, match="4 tasks, and this process was not started as one of them; put srun before"):
        distributed.is_slurm_step()
    slurm(SLURM_STEP_NUM_TASKS="1")  # a shell in a job of four
    assert not distributed.is_slurm_step()


SLURM_PROCESS = """
import jax
from stlight_jax.parallel import distributed
distributed.start()
print(jax.process_index(), jax.process_count(), jax.device_count(), jax.config._read("jax_cuda_visible_devices"))
"""


def test_processes_that_slurm_starts_find_each_other_and_their_gpus():
    port = free_port()
    job = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": "0"}
    asked = (
        slurm_cluster._JOBID_PARAM,
        slurm_cluster._NODE_LIST,
        slurm_cluster._PROCESS_COUNT,
        slurm_cluster._LOCAL_PROCESS_ID,
    )
    assert set(asked) <= job.keys()  # what JAX asks for
    job |= {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_GPUS_ON_NODE": "8", "JAX_COORDINATOR_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SLURM_PROCESS], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **job, "SLURM_PROCID": str(number), "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        )
        for number in range(2)
    ]  # fmt: skip
    for number, (status, out, error) in enumerate(finish(started, 60)):
        assert status == 0, error
        assert out.split() == [str(number), "2", "4", "0,1,2,3,4,5,6,7"]


@pytest.fixture
def initialised(monkeypatch):
    """Calls of `jax.distributed.initialize`, which does nothing."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    before = signal.getsignal(signal.SIGTERM)
    yield calls
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def tpu_vm(slurm, monkeypatch):
    """Makes this a VM as `gcloud compute tpus tpu-vm` makes them: no variables of the environment, a metadata server."""

    def of(workers):
        def get_metadata(key):
            if workers is None:
                raise ConnectionError("no metadata server")
            return {"agent-worker-number": "0", "worker-network-endpoints": workers}.get(key, ""), 200

        monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", get_metadata)
        monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
        monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
        for name in ("TPU_SKIP_MDS_QUERY", "TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"):
            monkeypatch.delenv(name, raising=False)

    return of


def test_hosts_of_a_tpu_slice_join_by_what_jax_finds_out(tpu_vm, monkeypatch, initialised):
    tpu_vm("a:b:10.0.0.1,a:b:10.0.0.2")
    assert cloud_tpu_cluster.GceTpuCluster.is_env_present()
    distributed.start()
    assert len(initialised) == 1
    assert "coordinator_address" not in initialised[0]  # JAX asks the metadata server itself
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    distributed.start()
    assert len(initialised) == 1


@pytest.mark.parametrize("workers", ["a:b:10.0.0.1", None])
def test_a_host_of_a_tpu_that_is_alone_joins_nothing(tpu_vm, initialised, workers):
    tpu_vm(workers)
    distributed.start()
    assert not initialised


def test_this_machine_joins_nothing(slurm, initialised):
    distributed.start()
    assert not initialised


def test_a_host_that_has_not_joined_the_others_trains_nothing(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match="devices belong to 4 processes, and it has not joined the others"):
        distributed.check_layout()


WAITING = """
from absl import flags
from stlight_jax.commands.shared_flags import define_process_flags, join_processes
from stlight_jax.commands.run_command import run_script
from stlight_jax.parallel import distributed
distributed._START_SECONDS = 2
define_process_flags(flags.FLAGS)
def main():
    join_processes(flags.FLAGS)
run_script(main)
"""


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_whose_others_do_not_come_ends_with_one_line(number, tmp_path):
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    command = [sys.executable, script, f"--coordinator=localhost:{free_port()}", "--processes=2", f"--process={number}"]
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }  # JAX tells of these
    environment["PYTHONPATH"] = str(ROOT)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 2  # that it waits, and this
    assert "error: the processes of this run did not find each other at localhost:" in ended.stderr
