"""When the paper's number may stand beside ours, and what is said of differences."""

import dataclasses

import ml_collections
import pytest

from stlight_jax import STLightConfig
from stlight_jax.evaluation.comparison import as_text, compare, paper_result
from tests.conftest import load_config

PUBLISHED = {"name": "the published test set", "published": True, "sequences": 10_000, "digits": "x.npy"}
CHECKPOINTS = {"best": 100, "last": 125_000}


def compared(size="L", dataset="moving_mnist", test_set=PUBLISHED, model=None, checkpoints=CHECKPOINTS, **changes):
    config = load_config(size, dataset)
    config.update_from_flattened_dict(changes)
    model = model or STLightConfig(**config.model)
    return compare(config, model, test_set, checkpoints, 125_000)


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
    for expected in ("21.77", "PredRNN++", "this network", "32.88", "32.28", "comparable", "and the test set"):
        assert expected in text
    assert "Differs" not in text


def test_every_difference_is_named():
    result = compared(**{"train.epochs": 3})
    text = " ".join(result["differences"])
    assert "3 epochs, batch 16, published 200 epochs" in text
    assert "not the paper" not in text
    assert "choice of the best checkpoint" in text
    assert "step 90,000 of 125,000" in " ".join(compared(checkpoints={"best": 1, "last": 90_000})["differences"])
    few = compared(test_set={**PUBLISHED, "sequences": 9_000})
    assert not few["comparable"]
    assert "9,000, published 10,000" in few["differences"][0]
    assert "NOT comparable" in as_text(few, {"STLight, last": {}})
    colours = compared("15M", "kitti_caltech", {**PUBLISHED, "sequences": 1983}, **{"data.colour_order": "rgb"})
    assert not colours["comparable"]


def test_a_horizon_nobody_published_is_not_compared():
    kth = {**PUBLISHED, "sequences": 3030}
    assert compared("L", "kth", kth)["title"].startswith("KTH")
    assert compared("L,40", "kth", kth) is None
    assert compared("L,40-rollout", "kth", kth) is None
    # Traffic errors are small numbers; none of them is rounded away.
    traffic = compared("S", "taxibj", {**PUBLISHED, "sequences": 500})
    assert "0.3479" in as_text(traffic, {"STLight, best": {"mse": 0.34567}})
    assert isinstance(traffic["rows"], list)
    assert ml_collections.ConfigDict(traffic)  # plain data
