"""Evaluates a training run: `python eval.py --workdir=runs/mmnist_l`. Tables and pictures go to its folder `eval`."""

from stlight_jax.console import signals

signals.exit_on_interrupt()

from absl import flags

from stlight_jax.commands import cli
from stlight_jax.console.messages import print_message
from stlight_jax.parallel import distributed

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, as given to train.py.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "both", "both (best and last), best (lowest validation MSE), last, or a step.")
_DATA_ROOT = flags.DEFINE_string("data_root", None, "Where the data are now, if they have moved since training.")
_HORIZON = flags.DEFINE_integer("horizon", None, "Frames to predict, if not the config's; rolled out if need be.")
_CYCLE = flags.DEFINE_integer("cycle", None, "Sampling steps of a daily or weekly cycle, if not the config's evaluation.cycle.")
cli.define_process_flags()
flags.mark_flag_as_required("workdir")


def main() -> None:
    """Evaluates the checkpoints asked for."""
    distributed.start(**cli.process_arguments())
    print_message("loading libraries ...")
    from stlight_jax.scoring.evaluate import evaluate_workdir  # after the flags: a typo should not wait for it

    evaluate_workdir(_WORKDIR.value, _CHECKPOINT.value, _DATA_ROOT.value, _HORIZON.value, _CYCLE.value)


if __name__ == "__main__":
    cli.run(main)
