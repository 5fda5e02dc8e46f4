"""What SLURM and TPU VMs tell: nothing of theirs is here, so their variables and JAX's detection stand in for them."""

import os
import subprocess
import sys

import jax
import pytest
from absl import flags
from jax._src import cloud_tpu_init
from jax._src.clusters import cloud_tpu_cluster, slurm_cluster

from stlight_jax import InputError
from stlight_jax.training import clusters, distributed
from tests.conftest import ROOT
from tests.training.test_distributed import finish, free_port

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
    ],
)
def test_a_task_of_slurm_takes_all_gpus_that_are_its_own(slurm, variables, own):
    slurm(**variables)
    assert clusters.of_slurm()
    assert clusters.slurm_arguments() == {"local_device_ids": own}


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "CUDA_VISIBLE_DEVICES": ""},  # no GPUs
        {"SLURM_STEP_TASKS_PER_NODE": "2,3", "SLURM_GPUS_ON_NODE": "8"},  # unequal: JAX gives each task one
        {"SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_GPUS_ON_NODE": "8", "JAX_LOCAL_DEVICE_IDS": "4,5"},  # told by the user
    ],
)
def test_what_slurm_does_not_tell_is_left_to_jax(slurm, variables):
    slurm(**variables)
    assert clusters.slurm_arguments() == {}


def test_tasks_that_cannot_share_are_refused(slurm):
    slurm(SLURM_STEP_TASKS_PER_NODE="3", SLURM_GPUS_ON_NODE="8")
    with pytest.raises(InputError, match="3 tasks cannot share the 8 GPUs of a node equally"):
        clusters.slurm_arguments()


def test_a_job_of_several_tasks_wants_srun(slurm, monkeypatch):
    assert not clusters.of_slurm()
    slurm()
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(InputError, match="4 tasks, and this process was not started as one of them; put srun before"):
        clusters.of_slurm()
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not clusters.of_slurm()


SLURM_PROCESS = """
import jax
from absl import flags
from stlight_jax.training import distributed
distributed.define_flags()
flags.FLAGS(["x"])
distributed.start()
print(jax.process_index(), jax.process_count(), jax.device_count(), jax.config._read("jax_cuda_visible_devices"))
"""


def test_processes_that_slurm_starts_find_each_other_and_their_gpus():
    assert slurm_cluster.SlurmCluster  # whose variables these are
    port = free_port()
    job = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": "0"}
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
    if "coordinator" not in flags.FLAGS:
        distributed.define_flags()
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    return calls


def test_hosts_of_a_tpu_slice_join_by_what_jax_finds_out(slurm, monkeypatch, initialised):
    distributed.start()
    assert not initialised  # this machine is none of them
    # As `gcloud compute tpus tpu-vm` makes them: no variables of the environment, a metadata server.
    told = {"agent-worker-number": "0", "worker-network-endpoints": "a:b:10.0.0.1,a:b:10.0.0.2"}
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: (told.get(key, ""), 200))
    for module in (cloud_tpu_init, cloud_tpu_cluster):
        monkeypatch.setattr(module, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES", raising=False)
    assert cloud_tpu_cluster.GceTpuCluster.is_env_present()
    distributed.start()
    assert len(initialised) == 1
    assert "coordinator_address" not in initialised[0]  # JAX asks the metadata server itself
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    distributed.start()
    assert len(initialised) == 1


def test_a_tpu_vm_that_is_told_to_be_alone_goes_on_alone(slurm, monkeypatch, initialised):
    def refuse(**arguments):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    monkeypatch.setattr(cloud_tpu_init, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    distributed.start()
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match="devices belong to 4 processes, and it has not joined the others"):
        distributed.check_layout()


WAITING = """
from absl import flags
from stlight_jax import cli
from stlight_jax.training import distributed
distributed._START_SECONDS = 2
distributed.define_flags()
def main():
    distributed.start()
cli.run(main)
"""


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_whose_others_do_not_come_ends_with_one_line(number, tmp_path):
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    command = [sys.executable, script, f"--coordinator=localhost:{free_port()}", "--processes=2", f"--process={number}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 2  # that it waits, and this
    assert "error: the processes of this run did not find each other at localhost:" in ended.stderr
