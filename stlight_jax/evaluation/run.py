"""The evaluation of a training run's checkpoint: table, JSON and pictures in its workdir."""

from __future__ import annotations

import functools

import jax
import ml_collections
import numpy as np
from etils import epath

from stlight_jax.config import check
from stlight_jax.data.moving_mnist import open_moving_mnist
from stlight_jax.evaluation import pictures, report
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.model.stlight import STLight
from stlight_jax.progress import say
from stlight_jax.training import checkpoint
from stlight_jax.training.log import read_metrics, write_json
from stlight_jax.training.parallel import PmapLauncher
from stlight_jax.training.state import init_variables
from stlight_jax.training.step import make_eval_step, split_frames
from stlight_jax.training.workdir import Workdir


def evaluate_workdir(workdir: epath.PathLike, which: str = "best", data_root: str | None = None) -> dict:
    """Evaluates a checkpoint on its config's test set and writes everything to `workdir/eval`.

    Args:
      workdir: folder of a run.
      which: "best" (lowest validation MSE), "last" or a step.
      data_root: where the data are now, if they have moved since training.

    Returns:
      What `metrics.json` holds.

    Raises:
      InputError: no such run or checkpoint, or the data are not there.
    """
    place = Workdir(workdir)
    step = checkpoint.choose_step(place.checkpoints, which)
    config = ml_collections.ConfigDict(checkpoint.load_description(place.checkpoints, step)["config"])
    if data_root is not None:
        config.data.root = data_root
    model_config = check(config)
    launcher = PmapLauncher()
    devices = len(launcher.devices)
    batch_size = -(-config.evaluation.batch_size // devices) * devices  # the run may have had another number of devices
    test = open_moving_mnist(config.data, model_config.in_frames + model_config.out_frames, config.train.seed).test

    model = STLight(model_config)
    say(f"evaluating checkpoint {step} of {place.path} on {len(test):,} sequences")
    fresh = jax.eval_shape(functools.partial(init_variables, model, 0, test.shape[1:]))
    variables = checkpoint.load_variables(place.checkpoints, step, launcher.abstract(fresh))
    result = evaluate(launcher.evaluate(make_eval_step(model)), launcher, variables, test, batch_size, "evaluating")

    place.evaluation.mkdir(parents=True, exist_ok=True)
    paper = report.paper_result(config.dataset, model_config, test.description)
    results = report.as_json(result, step, test.description, paper)
    text = report.as_text(results)
    print(text)
    write_json(place.evaluation / "metrics.json", results)
    (place.evaluation / "table.txt").write_text(text)

    say("drawing pictures ...")
    shown = test.frames(np.arange(min(config.evaluation.pictures, len(test))))
    inputs, truth = split_frames(shown, model)
    prediction = jax.jit(model.apply)(variables, inputs)
    drawn = [np.asarray(part) for part in (inputs, truth, prediction)]
    pictures.draw_strip(place.evaluation / "prediction.png", *(part[0] for part in drawn))
    pictures.animate(place.evaluation / "prediction.gif", *drawn)
    pictures.draw_loss_curve(
        place.evaluation / "loss_curve.png",
        read_metrics(place.path, "train"),
        read_metrics(place.path, "validation"),
    )
    say(f"tables and pictures are in {place.evaluation}: " + ", ".join(_NAMES))
    return results


_NAMES = ("table.txt", "metrics.json", "prediction.gif", "prediction.png", "loss_curve.png")
