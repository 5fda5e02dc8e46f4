"""Stacks, GIFs and other files of several pictures."""

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.picture_files import levels, write_gif, write_tiff


@pytest.mark.parametrize("deflate", [False, True])
def test_a_stack_is_a_sequence(tmp_path, deflate):
    pages = levels((14, 12, 16), 30000, 100)
    write_tiff(tmp_path / "stack.tif", pages, deflate=deflate)
    sequence = open_one(tmp_path / "stack.tif")
    assert (sequence.name, sequence.frames, sequence.dtype) == ("stack.tif", 14, np.uint16)
    assert np.array_equal(read_frames(sequence)[..., 0], pages)
    assert np.array_equal(np.concatenate(list(sequence.blocks(10)))[..., 0], pages[10:])


def test_each_stack_in_a_folder_is_a_sequence_and_single_pictures_are_another(tmp_path):
    pages = levels((3, 4, 12, 16), 30000)
    for place, stack in enumerate(pages[:2]):
        write_tiff(tmp_path / f"stack{place}.tif", stack)
    assert [sequence.frames for sequence in open_all(tmp_path)] == [4, 4]
    for place, page in enumerate(pages[2]):
        write_tiff(tmp_path / f"{place}.tif", [page])
    sequences = open_all(tmp_path)
    assert len({sequence.name for sequence in sequences}) == 3
    for sequence, expected in zip(sequences, pages[[2, 0, 1]], strict=True):
        assert np.array_equal(read_frames(sequence)[..., 0], expected)


def test_previews_and_masks_are_no_frames(tmp_path):
    """Maps have overviews of half the size, of the type 1, and masks, of the type 4."""
    page = levels((12, 16), 255, dtype=np.uint8)
    reduced = [page, page[::2, ::2], page]
    write_tiff(tmp_path / "0.tif", reduced, page_tags=[[], [(254, 4, [1])], [(254, 4, [4])]])
    assert np.array_equal(read_frames(open_one(tmp_path))[..., 0], page[None])


@pytest.mark.parametrize(
    "description",
    ["ImageJ=1.53t\nimages=6\nchannels=2\nframes=3\n", '<OME><Pixels SizeC="1" SizeZ="2" SizeT="3"/></OME>'],
)
def test_stacks_of_more_than_time_are_refused(tmp_path, description):
    write_tiff(tmp_path / "a.tif", levels((6, 4, 4), 9), page_tags=[[(270, 2, description)], *[[]] * 5])
    with pytest.raises(InputError, match="a.tif holds 6 pages, 2 (channels|slices) x 3 frames"):
        open_all(tmp_path / "a.tif")


def test_a_stack_that_promises_more_pages_is_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", levels((2, 4, 4), 9), tags=[(270, 2, "ImageJ=1.53t\nimages=9\nframes=9\n")])
    with pytest.raises(InputError, match="a.tif holds 9 pictures after its description, of which 2 can be found"):
        open_all(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "apng", "webp"])
def test_animated_pictures_are_sequences(tmp_path, suffix):
    frames = levels((5, 12, 16, 3), 255, dtype=np.uint8)
    first, *rest = map(Image.fromarray, frames)
    options = {"lossless": True} if suffix == "webp" else {"format": "PNG"}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=rest, duration=[100, 100, 700, 100, 900], **options)
    for path in (tmp_path, tmp_path / f"a.{suffix}"):
        sequence = open_one(path)
        assert np.array_equal(read_frames(sequence), frames)
        assert sequence.ticks.tolist() == [0, 1, 2, 9, 10]
        assert sequence.remarks == ("1 gap, the longest of 6 steps",)
    assert open_one(tmp_path, time="none").ticks is None


def test_the_picture_for_programs_that_show_no_animation_is_no_frame(tmp_path):
    frames = levels((3, 12, 16, 3), 255, dtype=np.uint8)
    still, *rest = map(Image.fromarray, frames)
    still.save(tmp_path / "a.png", save_all=True, append_images=rest, default_image=True)
    assert np.array_equal(read_frames(open_one(tmp_path / "a.png")), frames[1:])


PALETTE = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_transparent_pixels_of_later_gif_frames_keep_what_was_there(tmp_path):
    base, patch = np.array([[1, 2], [3, 1]]), np.array([[0, 3], [0, 0]])
    write_gif(tmp_path / "a.gif", [(0, 0, base, 1, None), (0, 0, patch, 1, 0)], (2, 2), PALETTE, [10, 10])
    colours = np.array(PALETTE)
    sequence = open_one(tmp_path / "a.gif")
    assert sequence.dtype == np.uint8
    assert np.array_equal(read_frames(sequence), [colours[base], colours[[[1, 3], [3, 1]]]])


def test_pixels_that_no_gif_frame_has_painted_are_missing(tmp_path):
    first, second = np.array([[0, 2], [0, 2]]), np.array([[3]])
    write_gif(tmp_path / "a.gif", [(0, 0, first, 1, 0), (0, 1, second, 1, 0)], (2, 2), PALETTE, [10, 10])
    missing = np.isnan(read_frames(open_one(tmp_path / "a.gif"))).all(-1)
    assert missing.tolist() == [[[True, False], [True, False]], [[True, False], [False, False]]]


@pytest.mark.parametrize(
    ("delays", "ticks"),
    [
        ([10] * 6, None),
        ([10, 10, 500, 10, 10, 10], [0, 1, 2, 52, 53, 54]),
        ([10, 10, 10, 10, 10, 500], None),  # after the last frame
        ([3, 3, 4, 3, 3, 4], None),  # 30 frames per second on a clock of 10 ms
        ([2, 3, 2, 3, 2, 3], None),  # 40 frames per second
        ([0] * 6, None),
    ],
)
def test_gaps_between_gif_frames_are_found(tmp_path, delays, ticks):
    frames = [(0, 0, np.full((2, 2), place % 4), 1, None) for place in range(6)]
    write_gif(tmp_path / "a.gif", frames, (2, 2), PALETTE, delays)
    sequence = open_one(tmp_path / "a.gif")
    assert sequence.frames == 6
    assert (None if sequence.ticks is None else sequence.ticks.tolist()) == ticks
    assert open_one(tmp_path / "a.gif", time="none").ticks is None


@pytest.mark.parametrize(
    ("disposal", "third"),
    [
        (1, [[1, 3, 3], [2, 1, 1]]),  # the second frame stays
        (3, [[1, 1, 1], [2, 1, 1]]),  # what was there before comes back
    ],
)
def test_disposal_of_gif_frames_is_obeyed(tmp_path, disposal, third):
    base, patch, corner = np.full((2, 3), 1), np.array([[3, 3]]), np.array([[2]])
    frames = [(0, 0, base, 1, None), (1, 0, patch, disposal, None), (0, 1, corner, 1, None)]
    write_gif(tmp_path / "a.gif", frames, (3, 2), PALETTE, [10, 10, 10])
    expected = [base, [[1, 3, 3], [1, 1, 1]], third]
    found = read_frames(open_one(tmp_path / "a.gif", channels="rgb"))
    assert np.array_equal(found, np.array(PALETTE)[np.array(expected)])


@pytest.mark.parametrize("suffix", ["apng", "webp"])
@pytest.mark.parametrize("loop", [0, 3])
def test_blended_frames_are_composed_and_loops_add_no_frames(tmp_path, suffix, loop):
    """Pillow writes frames that lie over those before, where these are transparent."""
    base = np.full((8, 8, 4), (200, 10, 10, 255), np.uint8)
    over = np.zeros((8, 8, 4), np.uint8)
    over[2:4, 3:5] = (10, 200, 10, 255)
    options = {"lossless": True} if suffix == "webp" else {"format": "PNG", "blend": 1, "disposal": 0}
    second = over if suffix == "apng" else np.where(over[..., 3:] > 0, over, base)
    first, later = Image.fromarray(base), Image.fromarray(second)
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[later], duration=50, loop=loop, **options)
    sequence = open_one(tmp_path / f"a.{suffix}")
    expected = np.stack([base, np.where(over[..., 3:] > 0, over, base)])[..., :3]
    assert np.array_equal(read_frames(sequence), expected)
    assert sequence.info.frame_rate == 20
