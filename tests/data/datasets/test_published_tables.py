"""The published results agree with each other, with the networks that made them and with the definitions of the metrics."""

import dataclasses
import math

import pytest

from stlight_jax import STLightConfig
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.model.count import count
from tests.conftest import load_config


def published_table(dataset, in_frames, out_frames):
    return find_dataset(dataset).published_table(in_frames, out_frames)


TABLES = [
    published_table(*key)
    for key in [
        ("moving_mnist", 10, 10),
        ("taxibj", 4, 4),
        ("kth", 10, 20),
        ("kitti_caltech", 10, 1),
        ("moving_fashion_mnist", 10, 10),
    ]
]
RESULTS = [(table, result) for table in TABLES for result in table.results]
NETWORKS = [(table, result) for table, result in RESULTS if result.network is not None]


def each(pairs):
    return pytest.mark.parametrize(("table", "result"), pairs, ids=[f"{table.title} {result.name}" for table, result in pairs])


def rounds_to(value, printed):
    decimals = len(str(printed).partition(".")[2])
    return abs(value - printed) <= (0.5 + 1e-9) * 10**-decimals


@each(NETWORKS)
def test_networks_have_the_published_size(table, result):
    total = count(STLightConfig(**result.network), *table.frame[:2]).total
    if table.title.startswith("KITTI"):  # read from a plot
        assert total.parameters / 1e6 == pytest.approx(result.parameters, abs=0.002)
    else:
        assert rounds_to(total.parameters / 1e6, result.parameters)
    assert result.flops is None or rounds_to(total.paper / 1e9, result.flops)


def test_every_size_whose_settings_are_known_has_its_network():
    assert [sum(found is table for found, _ in NETWORKS) for table in TABLES] == [5, 3, 4, 6, 0]


@each(NETWORKS)
def test_lookup_wants_every_setting(table, result):
    network = STLightConfig(**result.network)
    assert table.result_of(network) is result
    same = {"precision": "bfloat16", "dtype": "bfloat16", "depthwise": "taps", "rematerialise": "blocks", "scan_unroll": 4}
    assert table.result_of(dataclasses.replace(network, **same)) is result
    if network.overlap == 0:
        assert table.result_of(dataclasses.replace(network, overlap=1)) is result
    others = {
        "in_frames": network.in_frames + 1,
        "out_frames": network.out_frames + 1,
        "in_channels": network.in_channels + 1,
        "out_channels": network.out_channels + 1,
        "hidden_dim": network.hidden_dim + 16,
        "depth": network.depth + 1,
        "patch_size": 2 if network.patch_size == 1 else 10,  # both divide as they must
        "overlap": 3,
        "near_kernel": 9,
        "far_kernel": 9,
        "dilation": 2,
    }
    for key, value in others.items():
        assert table.result_of(dataclasses.replace(network, **{key: value})) is None, key


@pytest.mark.parametrize("size", ["XS", "S", "M", "L", "54M"])
def test_the_sizes_of_the_config_are_found(size):
    found = published_table("moving_mnist", 10, 10).result_of(STLightConfig(**load_config(size).model))
    assert found.name in (f"STLight-{size}", f"STLight {size}")


@pytest.mark.parametrize("key", [("kth", 10, 40), ("moving_mnist", 10, 20), ("frames", 10, 10)])
def test_nothing_stands_where_nothing_is_published(key):
    assert published_table(*key) is None


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_rows_are_in_order(table):
    stlight = [result for result in table.results if result.name.startswith("STLight")]
    others = [result.name for result in table.results[len(stlight) :]]
    assert table.results[: len(stlight)] == tuple(sorted(stlight, key=lambda result: result.parameters))
    assert others == sorted(others, key=str.casefold)
    assert len({result.name for result in table.results}) == len(table.results)


@each(RESULTS)
def test_metrics_fit_their_definitions(table, result):
    metrics, values = result.metrics, math.prod(table.frame)
    assert metrics
    assert list(metrics) == [name for name in table.metrics if name in metrics]
    assert 0.8 < metrics.get("ssim", 0.9) < 1
    if "mse" in metrics and "mae" in metrics:
        # Errors of values in [0, 1]: the square is the smaller. By Cauchy-Schwarz, the mean squared is no more than its square.
        assert metrics["mae"] ** 2 / values <= metrics["mse"] <= metrics["mae"]
    if "psnr" in metrics and "mse" in metrics:
        # The logarithm is concave: the mean over frames is more than that of the mean, and more by a dB, not by ten.
        of_the_mean = 10 * math.log10(values / metrics["mse"])
        assert of_the_mean <= metrics["psnr"] <= of_the_mean + 3
    elif "psnr" in metrics:
        assert metrics["psnr"] < 20 * math.log10(values / metrics["mae"])


def test_methods_have_one_size_on_both_kinds_of_digits():
    digits, clothes = ({result.name: result for result in TABLES[index].results} for index in (0, 4))
    both = digits.keys() & clothes.keys()
    assert len(both) >= 6
    for name in both:
        assert (digits[name].parameters, digits[name].flops) == (clothes[name].parameters, clothes[name].flops)


def test_the_claims_of_the_paper_hold():
    moving_mnist, taxibj, kth, _, _ = ({result.name: result.metrics for result in table.results} for table in TABLES)
    best = {name: min(rows, key=lambda key: rows[key]["mse"]) for name, rows in (("mmnist", moving_mnist), ("taxibj", taxibj))}
    assert best == {"mmnist": "STLight 54M", "taxibj": "STLight-L"}
    assert moving_mnist["STLight-L"]["mse"] < moving_mnist["PredRNN++"]["mse"] < moving_mnist["STLight-M"]["mse"]
    for rows in (moving_mnist, taxibj):  # larger is better
        errors = [metrics["mse"] for name, metrics in rows.items() if name.startswith("STLight")]
        assert errors == sorted(errors, reverse=True)
    assert min(kth, key=lambda key: kth[key]["mae"]) == "STLight-L"
    assert kth["E3D-LSTM"] == {"mae": 892.7, "psnr": 21.78, "ssim": 0.8153}
