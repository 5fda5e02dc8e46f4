"""GIFs: composed when they are read, and every frame written."""

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.outputs import output_spec, random_frames, write


def test_gifs_are_composited(tmp_path):
    """Frames of a GIF hold only what changed; a reader that does not compose shows the rest empty."""
    canvas = np.zeros((3, 8, 8, 3), np.uint8)
    for place in range(3):
        canvas[place:, 2 * place, 3] = (255, 0, 0)
    first, *rest = [Image.fromarray(frame) for frame in canvas]
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=100)
    (sequence,) = open_all(tmp_path / "a.gif")
    assert sequence.name == "a.gif"
    assert np.array_equal(read_frames(sequence), canvas)


@pytest.mark.parametrize("channels", [1, 3])
def test_gifs_keep_every_frame_even_equal_ones(tmp_path, channels):
    frames = np.zeros((5, 9, 8, channels), np.float32)
    frames[3:] = np.rint(random_frames((2, 9, 8, channels)))
    path = write(tmp_path / "a.gif", frames, output_spec(frames, frame_rate=5.0))
    with Image.open(path) as image:
        assert image.n_frames == 5
        assert image.info["duration"] == 200
        found = []
        for place in range(5):
            image.seek(place)
            found.append(np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(np.stack(found), np.broadcast_to(frames, (5, 9, 8, 3)))


@pytest.mark.parametrize("levels", [200, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_missing_pixels_are_transparent(tmp_path, channels, levels):
    """Grey levels stay as they are; of all 256, one gives way to its neighbour."""
    grey = np.arange(4 * 16 * 32).reshape(4, 16, 32, 1) % (levels + 1)
    frames = np.repeat(grey, channels, -1).astype(np.float32)
    missing = np.zeros((4, 16, 32), bool)
    missing[1, 2:5, 3] = missing[2, 7] = True
    frames[missing] = np.nan
    path = write(tmp_path / "a.gif", frames, output_spec(frames))
    found = read_frames(open_one(path, channels="grey"))[..., 0]
    assert np.array_equal(np.isnan(found), missing)
    assert np.abs(found - grey[..., 0])[~missing].max() <= (0 if levels < 255 and channels == 1 else 1)


def test_missing_pixels_that_a_value_marks_have_this_level(tmp_path):
    frames = np.full((3, 8, 8, 1), 9, np.float32)
    frames[1, 2, 3] = np.nan
    path = write(tmp_path / "a.gif", frames, output_spec(frames, fill=200.0))
    expected = np.where(np.isnan(frames), 200, 9)
    assert np.array_equal(read_frames(open_one(path)), expected)


def test_rounded_delays_do_not_add_up(tmp_path):
    """30 frames per second on a clock of 10 ms: 300 frames last 10 s."""
    frames = np.zeros((300, 4, 4, 1), np.float32)
    path = write(tmp_path / "a.gif", frames, output_spec(frames, frame_rate=30.0))
    with Image.open(path) as image:
        delays = [image.seek(place) or image.info["duration"] for place in range(300)]
    assert sum(delays) == 10_000
    assert set(delays) == {30, 40}
    assert open_one(path).info.frame_rate == pytest.approx(30, rel=1e-6)
