"""The pictures and the page of an evaluation, in the run's workdir."""

import datetime
from typing import Any

import numpy as np

from stlight_jax.config import RunConfig
from stlight_jax.evaluation.samples import Samples, evenly_spaced
from stlight_jax.reports import pictures
from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.sprites import Clip, error_note
from stlight_jax.runs import seals
from stlight_jax.runs.environment import describe_environment
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir

PAGE, ANIMATION, STRIP, LOSS_CURVE = "report.html", "prediction.gif", "prediction.png", "loss_curve.png"
_GALLERY_REMARK = (
    "Chosen by the squared error per valid value; MSE is of the whole sequence, summed over pixels. Sequences are numbered "
    "from 0, in the order of the test set."
)


def present(
    workdir: Workdir, results: dict[str, Any], samples: Samples, config: RunConfig, description: dict[str, Any]
) -> tuple[str, ...]:
    """Draws the pictures and writes the page into `workdir.evaluation`.

    Args:
      workdir: of the run.
      results: of `results.as_json`, with the sampled metrics.
      samples: of the test set, with the weights of the first checkpoint.
      config: of the evaluation.
      description: of the first checkpoint.

    Returns:
      The names of the files.
    """
    folder = workdir.evaluation
    shown = samples.all(evenly_spaced(results["test_set"]["sequences"], config.evaluation.pictures))
    drawn = pictures.displayed(*shown)
    pictures.draw_strip(folder / STRIP, *(part[0] for part in drawn))
    pictures.animate(folder / ANIMATION, *drawn)
    log = {kind: read_metrics(workdir.path, kind) for kind in ("train", "validation")}
    pictures.draw_loss_curve(folder / LOSS_CURVE, log["train"], log["validation"])
    clips = _clips(samples, results["sequence_mse"])
    page = Page(
        title=f"{workdir.path.name}: {results['test_set']['name']}",
        subtitle=_subtitle(results),
        results=results,
        gallery=Gallery(clips, "Best, median and worst sequences", [_GALLERY_REMARK]),
        training=log,
        config=config.to_dict(),
        provenance=_provenance(workdir, results, config, description),
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


def _provenance(workdir: Workdir, results: dict[str, Any], config: RunConfig, description: dict[str, Any]) -> dict[str, Any]:
    machine = describe_environment()
    decay = config.train.ema_decay
    fingerprints = {
        f"{name}, step {step:,}": f"SHA-256 {seals.fingerprint(workdir.checkpoints / str(step))}"
        for name, step in results["checkpoints"].items()
    }
    return {
        "run": workdir.path,
        "checkpoints": fingerprints,
        "weights": f"moving averages of decay {decay:g}" if decay else "as trained, no moving averages",
        "training data": description["data"],
        "test data": results["test_set"],
        "evaluated": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": machine["python"],
        **machine["packages"],
        "code": machine["git_commit"] or "not in a repository",
        "devices": machine["devices"],
        "platform": machine["platform"],
    }
