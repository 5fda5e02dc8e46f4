"""Which published numbers a result is compared with, and which differences are listed."""

import dataclasses

import pytest

from stlight_jax import STLightConfig
from stlight_jax.data.load import check_config
from stlight_jax.reports.comparison import EvaluatedRun, as_text, compare, paper_result
from tests.conftest import load_config

PUBLISHED = {
    "name": "the published test set",
    "published": True,
    "sequences": 10_000,
    "digits": "x.npy",
    "shape": [20, 64, 64, 1],
}
KTH = {**PUBLISHED, "sequences": 3030, "shape": [30, 128, 128, 1]}
TAXI = {**PUBLISHED, "sequences": 500, "shape": [8, 32, 32, 2]}
CALTECH = {**PUBLISHED, "sequences": 1983, "shape": [11, 128, 160, 3]}
CHECKPOINTS = {"best": 100, "last": 125_000}


def compared(size="L", dataset="moving_mnist", test_set=PUBLISHED, model=None, checkpoints=CHECKPOINTS, **changes):
    config = load_config(size, dataset)
    config.update_from_flattened_dict(changes)
    model = model or STLightConfig(**config.model)
    return compare(EvaluatedRun(check_config(config), model, test_set, checkpoints, 125_000))


@pytest.mark.parametrize(("size", "mse"), [("XS", 24.48), ("S", 23.29), ("M", 22.21), ("L", 21.80), ("54M", 20.54)])
def test_published_sizes_meet_their_published_result(size, mse):
    assert paper_result(compared(size))["mse"] == mse
    assert paper_result(compared(size, test_set={**PUBLISHED, "published": False})) is None
    model = STLightConfig(**load_config(size).model)
    assert paper_result(compared(size, model=dataclasses.replace(model, depth=12))) is None
    assert paper_result(compared(size, model=dataclasses.replace(model, hidden_dim=1404))) is None


def test_what_was_done_as_published_leaves_no_difference():
    result = compared(**{"data.validation": "openstl"})
    assert result["differences"] == []
    text = as_text(result, {"STLight, best": {"mse": 21.7654, "mae": 66.0, "ssim": 0.9515}})
    for expected in ("21.77", "PredRNN++", "this network", "32.88", "32.28", " comparable │", "and the test set"):
        assert expected in text
    assert "Differs" not in text
    assert "NOT comparable" not in text


def test_every_difference_is_named():
    changes = {"train.epochs": 3, "optimizer.weight_decay": 0.1, "train.init_from": "x", "model.dtype": "bfloat16"}
    changes |= {"optimizer.beta1": 0.8, "train.ema_decay": 0.999}
    assert compared(**changes, **{"data.validation": "openstl"})["differences"] == [
        "train.epochs: 3, published 200",
        "train.ema_decay: 0.999, published 0.0",
        "train.init_from: 'x', published ''",
        "optimizer.weight_decay: 0.1, published 0.0",
        "model.dtype: 'bfloat16', published 'float32'",
    ]  # beta1 has no effect under OneCycle
    (difference,) = compared()["differences"]
    assert difference.startswith("choice of the best checkpoint: on sequences of the training set; OpenSTL's")
    for checkpoints in ({"best": 90_000}, {"last": 90_000}, {"best": 1, "last": 90_000}):
        assert "training: evaluated after at most 90,000 of 125,000 steps" in compared(checkpoints=checkpoints)["differences"]


def test_other_test_data_are_not_comparable():
    few = compared(test_set={**PUBLISHED, "sequences": 9_000})
    assert not few["comparable"]
    assert few["differences"][0] == "test sequences: 9,000, published 10,000 (paper)"
    assert "NOT comparable" in as_text(few, {"STLight, last": {}})
    for count, comparable in ((3030, True), (3167, True), (3100, False)):  # the paper's count, and OpenSTL's
        assert compared("L", "kth", {**KTH, "sequences": count})["comparable"] == comparable
    assert compared("15M", "kitti_caltech", CALTECH)["comparable"]
    assert not compared("15M", "kitti_caltech", CALTECH, **{"data.colour_order": "rgb"})["comparable"]


def test_a_horizon_nobody_published_is_not_compared():
    assert compared("L", "kth", KTH)["title"].startswith("KTH")
    assert compared("L,40", "kth", KTH) is None
    assert compared("L,40-rollout", "kth", KTH) is None


def test_small_errors_are_not_rounded_away():
    traffic = compared("S", "taxibj", TAXI)
    assert "0.3479" in as_text(traffic, {"STLight, best": {"mse": 0.34567}})
    assert "0.3457" in as_text(traffic, {"STLight, best": {"mse": 0.34567}})


def test_frames_of_another_size_are_not_compared():
    # Sums over fewer pixels are smaller: beside the published ones they would only mislead.
    assert compared("tiny", test_set={**PUBLISHED, "shape": [20, 32, 32, 1]}) is None
    assert compared("tiny", test_set={**PUBLISHED, "published": False})["comparable"] is False
