"""Sizes, timing and colours of pictures."""

import base64
import io

import numpy as np
from PIL import Image

from stlight_jax.data.scaling import Scaling
from stlight_jax.reports.frame_display import FrameDisplay
from stlight_jax.reports.pictures import animate, draw_strip
from stlight_jax.reports.sprites import Clip, encode_clips


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
    legend = 20  # the height of each of its lines: values and error
    assert image.shape == (top + 4 * (cell + gap) + 2 * legend, left + 4 * (cell + gap), 3)

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
    assert image.size == (92 + 2 * 100, 30 + 4 * 100 + 2 * 20)


def test_each_channel_has_its_rows_and_its_colour_bar(tmp_path):
    """Small counts beside values of the whole range, and a missing pixel."""
    truth = np.stack([np.tile(np.linspace(0, 0.1, 32), (4, 32, 1)), np.tile(np.linspace(0, 1, 32), (4, 32, 1))], -1)
    truth[0, 0, 0, 1] = np.nan
    draw_strip(tmp_path / "x.png", truth, truth, truth.astype(np.float32))
    image = np.asarray(Image.open(tmp_path / "x.png"))
    cell, gap, left, top, line = 96, 4, 92, 30, 20
    first = top + 4 * (cell + gap) + 2 * line
    assert image.shape[0] == 2 * first + line  # the second channel has a missing value
    for start in (0, first):
        row = image[start + top + cell // 2, left : left + cell, 0].astype(int)
        assert (row[0], row[-1]) == (0, 255)
        assert (np.diff(row) >= 0).all()
        bar = image[start + top + 4 * (cell + gap) + line // 2, left:, 0]
        steps = np.flatnonzero(np.diff(bar.astype(int)) > 0)
        assert len(steps) > 60  # a ramp of greys between two texts
    assert image[first + top + 1, left + 1].tolist() == [96, 112, 144]


def test_page_and_pictures_show_the_same_greys(tmp_path):
    truth = np.tile(np.linspace(0, 0.2, 96, dtype=np.float32), (2, 96, 1))[..., None]
    draw_strip(tmp_path / "x.png", truth, truth, truth)
    (clip,), _ = encode_clips([Clip("a", truth, truth, truth)])
    strip = np.asarray(Image.open(tmp_path / "x.png"))[30 : 30 + 96, 92 : 92 + 96]
    content = base64.b64decode(clip["rows"][0]["source"].partition(",")[2])
    page = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[:96, :96]
    np.testing.assert_array_equal(strip, page)
    assert page.max() == 255


def test_small_errors_have_the_full_colours_at_the_greatest_error_and_its_value_beside_the_bar():
    truth = np.broadcast_to(np.linspace(0, 1, 16).reshape(4, 4, 1), (3, 4, 4, 1))
    errors = np.where(np.arange(48).reshape(truth.shape) % 2, 0.05, -0.05)
    scaling = Scaling("float32", low=(100.0,), high=(300.0,))
    (view,) = FrameDisplay.of([truth], 1, scaling, "K", [errors]).views
    assert (view.ends, view.span) == (("100", "300 K"), "10 K")
    np.testing.assert_array_equal(view.error_pixels(errors)[..., 0], np.where(errors[..., 0] > 0, 255, 0))  # red
    (plain,) = FrameDisplay.of([truth], 1, scaling, "K").views
    assert plain.span == "200 K"
    (large,) = FrameDisplay.of([truth], 1, scaling, "K", [40 * errors]).views
    assert large.span == "200 K"  # never more than the values' own range


def test_legends_are_as_wide_as_their_texts_and_large_numbers_are_written_out(tmp_path):
    """Counts up to 5,190 with a small greatest error: the texts before and behind the bar are longest on different lines."""
    truth = np.linspace(0, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8, 1)
    prediction = truth + np.float32(0.18)
    scaling = Scaling("float32", low=(0.0,), high=(5190.0,))
    display = FrameDisplay.of([truth], 1, scaling, "", [prediction - truth])
    assert display.views[0].ends == ("0", "5,190")
    draw_strip(tmp_path / "x.png", truth, truth, prediction, display)
    image = np.asarray(Image.open(tmp_path / "x.png"))
    assert (image[:, -4:] == 250).all()  # the paper; nothing is cut off
