"""The pipeline of `evaluate`: from a run's checkpoints to tables, JSON, pictures and a page in its workdir."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import each_message_once, print_message
from stlight_jax.data.formats.unlike_quantities import remark_on_units
from stlight_jax.data.load import check_config, network_config, open_test, open_training
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
from stlight_jax.model.context import check_horizon, first_target
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables
from stlight_jax.model.tiling import crop_tile
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.launchers import Launcher, make_launcher
from stlight_jax.reports import pictures
from stlight_jax.reports.comparison import EvaluatedRun, compare
from stlight_jax.reports.figures import draw_loss_curve
from stlight_jax.reports.frame_display import FrameDisplay
from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.results import as_json
from stlight_jax.reports.results_text import results_text
from stlight_jax.reports.skill import shortcut_alone, start_label
from stlight_jax.reports.sprites import Clip, error_note
from stlight_jax.runs import checkpoint
from stlight_jax.runs.environment import provenance
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir
from stlight_jax.scoring.division import division
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.copies import local_file
from stlight_jax.storage.paths import create_folder

TABLE, METRICS = "table.txt", "metrics.json"
PAGE, ANIMATION, STRIP, LOSS_CURVE = "report.html", "prediction.gif", "prediction.png", "loss_curve.png"

_SAMPLED_SEQUENCES = 64
_GALLERY_REMARK = (
    "Chosen by the squared error per valid value; MSE is of the whole sequence, summed over pixels. Sequences are numbered "
    "from 0, in the order of the test set."
)


@each_message_once()
def evaluate_workdir(
    workdir: epath.PathLike,
    which: str = "both",
    data_root: str | None = None,
    horizon: int | None = None,
    cycle: int | None = None,
    thresholds: str | None = None,
    tile: int | None = None,
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

    Returns:
      The content of `metrics.json`.

    Raises:
      InputError: the run, the checkpoint or the data do not exist, or do not fit together.
    """
    changes = {"horizon": horizon, "cycle": cycle, "thresholds": thresholds}
    run = _load_run(Workdir(workdir), which, data_root, changes)
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
    models, network = _load_models(run, data.source, tile), STLight(run.network)
    scores = threshold_scores(run.config.evaluation.thresholds, run.config.evaluation.fss_window, data.scaling)
    parts = [part for each in scores for part in each.parts]
    steps = EvaluationSteps.compile(run.launcher, network, data.scaling, parts, tile)
    batch_size = run.launcher.round_up_batch_size(run.config.evaluation.batch_size)
    baselines = _baselines(run.config, dataclasses.replace(data, scaling=data.scaling.untransformed))
    evaluation = evaluate_with_baselines(steps, run.launcher, models, data, batch_size, baselines)
    samples = Samples(data.source, network, next(iter(models.values())), data.scaling, tile)
    shortcut = shortcut_alone(next(iter(run.checkpoints.values())), run.description)
    results = as_json(evaluation, run.checkpoints, test_set, data.scaling, comparison, scores, shortcut)
    results |= _sampled(samples, len(data.source)) | {"tile": tile, "division": divided}
    if run.launcher.is_first:  # all processes have the same results
        _write(run, results, samples)
    return results


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run to evaluate.

    Attributes:
      workdir: its folder.
      checkpoints: "best", "last" or a number's text -> the step; pictures show the first one.
      description: of the first checkpoint.
      config: of the run, with the changes asked for.
      network: of the run.
      launcher: of the devices.
    """

    workdir: Workdir
    checkpoints: dict[str, int]
    description: dict[str, Any]
    config: RunConfig
    network: STLightConfig
    launcher: Launcher


def _load_run(workdir: Workdir, which: str, data_root: str | None, changes: dict[str, int | str | None]) -> _Run:
    """Loads a run's config and finds its checkpoints, the same in all processes.

    Args:
      workdir: of the run.
      which: checkpoints, as in `evaluate_workdir`.
      data_root: as in `evaluate_workdir`.
      changes: key of the config's section `evaluation` -> value; None keeps the config's.
    """
    distributed.check_layout()
    for flag, value in {"checkpoint": which, "data_root": data_root, **changes}.items():
        agreement.assert_same_on_all_processes(f"--{flag}", value)
    # In the workdir of a run that still trains, each process might find other checkpoints.
    checkpoints = agreement.broadcast_from_first(agreement.call_in_first(functools.partial(_choose, workdir, which)))
    agreement.assert_shared_folder(workdir.path)
    description = checkpoint.load_description(workdir.checkpoints, next(iter(checkpoints.values())))

    sections = dict(description["config"])
    if data_root is not None:
        sections["data"] = {**sections["data"], "root": data_root}
    static = sections["data"].get("static")
    if static and not epath.Path(static).expanduser().exists() and workdir.static_field(static).exists():
        sections["data"] = {**sections["data"], "static": str(local_file(workdir.static_field(static)))}
    sections["evaluation"] = sections["evaluation"] | {key: value for key, value in changes.items() if value is not None}
    config = check_config(sections)
    network = network_config(config)
    covariates = description.get("scaling", {}).get("covariates", 0)
    check_horizon("evaluation.horizon", config.evaluation.horizon, network, covariates)
    return _Run(workdir, checkpoints, description, config, network, make_launcher(config.parallel.launcher))


def _choose(workdir: Workdir, which: str) -> dict[str, int]:
    """Finds the steps of checkpoints; "both" gives the best one first, and the last one unless it is the best."""
    if which != "both":
        return {which: checkpoint.choose_step(workdir.checkpoints, which)}
    best, last = (checkpoint.choose_step(workdir.checkpoints, name) for name in ("best", "last"))
    return {"best": best} if best == last else {"best": best, "last": last}


def _open_test_data(run: _Run, moved: bool) -> tuple[EvaluatedFrames, dict[str, Any]]:
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
    periods = dict.fromkeys(network_config(config).periods, "data.periods")
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


def _load_models(run: _Run, source: Sequences, tile: int) -> dict[str, Any]:
    """Loads the checkpoints: name -> variables, on all devices."""
    listed = ", ".join(f"{name} (step {step})" for name, step in run.checkpoints.items())
    decay = run.config.train.ema_decay
    averaged = f", moving averages of decay {decay}," if decay else ""
    cut = f", in tiles of {tile} x {tile} pixels" if tile else ""
    print_message(f"evaluating {listed} of {run.workdir.path}{averaged} on {len(source):,} sequences{cut}")
    variables = jax.eval_shape(functools.partial(init_variables, STLight(run.network), 0, source.shape[1:]))
    return {
        name: run.launcher.from_checkpoint(
            checkpoint.load_variables(run.workdir.checkpoints, step, run.launcher.abstract(variables))
        )
        for name, step in run.checkpoints.items()
    }


def _sampled(samples: Samples, count: int) -> dict[str, Any]:
    """Measures the sampled metrics on sequences that are evenly spaced in the test set."""
    indices, sums = evenly_spaced(count, _SAMPLED_SEQUENCES), SampledSums()
    for sample in samples.batches(indices):
        sums.add(sample.truth, sample.prediction)
    return sums.as_json(sequences=len(indices))


def _write(run: _Run, results: dict[str, Any], samples: Samples) -> None:
    """Writes tables, JSON, pictures and the page, and prints the tables."""
    folder = run.workdir.evaluation
    write_json(folder / METRICS, results)
    (folder / TABLE).write_text(results_text(results))
    print_message("drawing pictures ...")
    drawn = _present(run, results, samples)
    print_message(f"tables and pictures are in {folder}: {', '.join((TABLE, METRICS, *drawn))}")
    print(results_text(results, more_in=str(folder / TABLE)))


def _present(run: _Run, results: dict[str, Any], samples: Samples) -> tuple[str, ...]:
    """Draws the pictures and writes the page, and returns the names of the files.

    Args:
      run: that was evaluated.
      results: of `results.as_json`, with the sampled metrics.
      samples: of the test set, with the weights of the first checkpoint.
    """
    folder = run.workdir.evaluation
    shown = samples.all(evenly_spaced(results["test_set"]["sequences"], run.config.evaluation.pictures))
    clips = _clips(samples, results["sequence_mse"])
    true_frames = [*shown[:2], *(part for clip in clips for part in clip.true_parts)]
    channels = run.network.out_channels
    errors = [shown.prediction - shown.truth, *(part for clip in clips for part in clip.errors)]
    true_frames = [part[..., :channels] for part in true_frames]
    unit, go_north = (results["test_set"].get(key, default) for key, default in (("units", ""), ("rows_go_north", False)))
    display = FrameDisplay.of(true_frames, channels, samples.scaling.untransformed, unit, errors, go_north)
    pictures.draw_strip(folder / STRIP, shown.inputs[0], shown.truth[0], shown.prediction[0], display)
    pictures.animate(folder / ANIMATION, *shown, display)
    log = {kind: read_metrics(run.workdir.path, kind) for kind in ("train", "validation")}
    draw_loss_curve(folder / LOSS_CURVE, log["train"], log["validation"], start_label(run.config.to_dict()))
    page = Page(
        title=f"{run.workdir.path.name}: {results['test_set']['name']}",
        subtitle=_subtitle(results),
        results=results,
        gallery=Gallery(clips, "Best, median and worst sequences", [_GALLERY_REMARK], display),
        training=log,
        config=run.config.to_dict(),
        provenance=_provenance(run, results),
    )
    write_page(folder / PAGE, page)
    return PAGE, ANIMATION, STRIP, LOSS_CURVE


def _subtitle(results: dict[str, Any]) -> str:
    name, step = next(iter(results["checkpoints"].items()))
    horizon, count = len(results["per_lead_time"]["stlight"]["mse"]), results["test_set"]["sequences"]
    return f"STLight, {name} checkpoint, step {step:,}: {horizon} frames ahead on {count:,} test sequences"


def _clips(samples: Samples, sequence_mse: dict[str, Any]) -> list[Clip]:
    """The best, median and worst sequences, each once."""
    chosen: dict[int, tuple[str, dict[str, float]]] = {}
    for kind in ("best", "median", "worst"):
        for sequence in sequence_mse[kind]:
            chosen.setdefault(sequence["index"], (kind, sequence))
    if not chosen:
        return []
    clips = []
    sample = samples.all(np.array(list(chosen)))
    for (index, (kind, errors)), inputs, truth, prediction in zip(chosen.items(), *sample, strict=True):
        note = error_note(errors["mse"], errors["mse_per_value"])
        clips.append(Clip(f"{kind.capitalize()}: sequence {index}", inputs, truth, prediction, note))
    return clips


def _provenance(run: _Run, results: dict[str, Any]) -> dict[str, Any]:
    decay = run.config.train.ema_decay
    fingerprints = {
        f"{name}, step {step:,}": f"SHA-256 {checkpoint.fingerprint(run.workdir.checkpoints / str(step))}"
        for name, step in results["checkpoints"].items()
    }
    return {
        "run": run.workdir.path,
        "checkpoints": fingerprints,
        "weights": f"moving averages of decay {decay:g}" if decay else "as trained, no moving averages",
        "training data": run.description["data"],
        "test data": results["test_set"],
        **provenance("evaluated"),
    }
