"""`python -m stlight_jax score`: OpenSTL's metrics of anybody's saved predictions, streaming."""

from __future__ import annotations

from absl import flags
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.reports.tables import DEFINITIONS, tables
from stlight_jax.scoring.score import score
from stlight_jax.storage import paths
from stlight_jax.storage.json_files import write_json
from stlight_jax.storage.paths import create_folder


def define_flags() -> None:
    flags.DEFINE_string("pred", None, "Predictions: .npy, [n, t, c, h, w], [n, t, h, w, c] or [n, t, h, w].")
    flags.DEFINE_string("true", None, "The true frames, a .npy of the same shape.")
    flags.DEFINE_string("saved", None, "Instead of both: a folder with preds.npy and trues.npy, as OpenSTL writes it.")
    flags.DEFINE_string("layout", "auto", "Axes after the first: auto, tchw, thwc or thw.")
    flags.DEFINE_string("json", None, "Write the metrics to this file, too.")


def main() -> None:
    given = flags.FLAGS
    if bool(given.saved) == bool(given.pred or given.true) or bool(given.pred) != bool(given.true):
        raise InputError("give --pred=FILE.npy and --true=FILE.npy, or --saved=FOLDER with preds.npy and trues.npy")
    prediction, truth = given.pred, given.true
    if given.saved:
        prediction, truth = (epath.Path(given.saved) / name for name in ("preds.npy", "trues.npy"))
    if given.json:
        paths.connect(given.json)
        if epath.Path(given.json).suffix != ".json" or epath.Path(given.json).is_dir():
            raise InputError(f"--json={given.json}: expected the name of a file that ends in .json")
        create_folder(epath.Path(given.json).parent)
    sums = score(prediction, truth, given.layout)
    results = {
        "sequences": sums.count,
        "frames": len(sums.per_lead_time()["mse"]),
        "overall": sums.overall(),
        "per_lead_time": sums.per_lead_time(),
    }
    print(tables("saved predictions", {"predictions": sums.overall()}, sums.per_lead_time(), {}, DEFINITIONS))
    if given.json:
        write_json(given.json, results)
        print_message(f"wrote {given.json}")
