"""Trains STLight, or goes on with a run: `python train.py --config=configs/moving_mnist.py:L --workdir=runs/mmnist_l`.

Any key of the config can be set: `--config.train.batch_size=32`. Run again on the same workdir, it resumes.
"""

from stlight_jax.console import signals

signals.exit_on_interrupt()
signals.exit_resumable_on_sigterm()

from absl import flags
from ml_collections import config_flags

from stlight_jax.commands import cli
from stlight_jax.console.messages import print_message
from stlight_jax.parallel import distributed

_CONFIG = config_flags.DEFINE_config_file("config", None, "File in configs/, with a size: configs/moving_mnist.py:L.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, tables, pictures.")
_ALLOW_CHANGES = flags.DEFINE_bool("allow_changes", False, "Resume although the config has changed.")
cli.define_process_flags()
flags.mark_flags_as_required(["config", "workdir"])


def main() -> None:
    """Trains to the end of the schedule."""
    distributed.start(**cli.process_arguments(), preemptible=True)
    print_message("loading libraries ...")
    from stlight_jax.training.loop import train  # after the flags: a typo should not wait for it

    train(_CONFIG.value, _WORKDIR.value, _ALLOW_CHANGES.value)


if __name__ == "__main__":
    cli.run(main)
