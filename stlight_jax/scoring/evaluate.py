"""The pipeline of `evaluate`: from a run's checkpoints to tables, JSON, pictures and a page in its workdir."""

import dataclasses
import functools
from typing import Any, Literal

from absl import logging
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import each_message_once, print_message
from stlight_jax.data.formats.unlike_quantities import remark_on_units
from stlight_jax.data.load import network_config, open_test, open_training
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences, check_targets, fingerprint
from stlight_jax.errors import InputError
from stlight_jax.evaluation.baselines import Baseline, EvaluatedFrames, FlowBaseline, PeriodBaseline
from stlight_jax.evaluation.eval_steps import threshold_scores
from stlight_jax.evaluation.evaluator import EvaluationSteps, evaluate_with_baselines
from stlight_jax.evaluation.nowcasting import PystepsBaseline
from stlight_jax.evaluation.samples import Samples, evenly_spaced
from stlight_jax.evaluation.trained_baselines import trained_baselines
from stlight_jax.metrics.metric_sums import SampledSums
from stlight_jax.model.context import first_target
from stlight_jax.model.stlight import STLight
from stlight_jax.model.tiling import crop_tile
from stlight_jax.parallel import agreement
from stlight_jax.reports.comparison import EvaluatedRun, compare
from stlight_jax.reports.results import as_json
from stlight_jax.reports.skill import shortcut_alone
from stlight_jax.runs.workdir import Workdir
from stlight_jax.scoring.division import division
from stlight_jax.scoring.evaluation_files import write_evaluation
from stlight_jax.scoring.run_to_evaluate import RunToEvaluate, load_models, load_run
from stlight_jax.storage.paths import create_folder

_SAMPLED_SEQUENCES = 64


@each_message_once()
def evaluate_workdir(
    workdir: epath.PathLike,
    which: str = "both",
    data_root: str | None = None,
    horizon: int | None = None,
    cycle: int | None = None,
    thresholds: str | None = None,
    tile: int | None = None,
    dtype: Literal["float32", "bfloat16"] | None = None,
) -> dict[str, Any]:
    """Evaluates checkpoints on their config's test set and writes everything to `workdir/eval`.

    Args:
      workdir: folder of a run.
      which: "both" (best and last), "best" (lowest validation MSE; see `train.least_gain`), "last" or a step. Pictures show the
        first one.
      data_root: folder of the data, if they have moved since training.
      horizon: frames to predict, instead of the config's `evaluation.horizon`.
      cycle: sampling steps of a cycle, instead of the config's `evaluation.cycle`.
      thresholds: of forecasters' scores, instead of the config's `evaluation.thresholds`.
      tile: side in pixels of the tiles in which the network predicts, 0 for whole frames; that of `crop_tile` by default.
      dtype: of the activations, instead of the config's `model.dtype`.

    Returns:
      The content of `metrics.json`.

    Raises:
      InputError: the run, the checkpoint or the data do not exist, or do not fit together.
    """
    changes = {"horizon": horizon, "cycle": cycle, "thresholds": thresholds}
    run = load_run(Workdir(workdir), which, data_root, changes, dtype)
    if tile is None:
        tile = crop_tile(run.network, getattr(run.config.data, "crop", 0))
    agreement.assert_same_on_all_processes("--tile", tile)
    data, test_set = _open_test_data(run, moved=data_root is not None)
    divided = division(data.source.description)
    for sentence in divided:
        print_message(sentence)
    total_steps, sequences = run.description.get("total_steps", 0), run.description["data"].get("sequences")
    comparison = compare(EvaluatedRun(run.config, run.network, test_set, run.checkpoints, total_steps, sequences))
    agreement.call_in_first(functools.partial(create_folder, run.workdir.evaluation))
    tile = tile if tile < max(data.source.shape[1:3]) else 0
    models, network = load_models(run, data.source, tile), STLight(run.network)
    scores = threshold_scores(run.config.evaluation.thresholds, run.config.evaluation.fss_window, data.scaling)
    parts = [part for each in scores for part in each.parts]
    steps = EvaluationSteps.compile(run.launcher, network, data.scaling, parts, tile)
    batch_size = run.launcher.round_up_batch_size(run.config.evaluation.batch_size)
    baselines = _baselines(run.config, dataclasses.replace(data, scaling=data.scaling.untransformed))
    evaluation = evaluate_with_baselines(steps, run.launcher, models, data, batch_size, baselines)
    samples = Samples(data.source, network, next(iter(models.values())), data.scaling, tile)
    shortcut = shortcut_alone(next(iter(run.checkpoints.values())), run.description)
    results = as_json(evaluation, run.checkpoints, test_set, data.scaling, comparison, scores, shortcut)
    results |= _sampled(samples, len(data.source)) | {"tile": tile, "dtype": run.network.dtype, "division": divided}
    if run.launcher.is_first:  # all processes have the same results
        write_evaluation(run, results, samples)
    return results


def _open_test_data(run: RunToEvaluate, moved: bool) -> tuple[EvaluatedFrames, dict[str, Any]]:
    """Opens the test set, and checks that it fits the network and its training data.

    Args:
      run: to evaluate.
      moved: whether the user has named the folder of the data, which then may differ from the training's.

    Returns:
      The data, and their description for reports.
    """
    source = open_test(run.config)
    agreement.assert_same_on_all_processes("the test data", functools.partial(fingerprint, source))
    run.network.check_sequence(source.shape)
    history = first_target(run.network, source.shape[0]) - run.network.in_frames
    check_targets(source, history + run.network.in_frames, run.network.out_channels, "test")
    scaling = Scaling.from_json(run.description["scaling"]) if "scaling" in run.description else source.scaling
    description = _check_against_training(source, scaling, run.description["data"], moved)
    data = EvaluatedFrames(
        source,
        # The values are scaled by the range of the training data, never by the test set's own.
        dataclasses.replace(scaling, missing=scaling.missing or source.scaling.missing),
        in_frames=run.network.in_frames,
        out_channels=run.network.out_channels,
        frame_step=run.network.frame_step,
        history=history,
        network=run.network,
    )
    return data, description


def _baselines(config: RunConfig, data: EvaluatedFrames) -> list[Baseline]:
    """Makes the baselines that need times or training data. Without training data, a message names the reason."""
    periods = _periods(config)
    baselines: list[Baseline] = [FlowBaseline(data)] if data.in_frames > 1 else []
    if config.evaluation.pysteps:
        baselines.append(PystepsBaseline(data))
    baselines += [PeriodBaseline(data, period, f"{key} is {period}") for period, key in periods.items()]
    if config.evaluation.baselines == "inputs":
        return baselines
    plain = {"crop": 0, "flips": False}
    plain = {key: value for key, value in plain.items() if hasattr(config.data, key)}
    longer = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, **plain),
        train=dataclasses.replace(config.train, horizon=data.horizon),
        evaluation=dataclasses.replace(config.evaluation, horizon=data.horizon),
    )
    try:
        training, validation = open_training(longer)
        found = True
    except InputError as error:
        print_message(f"no baselines from training data: {error}")
        found = False
    agreement.assert_same_on_all_processes("the presence of training data", found)
    if not found:
        return baselines
    # As the test frames: by the range of the run's own training data, which may be other data.
    training.scaling = validation.scaling = data.scaling
    return [*trained_baselines(training, validation, data, list(periods)), *baselines]


def _periods(config: RunConfig) -> dict[int, str]:
    """Finds the periods of a config in sampling steps, each with the key that has it."""
    periods = dict.fromkeys(network_config(config).context_periods, "data.periods")
    cycle = config.evaluation.cycle
    return periods | ({cycle: "evaluation.cycle"} if cycle else {})


def _check_against_training(source: Sequences, scaling: Scaling, trained_on: dict[str, Any], moved: bool) -> dict[str, Any]:
    """Checks that the test data fit the data of training, and returns their description for reports.

    Raises:
      InputError: they have another dtype or fill value, or other files without `moved`.
    """
    name = source.description["name"]
    for attribute in ("dtype", "fill"):
        expected, found = getattr(scaling, attribute), getattr(source.scaling, attribute)
        if expected != found:
            raise InputError(f"{name} has {attribute} {found}; the network was trained on {attribute} {expected}")
    found = source.description.get("training_sha256")
    if found is None or found == trained_on.get("sha256", found):
        return source.description
    if not moved:
        raise InputError(
            f"{name}: the data have changed since training, so that test frames may be among the training frames; restore the "
            "old data, or give --data_root to evaluate on the new ones"
        )
    units = remark_on_units(source.description.get("units", ""), trained_on.get("units", ""))
    if units:
        logging.warning("%s: %s", name, units)
    return {**source.description, "remark": "The network was trained on other data than the data set of these test frames."}


def _sampled(samples: Samples, count: int) -> dict[str, Any]:
    """Measures the sampled metrics on sequences that are evenly spaced in the test set."""
    indices, sums = evenly_spaced(count, _SAMPLED_SEQUENCES), SampledSums()
    for sample in samples.batches(indices):
        sums.add(sample.truth, sample.prediction)
    return sums.as_json(sequences=len(indices))
