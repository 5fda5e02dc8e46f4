"""The evaluation of a training run's checkpoint: table, JSON and pictures in its workdir."""

from __future__ import annotations

import functools

import jax
import ml_collections
import numpy as np
from etils import epath

from stlight_jax.config import check
from stlight_jax.data.moving_mnist import open_test
from stlight_jax.evaluation import pictures, report
from stlight_jax.evaluation.evaluator import evaluate_with_baselines
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.stlight import STLight
from stlight_jax.progress import say
from stlight_jax.training import checkpoint
from stlight_jax.training.log import read_metrics, write_json
from stlight_jax.training.parallel import PmapLauncher
from stlight_jax.training.state import init_variables
from stlight_jax.training.step import make_copy_step, make_eval_step, split_frames
from stlight_jax.training.workdir import Workdir, make_writable

TABLE, METRICS, ANIMATION, STRIP, LOSS_CURVE = (
    "table.txt",
    "metrics.json",
    "prediction.gif",
    "prediction.png",
    "loss_curve.png",
)


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
    batch_size = launcher.rounded_up(config.evaluation.batch_size)
    test = open_test(config.data, model_config.in_frames + model_config.out_frames)
    model_config.check_sequence(test.shape)
    make_writable(place.evaluation)

    model = STLight(model_config)
    say(f"evaluating checkpoint {step} of {place.path} on {len(test):,} sequences")
    fresh = jax.eval_shape(functools.partial(init_variables, model, 0, test.shape[1:]))
    variables = checkpoint.load_variables(place.checkpoints, step, launcher.abstract(fresh))
    result = evaluate_with_baselines(
        launcher.evaluate(make_eval_step(model)),
        launcher.evaluate(make_copy_step(model)),
        launcher,
        variables,
        test,
        batch_size,
        "evaluating",
    )

    paper = report.paper_result(config.dataset, model_config, test.description)
    results = report.as_json(result, step, test.description, paper)
    text = report.as_text(results)
    print(text)
    write_json(place.evaluation / METRICS, results)
    (place.evaluation / TABLE).write_text(text)

    say("drawing pictures ...")
    shown = test.frames(np.arange(min(config.evaluation.pictures, len(test))))
    inputs, truth = split_frames(shown, model)
    prediction = Predictor(model_config, variables)(inputs)
    drawn = [np.asarray(part) for part in (inputs, truth, prediction)]
    pictures.draw_strip(place.evaluation / STRIP, *(part[0] for part in drawn))
    pictures.animate(place.evaluation / ANIMATION, *drawn)
    pictures.draw_loss_curve(
        place.evaluation / LOSS_CURVE,
        read_metrics(place.path, "train"),
        read_metrics(place.path, "validation"),
    )
    say(f"tables and pictures are in {place.evaluation}: {', '.join((TABLE, METRICS, ANIMATION, STRIP, LOSS_CURVE))}")
    return results
