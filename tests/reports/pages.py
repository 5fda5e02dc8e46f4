"""Pages for tests: results and clips by hand, with names that do harm if a browser takes them for HTML."""

import numpy as np

from stlight_jax.reports.page import Gallery
from stlight_jax.reports.sprites import Clip

EVIL = """</script><script>window.harmed = 1</script><img src=x onerror="window.harmed = 2">&amp;'"<!--"""
LEADS = 4


def lead_times(start):
    return {
        "mse": [start + lead for lead in range(LEADS)],
        "mae": [2 * start] * LEADS,
        "ssim": [0.9 - 0.1 * lead for lead in range(LEADS)],
    }


def results():
    """The content of `metrics.json`, with infinite and missing values."""
    rows = {"stlight": 10.0, "copy_last_frame": 30.0, "mean_of_inputs": 20.0}
    leads = {name: lead_times(start) for name, start in rows.items()}
    leads["stlight"]["ssim"][1] = float("nan")
    return {
        "checkpoints": {EVIL: 1234},
        "test_set": {"name": EVIL, "published": False, "sequences": 5, "raw": EVIL, "remark": EVIL},
        "overall": {
            **{name: {"mse": start + 1.5, "psnr": float("inf")} for name, start in rows.items()},
            "best_constant_image": {"mse": 25.125},
            "paper": None,
        },
        "per_lead_time": {**leads, "best_constant_image": {"mse": [25.0] * LEADS}},
        "sharpness": {"sequences": 5, "per_lead_time": [0.9, 0.8, float("nan"), 0.5]},
        "sequence_mse": {"quantiles": {"0": 1.0, "0.5": 2.0, "1": 3.0}},
        "published": {
            "dataset": "kth", "title": EVIL, "source": "a paper", "recipe": "100 epochs", "metrics": ["psnr", "ssim"],
            "rows": [{"name": "STLight-L", "parameters": 1.5, "flops": 2.5, "note": EVIL, "psnr": 27.25, "ssim": 0.875}],
            "this_size": "STLight-L", "network": {"parameters": 1.5, "flops": 2.5}, "differences": [EVIL],
            "chosen_on_test_set": True, "comparable": False,
        },
    }  # fmt: skip


def steps(count, side, shade=0.1):
    """Frames of one grey each, `shade` brighter than the frame before."""
    return np.broadcast_to((shade * np.arange(count))[:, None, None, None], (count, side, side, 1)).astype(np.float32)


def clips():
    """Two clips of three input and four predicted frames, with a missing value."""
    truth = steps(LEADS, 8, 0.25).copy()
    truth[:, 0, 0] = np.nan
    first = Clip("first", steps(3, 8), truth, np.where(np.isnan(truth), np.nan, 1 - truth))
    return [first, Clip(EVIL, steps(3, 8), truth, truth, note=EVIL)]


def everything():
    """Every attribute of `Page`."""
    return {
        "title": EVIL,
        "subtitle": EVIL,
        "results": results(),
        "gallery": Gallery(clips(), EVIL, []),
        "training": {
            "train": [{"step": step, "loss": 1 / step} for step in range(1, 40)] + [{"step": 40, "loss": None}],
            "validation": [{"step": 20, "mse": 30.0}, {"step": 40, "mse": 12.5}],
        },
        "config": {"data": {EVIL: EVIL}, "rate": float("inf")},
        "provenance": {EVIL: EVIL, "versions": {"jax": "0.12", EVIL: [1, 2]}},
    }
