"""Frames drawn with characters have the brightness and the colours of the frames, and fit the terminal."""

import dataclasses

import numpy as np
import pytest

from stlight_jax.reports.frame_display import FrameDisplay
from stlight_jax.reports.sprites import Clip
from stlight_jax.reports.terminal_frames import draw_clip


@pytest.fixture
def clip():
    """Three input frames of 12 x 12 pixels, a third black, grey and white each, and two predictions of their inverse."""
    frames = np.repeat([0.0, 0.45, 1.0], 4)[None, None, :, None] * np.ones((3, 12, 12, 1))
    return Clip("", frames, 1 - frames, 1 - frames[:2])


def drawn(clip, width=80, coloured=False):
    return draw_clip(clip, FrameDisplay.of([clip.inputs], clip.prediction.shape[-1]), width, coloured).splitlines()


def test_without_colours_brighter_pixels_are_denser_characters(clip):
    lines = drawn(clip)
    assert lines[0].split() == ["input", "frame", "1", "frame", "2", "frame", "3"]
    assert lines[1:7] == [" " * 12 + "    ====@@@@  " * 3] * 6  # a character is two pixels high
    assert lines[7].split()[0] == "truth"
    assert lines[14].split() == ["prediction", "lead", "time", "1", "lead", "time", "2"]
    assert lines[15:] == [" " * 12 + "@@@@++++      " * 2] * 6


def test_with_colours_a_character_has_the_colours_of_two_pixels(clip):
    colours = np.zeros((1, 12, 12, 3))
    colours[:, ::2] = 1, 0.2, 0
    colours[:, 1::2] = 0, 0, 0.4
    lines = drawn(Clip("", colours, None, colours), coloured=True)
    assert len(lines) == 2 * 7
    assert lines[1] == " " * 12 + "\x1b[38;2;255;51;0;48;2;0;0;102m▀\x1b[0m" * 12 + "  "


def test_a_truth_that_is_not_known_has_no_row(clip):
    for truth in (None, clip.prediction[:0]):
        assert [line.split()[0] for line in drawn(dataclasses.replace(clip, truth=truth)) if line[0] != " "] == [
            "input",
            "prediction",
        ]


@pytest.mark.parametrize("width", [26, 40, 80, 200])
@pytest.mark.parametrize("sides", [(12, 12), (64, 64), (100, 3), (1000, 10), (3, 400)])
def test_lines_fit_the_terminal(width, sides):
    frames = np.random.default_rng(0).uniform(size=(10, *sides, 1))
    lines = drawn(Clip("", frames, frames, frames), width)
    assert max(map(len, lines)) <= width
    assert 3 * (1 + 1) <= len(lines) <= 3 * (1 + 32)  # a line of labels and those of the frames: input, truth, prediction
    labels = [line for line in lines if line.startswith("prediction")]
    assert labels[0].split()[3] == "1"
    assert width == 26 or labels[0].split()[-1] == "10"


@pytest.mark.parametrize("coloured", [False, True])
def test_high_frames_keep_their_shape(coloured):
    """100 x 25 pixels in 32 lines are 16 characters wide, which are half as wide as high; with labels of 12 characters."""
    frames = np.ones((1, 100, 25, 1))
    lines = drawn(Clip("", 0 * frames, None, frames), 80, coloured)
    assert len(lines) == 2 * (1 + 32)
    mark = "▀" if coloured else "@"
    assert [line.count(mark) for line in lines[-32:]] == [16] * 32
