"""Parameters and multiply-accumulates against every published row (paper, tables 3 and 8, figure 1)."""

import jax
import jax.numpy as jnp
import pytest

from stlight_jax import STLight, STLightConfig
from stlight_jax.model.count import count
from tests.conftest import load_config

DATA = {  # in_frames, out_frames, channels, height, width
    "moving_mnist": (10, 10, 1, 64, 64),
    "taxibj": (4, 4, 2, 32, 32),
    "kth": (10, 20, 1, 128, 128),
    "kitti_caltech": (10, 1, 3, 128, 160),
}
# name, data, d, depth, p, O, k1, k2, parameters; published: parameters (M), G as the paper counts; G with depthwise
ROWS = [
    ("5M a", "moving_mnist", 540, 16, 2, 0, 3, 7, 5_251_780, "5.3", "4.84", "5.35"),
    ("5M b", "moving_mnist", 544, 16, 2, 0, 3, 7, 5_325_498, "5.3", "4.91", "5.43"),
    ("XS", "moving_mnist", 800, 16, 2, 0, 3, 7, 11_108_410, "11.1", "10.581", "11.341"),
    ("S", "moving_mnist", 1000, 16, 2, 0, 3, 7, 17_085_510, "17.1", "16.503", "17.453"),
    ("M", "moving_mnist", 1200, 16, 2, 0, 3, 7, 24_342_610, "24.3", "23.736", "24.876"),
    ("L", "moving_mnist", 1400, 16, 2, 0, 3, 7, 32_879_710, "32.9", "32.279", "33.609"),
    ("42M", "moving_mnist", 1600, 16, 2, 0, 3, 7, 42_696_810, "42.7", "42.133", "43.654"),
    ("54M", "moving_mnist", 1800, 16, 2, 2, 3, 7, 54_009_910, "54.01", "53.519", "55.230"),
    ("S", "taxibj", 256, 12, 1, 0, 3, 7, 990_984, "0.99", "0.823", "1.005"),
    ("M", "taxibj", 256, 20, 1, 0, 3, 7, 1_648_392, "1.65", "1.368", "1.672"),
    ("L", "taxibj", 512, 10, 1, 0, 3, 7, 2_963_976, "2.96", "2.715", "3.019"),
    ("XS", "kth", 400, 8, 2, 0, 3, 5, 1_430_420, "1.4", "5.397", "5.843"),
    ("S", "kth", 600, 14, 2, 0, 3, 5, 5_413_220, "5.4", "20.934", "22.104"),
    ("M", "kth", 800, 14, 2, 0, 3, 5, 9_457_620, "9.5", "37.087", "38.647"),
    ("L", "kth", 1000, 14, 2, 0, 3, 5, 14_622_020, "14.6", "57.827", "59.777"),
    # Parameters read from figure 4, to about 0.002 M; no multiply-accumulates are published.
    ("15M", "kitti_caltech", 1200, 10, 2, 0, 5, 5, None, "15.233", None, None),
    ("13M", "kitti_caltech", 1000, 12, 2, 0, 5, 5, None, "12.809", None, None),
    ("11M", "kitti_caltech", 1000, 10, 2, 0, 5, 5, None, "10.695", None, None),
    ("8M", "kitti_caltech", 800, 12, 2, 0, 3, 7, None, "8.404", None, None),
    ("7M", "kitti_caltech", 800, 10, 2, 0, 3, 7, None, "7.021", None, None),
    ("5M", "kitti_caltech", 600, 12, 2, 0, 5, 7, None, "4.979", None, None),
]


def assert_rounds_to(value, printed, units_of_last_digit=0.5):
    decimals = len(printed.partition(".")[2])
    assert value == pytest.approx(float(printed), abs=(units_of_last_digit + 1e-9) * 10**-decimals)


def network_of(row):
    """The config of a row and its frames' height and width."""
    _, data, d, depth, patch, overlap, near, far, *_ = row
    in_frames, out_frames, channels, height, width = DATA[data]
    config = STLightConfig(
        in_frames=in_frames, out_frames=out_frames, in_channels=channels, out_channels=channels,
        hidden_dim=d, depth=depth, patch_size=patch, overlap=overlap, near_kernel=near, far_kernel=far,
    )  # fmt: skip
    return config, height, width


def name_of(row):
    return f"{row[1]} {row[0]}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_published_sizes(row):
    _, data, d, depth, patch, overlap, near, far, exact, millions, paper, true = row
    in_frames, out_frames, channels, *_ = DATA[data]
    config, height, width = network_of(row)
    total = count(config, height, width).total

    # Closed forms of the paper's description.
    seen, ahead, side = in_frames * channels, out_frames * channels, patch * max(1, overlap)
    cells = height * width // patch**2
    assert total.parameters == (
        seen * d * side**2 + 3 * d + depth * (d**2 + (near**2 + far**2 + 7) * d) + (d // patch**2 + 1) * ahead
    )
    convolutions = cells * seen * d * side**2 + depth * cells * d**2 + height * width * (d // patch**2) * ahead
    assert total.paper == convolutions + 2 * cells * d * (2 * depth + 1)
    assert total.true == total.paper + depth * cells * d * (near**2 + far**2)

    assert exact is None or total.parameters == exact
    assert_rounds_to(total.parameters / 1e6, millions, 2 if data == "kitti_caltech" else 0.5)
    if paper is not None:
        assert_rounds_to(total.paper / 1e9, paper)
        assert_rounds_to(total.true / 1e9, true)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("XS", 11_108_410), ("S", 17_085_510), ("M", 24_342_610), ("L", 32_879_710), ("54M", 54_009_910)],
)
def test_config_sizes_are_the_published_ones(size, parameters):
    config = load_config(size)
    assert count(STLightConfig(**config.model), 64, 64).total.parameters == parameters


def test_parts_are_those_of_the_real_tree(small_model):
    variables = jax.eval_shape(STLight(small_model).init, jax.random.key(0), jnp.zeros((1, 3, 8, 8, 2)))
    real = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count(small_model, 8, 8).total.parameters == real


def test_frames_are_counted_with_their_padding_to_whole_patches():
    config = STLightConfig(in_frames=3, out_frames=2, in_channels=1, out_channels=1, hidden_dim=16, depth=2, patch_size=2)
    assert count(config, 33, 31).total == count(config, 34, 32).total
