"""Every published row has a config with exactly its parameters, and the paper's recipe."""

import pytest

from stlight_jax import InputError
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.load import check_config, network_config
from stlight_jax.model.count import count
from stlight_jax.training.schedule import Cosine, OneCycle, make_schedule
from tests.conftest import load_config

# Exact parameter counts, and FLOPs as the paper counts, in G: recovered from the published, rounded ones.
PUBLISHED = {
    ("taxibj", "S"): (990_984, 0.823),
    ("taxibj", "M"): (1_648_392, 1.368),
    ("taxibj", "L"): (2_963_976, 2.715),
    ("kth", "XS"): (1_430_420, 5.397),
    ("kth", "S"): (5_413_220, 20.934),
    ("kth", "M"): (9_457_620, 37.087),
    ("kth", "L"): (14_622_020, 57.827),
    ("moving_fashion_mnist", "L"): (32_879_710, 32.279),
}
# Read from figure 4, in millions, with an error of about 0.002.
FIGURE = {"15M": 15.233, "13M": 12.809, "11M": 10.695, "8M": 8.404, "7M": 7.021, "5M": 4.979}
SIDES = {"taxibj": (32, 32), "kth": (128, 128), "kitti_caltech": (128, 160), "moving_fashion_mnist": (64, 64)}


@pytest.mark.parametrize(("dataset", "size"), [*PUBLISHED, *(("kitti_caltech", size) for size in FIGURE)])
def test_parameters_and_flops_of_every_published_row(dataset, size):
    model = network_config(check_config(load_config(size, dataset)))
    height, width = SIDES[dataset]
    total = count(model, height, width).total
    parameters, flops = by_formula(model, height, width)
    assert (total.parameters, total.paper) == (parameters, flops)
    if dataset == "kitti_caltech":
        assert total.parameters / 1e6 == pytest.approx(FIGURE[size], abs=0.002)
    else:
        assert (total.parameters, round(total.paper / 1e9, 3)) == PUBLISHED[dataset, size]
    if dataset != "moving_fashion_mnist":
        row = find_dataset(dataset).published_table(model.in_frames, model.out_frames).result_of(model)
        assert row.name.endswith(size)


def by_formula(m, height, width):
    """Parameters by the paper's appendix B with biases and norms written out, and fvcore's count of the network."""
    kernel, cells = m.patch_size * max(1, m.overlap), height * width // m.patch_size**2
    seen, predicted, shuffled = m.in_frames * m.in_channels, m.out_frames * m.out_channels, m.hidden_dim // m.patch_size**2
    d, near, far = m.hidden_dim, m.near_kernel**2, m.far_kernel**2
    parameters = seen * d * kernel**2 + 3 * d + m.depth * (d * d + (near + far + 7) * d) + (shuffled + 1) * predicted
    products = cells * seen * d * kernel**2 + m.depth * cells * d * d + height * width * shuffled * predicted
    return parameters, products + 2 * cells * d * (2 * m.depth + 1)


def test_recipes_are_table_2s():
    for dataset, size, rate, last, batch, epochs in (
        ("kth", "L", 5e-4, 1e4, 12, 100),
        ("kitti_caltech", "15M", 1e-2, 3e3, 8, 100),
        ("moving_mnist", "L", 3e-3, 1e4, 16, 200),
        ("moving_fashion_mnist", "L", 3e-3, 1e4, 16, 200),
    ):
        config = load_config(size, dataset)
        schedule = make_schedule(config.optimizer, 10 * config.train.epochs, 10)
        assert isinstance(schedule, OneCycle)
        assert schedule(10 * epochs - 1).learning_rate == pytest.approx(rate / 25 / last)
        assert schedule(0).learning_rate == pytest.approx(rate / 25)
        assert (config.train.batch_size, config.train.epochs) == (batch, epochs)
    taxi = load_config("L", "taxibj")
    schedule = make_schedule(taxi.optimizer, 1278 * taxi.train.epochs, 1278)
    assert isinstance(schedule, Cosine)
    assert (schedule.peak, schedule.least, schedule.epochs, schedule.warmup_epochs) == (3e-3, 1e-6, 50, 5)
    assert taxi.train.batch_size == 16


def test_kth_has_both_ways_to_40_frames():
    one_pass, rolled = load_config("L,40", "kth"), load_config("L,40-rollout", "kth")
    assert (one_pass.model.out_frames, one_pass.evaluation.horizon) == (40, 0)
    assert (rolled.model.out_frames, rolled.evaluation.horizon) == (20, 40)
    # Only the last convolution grows: d / p**2 weights and a bias per frame.
    ours, longer = (count(network_config(check_config(config)), 128, 128).total.parameters for config in (rolled, one_pass))
    assert longer - ours == 20 * (1000 // 4 + 1)


@pytest.mark.parametrize("dataset", ["taxibj", "kth", "kitti_caltech", "frames", "moving_mnist", "moving_fashion_mnist"])
def test_unknown_sizes_name_the_known_ones(dataset):
    with pytest.raises(InputError, match=r"has no size 'Q'; choose one of"):
        load_config("Q", dataset)


@pytest.mark.parametrize(
    ("dataset", "key", "value", "message"),
    [
        ("kth", "data.validation", "mine", "data.validation is 'mine'; choose one of openstl, held_out"),
        ("moving_mnist", "data.validation", "held_out", "choose one of generated, openstl"),
        ("kitti_caltech", "data.colour_order", "bgr", "choose one of openstl, rgb"),
        ("frames", "data.split", "random", "data.split is 'random'; choose one of auto, name, sequence, time"),
        ("frames", "data.gap", -1, "data.gap is -1; it must be at least 0"),
        ("moving_mnist", "data.digits", "disk", "data.digits is 'disk'; choose one of auto, embedded, idx, tfds"),
        ("frames", "data.frame_step", 0, "data.frame_step is 0; it must be at least 1"),
        ("frames", "evaluation.cycle", -1, "evaluation.cycle is -1"),
        ("taxibj", "optimizer.schedule", "linear", "optimizer.schedule is 'linear'"),
        ("taxibj", "dataset", "taxi", "dataset is 'taxi'; choose one of moving_mnist"),
    ],
)
def test_impossible_values_are_refused(dataset, key, value, message):
    config = load_config({"kitti_caltech": "15M", "frames": "tiny"}.get(dataset, "L"), dataset)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=message):
        network_config(check_config(config))
