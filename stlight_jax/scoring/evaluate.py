"""The evaluation of a training run's checkpoint: tables, JSON, pictures and a page in its workdir."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.data_sections import check_config
from stlight_jax.data.load import open_test
from stlight_jax.data.network_config import network_config
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences, fingerprint
from stlight_jax.errors import InputError
from stlight_jax.evaluation.evaluator import EvaluationData, EvaluationSteps, evaluate_with_baselines
from stlight_jax.evaluation.samples import Samples, evenly_spaced
from stlight_jax.metrics.metric_sums import SampledSums
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.rollout import check_horizon
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.reports import tables
from stlight_jax.reports.comparison import compare
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.scoring.presentation import present
from stlight_jax.storage.json_files import write_json
from stlight_jax.storage.paths import create_folder

TABLE, METRICS = "table.txt", "metrics.json"

_SAMPLED_SEQUENCES = 64


def evaluate_workdir(
    workdir: epath.PathLike,
    which: str = "both",
    data_root: str | None = None,
    horizon: int | None = None,
    cycle: int | None = None,
) -> dict:
    """Evaluates checkpoints on their config's test set and writes everything to `workdir/eval`.

    Args:
      workdir: folder of a run.
      which: "both" (best and last), "best" (lowest validation MSE), "last" or a step. Pictures show the first one.
      data_root: where the data are now, if they have moved since training.
      horizon, cycle: instead of the config's `evaluation.horizon` and `evaluation.cycle`.

    Returns:
      What `metrics.json` holds.

    Raises:
      InputError: no such run or checkpoint, or the data are not there.
    """
    place = Workdir(workdir)
    distributed.check_layout()
    asked = {"checkpoint": which, "data_root": data_root, "horizon": horizon, "cycle": cycle}
    for flag, value in asked.items():
        agreement.assert_same_on_all_processes(f"--{flag}", value)
    # Of a run that still trains, each process might find other ones.
    checkpoints = agreement.broadcast_from_first(_choose(place, which) if jax.process_index() == 0 else None)
    agreement.assert_shared_folder(place.path)
    description = checkpoint.load_description(place.checkpoints, next(iter(checkpoints.values())))
    config = check_config(description["config"])
    model_config = network_config(config)
    changes = {key: value for key, value in (("horizon", horizon), ("cycle", cycle)) if value is not None}
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, **changes))
    if data_root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=data_root))
    check_horizon("evaluation.horizon", config.evaluation.horizon, model_config)
    launcher = make_launcher(config.parallel.launcher)
    batch_size = launcher.rounded_up(config.evaluation.batch_size)
    test = open_test(config)
    agreement.assert_same_on_all_processes("the test data", functools.partial(fingerprint, test))
    model_config.check_sequence(test.shape)
    scaling = Scaling.from_json(description["scaling"]) if "scaling" in description else test.scaling
    test_set = _checked(test, scaling, description["data"], data_root is not None)
    # The network knows its training data's range; the test data's own must not slip in.
    scaling = dataclasses.replace(scaling, missing=scaling.missing or test.scaling.missing)
    trained_on = description["data"].get("sequences")
    comparison = compare(config, model_config, test_set, checkpoints, description.get("total_steps", 0), trained_on)
    if launcher.is_first:
        create_folder(place.evaluation)

    model = STLight(model_config)
    told = ", ".join(f"{name} (step {step})" for name, step in checkpoints.items())
    averaged = f", moving averages of decay {config.train.ema_decay}," if config.train.ema_decay else ""
    print_message(f"evaluating {told} of {place.path}{averaged} on {len(test):,} sequences")
    fresh = jax.eval_shape(functools.partial(init_variables, model, 0, test.shape[1:]))
    models = {
        name: launcher.from_checkpoint(checkpoint.load_variables(place.checkpoints, step, launcher.abstract(fresh)))
        for name, step in checkpoints.items()
    }
    data = EvaluationData(
        test,
        scaling,
        model_config.in_frames,
        model_config.out_channels,
        batch_size,
        config.evaluation.cycle,
        getattr(config.data, "frame_step", 1),
    )
    steps = EvaluationSteps.compile(launcher, model, scaling)
    result = evaluate_with_baselines(steps, launcher, models, data, "evaluating")

    results = tables.as_json(result, checkpoints, test_set, scaling, comparison)
    samples = Samples(test, model, next(iter(models.values())), scaling)
    results |= _sampled(samples, len(test))
    if not launcher.is_first:  # all have the same
        return results
    text = tables.as_text(results)
    write_json(place.evaluation / METRICS, results)
    (place.evaluation / TABLE).write_text(text)
    print_message("drawing pictures ...")
    drawn = present(place, results, samples, config, description)
    print_message(f"tables and pictures are in {place.evaluation}: {', '.join((TABLE, METRICS, *drawn))}")
    print(text)
    return results


def _sampled(samples: Samples, count: int) -> dict[str, Any]:
    """The sampled metrics, on sequences from all over the test set."""
    indices, sums = evenly_spaced(count, _SAMPLED_SEQUENCES), SampledSums()
    for sample in samples.batches(indices):
        sums.add(sample.truth, sample.prediction)
    return sums.as_json(sequences=len(indices))


def _checked(test: Sequences, scaling: Scaling, trained_on: dict[str, Any], on_purpose: bool) -> dict[str, Any]:
    """The test data's description. Raises InputError where they do not go with what a network was trained on."""
    name = test.description["name"]
    for what in ("dtype", "fill"):
        ours, theirs = getattr(scaling, what), getattr(test.scaling, what)
        if ours != theirs:
            raise InputError(f"{name} has {what} {theirs}; the network was trained on {what} {ours}")
    found = test.description.get("training_sha256")
    if found is None or found == trained_on.get("sha256", found):
        return test.description
    if not on_purpose:
        raise InputError(
            f"{name}: the data have changed since training, so that test frames may be among those trained on; bring the old "
            "ones back, or give --data_root to evaluate on these all the same"
        )
    return {**test.description, "remark": "The network was trained on other data than those this test set belongs to."}


def _choose(place: Workdir, which: str) -> dict[str, int]:
    """ "both" gives the best one first, and the last one if it is another."""
    if which != "both":
        return {which: checkpoint.choose_step(place.checkpoints, which)}
    best, last = (checkpoint.choose_step(place.checkpoints, name) for name in ("best", "last"))
    return {"best": best} if best == last else {"best": best, "last": last}
