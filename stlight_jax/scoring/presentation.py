"""What there is to see of an evaluation: pictures, and the page that has everything, in the run's folder."""

from __future__ import annotations

import datetime
from typing import Any

from stlight_jax.config import RunConfig
from stlight_jax.evaluation.samples import Samples, evenly_spaced
from stlight_jax.reports import pictures
from stlight_jax.reports.page import write_page
from stlight_jax.reports.sprites import Clip, error_note
from stlight_jax.runs import checkpoint
from stlight_jax.runs.environment import environment
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir

PAGE, ANIMATION, STRIP, LOSS_CURVE = "report.html", "prediction.gif", "prediction.png", "loss_curve.png"


def present(
    place: Workdir, results: dict[str, Any], samples: Samples, config: RunConfig[Any], description: dict[str, Any]
) -> tuple[str, ...]:
    """Draws all of it into `place.evaluation`, and returns the files' names.

    Args:
      results: `report.as_json`'s, with "sharpness".
      samples: of the test set, with the weights of the first checkpoint.
      config: that was evaluated.
      description: of the first checkpoint.
    """
    count = results["test_set"]["sequences"]
    shown = samples.all(evenly_spaced(count, config.evaluation.pictures))
    drawn = pictures.displayed(*shown)
    pictures.draw_strip(place.evaluation / STRIP, *(part[0] for part in drawn))
    pictures.animate(place.evaluation / ANIMATION, *drawn)
    log = {kind: read_metrics(place.path, kind) for kind in ("train", "validation")}
    pictures.draw_loss_curve(place.evaluation / LOSS_CURVE, log["train"], log["validation"])
    horizon = len(results["per_lead_time"]["stlight"]["mse"])
    name, step = next(iter(results["checkpoints"].items()))
    write_page(
        place.evaluation / PAGE,
        title=f"{place.path.name}: {results['test_set']['name']}",
        subtitle=f"STLight, {name} checkpoint, step {step:,}: {horizon} frames ahead on {count:,} test sequences",
        results=results,
        clips=_clips(samples, results["sequence_mse"]),
        gallery_title="Best, median and worst sequences",
        gallery_remarks=[
            "By the squared error per value that is there; MSE is of the whole sequence, summed over pixels. Sequences are "
            "numbered from 0, in the order of the test set."
        ],
        sharpness=results["sharpness"],
        training=log,
        config=config.to_dict(),
        provenance=_provenance(place, results, config, description),
    )
    return PAGE, ANIMATION, STRIP, LOSS_CURVE


def _clips(samples: Samples, sequence_mse: dict[str, Any]) -> list[Clip]:
    """The best, median and worst sequences, each once."""
    found: dict[int, tuple[str, dict[str, float]]] = {}
    for kind in ("best", "median", "worst"):
        for one in sequence_mse[kind]:
            found.setdefault(one["index"], (kind, one))
    if not found:
        return []
    clips = []
    for (index, (kind, one)), *parts in zip(found.items(), *samples.all(list(found)), strict=True):
        note = error_note(one["mse"], one["mse_per_value"])
        clips.append(Clip(f"{kind.capitalize()}: sequence {index}", *parts, note=note))
    return clips


def _provenance(
    place: Workdir, results: dict[str, Any], config: RunConfig[Any], description: dict[str, Any]
) -> dict[str, Any]:
    here = environment()
    decay = config.train.ema_decay
    fingerprints = {
        f"{name}, step {step:,}": f"SHA-256 {checkpoint.fingerprint(place.checkpoints, step)}"
        for name, step in results["checkpoints"].items()
    }
    return {
        "run": place.path,
        "checkpoints": fingerprints,
        "weights": f"moving averages of decay {decay:g}" if decay else "as trained, no moving averages",
        "training data": description["data"],
        "test data": results["test_set"],
        "evaluated": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": here["python"],
        **here["packages"],
        "code": here["git_commit"] or "not in a repository",
        "devices": here["devices"],
        "platform": here["platform"],
    }
