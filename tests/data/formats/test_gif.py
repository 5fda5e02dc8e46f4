"""GIFs: composed when they are read, and every frame written."""

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.frame_files import open_all, read_frames
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
