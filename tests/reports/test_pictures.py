"""Sizes, timing and colours of pictures."""

import numpy as np
from PIL import Image

from stlight_jax.reports.pictures import animate, draw_strip


def frames(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_strip_has_a_row_each_for_input_truth_prediction_and_error(tmp_path):
    truth = np.full((4, 32, 32, 1), 0.5, np.float32)
    prediction = truth.copy()
    prediction[0] = 1.0  # too bright
    prediction[1] = 0.0  # too dark
    draw_strip(tmp_path / "x.png", frames(3, 32, 32, 1), truth, prediction)
    image = np.asarray(Image.open(tmp_path / "x.png"))
    cell, gap, left, top = 96, 4, 92, 30
    assert image.shape == (top + 4 * (cell + gap), left + 4 * (cell + gap), 3)

    def centre(row, column):
        return image[top + row * (cell + gap) + cell // 2, left + column * (cell + gap) + cell // 2].tolist()

    assert centre(1, 0) == [128, 128, 128]
    assert centre(2, 0) == [255, 255, 255]
    assert centre(3, 0) == [128, 0, 0]
    assert centre(3, 1) == [0, 0, 128]
    assert centre(3, 2) == [0, 0, 0]
    assert centre(0, 3) == [250, 250, 250]  # the input has only three frames


def test_animation_runs_through_the_longer_of_input_and_prediction(tmp_path):
    animate(tmp_path / "x.gif", frames(2, 3, 16, 16, 3), frames(2, 5, 16, 16, 3), frames(2, 5, 16, 16, 3))
    image = Image.open(tmp_path / "x.gif")
    assert image.n_frames == 5
    assert image.info["loop"] == 0
    assert image.size == (92 + 2 * 100, 30 + 4 * 100)
