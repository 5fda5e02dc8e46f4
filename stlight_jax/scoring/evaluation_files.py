"""The files of an evaluation: tables, JSON, pictures and a page in the run's workdir."""

from typing import Any

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.evaluation.samples import Samples, evenly_spaced
from stlight_jax.reports import pictures
from stlight_jax.reports.figures import draw_loss_curve
from stlight_jax.reports.frame_display import FrameDisplay
from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.results_text import results_text
from stlight_jax.reports.skill import start_label
from stlight_jax.reports.sprites import Clip, error_note
from stlight_jax.runs.environment import provenance
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.scoring.run_to_evaluate import RunToEvaluate
from stlight_jax.storage.atomic import write_json

TABLE, METRICS = "table.txt", "metrics.json"
PAGE, ANIMATION, STRIP, LOSS_CURVE = "report.html", "prediction.gif", "prediction.png", "loss_curve.png"

_GALLERY_REMARK = (
    "Chosen by the squared error per valid value; MSE is of the whole sequence, summed over pixels. Sequences are numbered "
    "from 0, in the order of the test set."
)


def write_evaluation(run: RunToEvaluate, results: dict[str, Any], samples: Samples) -> None:
    """Writes tables, JSON, pictures and the page to `workdir/eval`, and prints the tables.

    Args:
      run: that was evaluated.
      results: of `results.as_json`, with the sampled metrics.
      samples: of the test set, with the weights of the first checkpoint.
    """
    folder = run.workdir.evaluation
    write_json(folder / METRICS, results)
    (folder / TABLE).write_text(results_text(results))
    print_message("drawing pictures ...")
    drawn = _present(run, results, samples)
    print_message(f"tables and pictures are in {folder}: {', '.join((TABLE, METRICS, *drawn))}")
    print(results_text(results, more_in=str(folder / TABLE)))


def _present(run: RunToEvaluate, results: dict[str, Any], samples: Samples) -> tuple[str, ...]:
    """Draws the pictures and writes the page, see `write_evaluation`, and returns the names of the files."""
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


def _provenance(run: RunToEvaluate, results: dict[str, Any]) -> dict[str, Any]:
    decay = run.config.train.ema_decay
    fingerprints = {
        f"{name}, step {step:,}": f"SHA-256 {run.fingerprints[name]}" for name, step in results["checkpoints"].items()
    }
    return {
        "run": run.workdir.path,
        "checkpoints": fingerprints,
        "weights": f"moving averages of decay {decay:g}" if decay else "as trained, no moving averages",
        "training data": run.description["data"],
        "test data": results["test_set"],
        **provenance("evaluated"),
    }
