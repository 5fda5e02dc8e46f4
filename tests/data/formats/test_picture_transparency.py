"""Pixels of pictures that are transparent or without data, and pictures that are turned."""

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.picture_files import levels, write_png, write_tiff


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_pixels_are_missing(tmp_path, dtype, channels):
    grey = levels((14, 12, 16), 10, 5, dtype)
    for place, page in enumerate(grey):
        pixels = np.repeat(page[..., None], channels, -1)
        pixels[..., -1] = np.iinfo(dtype).max
        pixels[:6] = (200,) * (channels - 1) + (0,)
        write_png(tmp_path / f"{place:02}.png", pixels)
    sequence = open_one(tmp_path)
    frames = read_frames(sequence)
    assert frames.shape == (14, 12, 16, 1)
    assert np.isnan(frames).sum() == 14 * 6 * 16
    assert np.array_equal(frames[:, 6:, :, 0], grey[:, 6:])
    assert any("transparent pixels" in remark for remark in sequence.remarks)


def test_colours_under_transparent_pixels_do_not_count(tmp_path):
    pixels = np.full((4, 4, 4), 50, np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0] = (255, 0, 0, 0)
    write_png(tmp_path / "0.png", pixels)
    assert open_one(tmp_path).shape == (4, 4, 1)


def test_opaque_pictures_stay_as_they_are(tmp_path):
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[..., :3] = levels((4, 4, 3), 255, dtype=np.uint8)
    write_png(tmp_path / "0.png", pixels)
    sequence = open_one(tmp_path)
    assert (sequence.dtype, sequence.remarks) == (np.uint8, ())
    assert np.array_equal(read_frames(sequence)[0], pixels[..., :3])


def test_partially_transparent_pixels_keep_their_values_with_a_remark(tmp_path):
    pixels = np.full((4, 4, 2), 255, np.uint8)
    pixels[0, 0] = (90, 100)
    write_png(tmp_path / "0.png", pixels)
    sequence = open_one(tmp_path)
    assert sequence.dtype == np.uint8
    assert read_frames(sequence)[0, 0, 0, 0] == 90
    assert any("partially transparent" in remark for remark in sequence.remarks)


def test_all_sequences_agree_if_one_is_transparent_and_the_remark_comes_once(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        pixels = np.full((4, 4, 2), 255, np.uint8)
        pixels[0, 0, 1] = 255 * (name == "a")
        write_png(tmp_path / name / "0.png", pixels)
    sequences = open_all(tmp_path)
    assert [sequence.dtype for sequence in sequences] == [np.float32] * 3
    assert [int(np.isnan(read_frames(sequence)).sum()) for sequence in sequences] == [0, 1, 1]
    remarks = [remark for sequence in sequences for remark in sequence.remarks]
    assert len(remarks) == 1
    assert remarks[0].endswith("are missing values (2 sequences)")


@pytest.mark.parametrize(("dtype", "shape"), [(np.uint8, ()), (np.uint16, ()), (np.uint8, (3,)), (np.uint16, (3,))])
def test_the_transparent_value_of_a_png_is_missing(tmp_path, dtype, shape):
    pixels = levels((6, 6, *shape), 6, 1, dtype)
    pixels[2, 3] = 7
    write_png(tmp_path / "0.png", pixels, transparent=np.full(shape or (1,), 7))
    missing = np.isnan(read_frames(open_one(tmp_path))[0]).all(-1)
    assert np.argwhere(missing).tolist() == [[2, 3]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [3, bytes([255, 255, 255, 0])])
def test_transparent_entries_of_a_palette_are_missing(tmp_path, transparency):
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 5, "P")
    image.putpalette([value for level in (10, 20, 30, 40, 50) for value in (level,) * 3])
    image.save(tmp_path / "0.png", transparency=transparency)
    found = read_frames(open_one(tmp_path))[0, ..., 0]
    expected = np.array([10, 20, 30, np.nan, 50])[np.arange(16).reshape(4, 4) % 5]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "nodata"), [("f4", "-9999"), ("u1", "255"), ("i2", "-32768"), ("f4", "nan")])
def test_the_nodata_value_of_a_tiff_is_missing(tmp_path, dtype, nodata):
    pixels = np.full((4, 4), 7, dtype)
    pixels[1, 2] = float(nodata)
    write_tiff(tmp_path / "0.tif", [pixels], tags=[(42113, 2, nodata)])
    found = read_frames(open_one(tmp_path))[0, ..., 0]
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2]]
    assert np.nanmax(found) == 7


@pytest.mark.parametrize(
    ("page_tags", "missing"),
    [
        ([[(42113, 2, "-9999")], [], []], [1, 1, 1]),  # only the first: it holds for all
        ([[(42113, 2, "-9999")], [(42113, 2, "5")], []], [1, 15, 1]),
        ([[], [(42113, 2, "5")], []], [0, 15, 0]),
    ],
)
def test_the_nodata_value_of_the_first_page_holds_for_all_that_name_none(tmp_path, page_tags, missing):
    pages = np.full((3, 4, 4), 5, np.float32)
    pages[:, 1, 2] = -9999
    write_tiff(tmp_path / "a.tif", pages, page_tags=page_tags)
    frames = read_frames(open_one(tmp_path / "a.tif"))
    assert np.isnan(frames).sum((1, 2, 3)).tolist() == missing
    np.testing.assert_array_equal(frames[0, 0, 0, 0], 5)


def test_a_nodata_value_beyond_the_range_of_the_pixels_is_nowhere(tmp_path):
    pixels = levels((4, 4), 255, dtype=np.uint8)
    write_tiff(tmp_path / "0.tif", [pixels], tags=[(42113, 2, "-9999")])
    assert np.array_equal(read_frames(open_one(tmp_path))[0, ..., 0], pixels)


LYING = np.full((16, 24), 30, np.uint8)
LYING[:8, :12], LYING[8:, :12] = 220, 120
# By the EXIF standard: where the stored first row and first column are shown.
SHOWN = {
    1: LYING,
    2: LYING[:, ::-1],
    3: LYING[::-1, ::-1],
    4: LYING[::-1],
    5: LYING.T,
    6: LYING.T[:, ::-1],
    7: LYING.T[::-1, ::-1],
    8: LYING.T[::-1],
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_pictures_are_turned_as_they_are_shown(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"quality": 95}
    Image.fromarray(LYING).save(tmp_path / f"0.{suffix}", exif=exif, **options)
    Image.fromarray(SHOWN[orientation]).save(tmp_path / f"1.{suffix}", **options)  # without orientation
    found = read_frames(open_one(tmp_path))[..., 0].astype(int)
    assert found.shape == (2, *SHOWN[orientation].shape)
    assert np.abs(found - SHOWN[orientation]).max() <= 8


@pytest.mark.parametrize("orientation", SHOWN)
def test_deep_and_transparent_pictures_are_turned_too(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.stack([LYING * np.uint16(257), np.where(LYING == 220, 0, 65535)], -1).astype(np.uint16)
    write_png(tmp_path / "0.png", pixels, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    shown = SHOWN[orientation]
    expected = np.where(shown == 220, np.nan, shown * 257.0)
    np.testing.assert_array_equal(read_frames(open_one(tmp_path))[0, ..., 0], expected)
    colours = np.repeat(LYING[..., None] * np.uint16(200), 3, -1)
    write_tiff(tmp_path / "0.tif", [colours], tags=[(274, 3, [orientation])])
    (tmp_path / "0.png").unlink()
    np.testing.assert_array_equal(read_frames(open_one(tmp_path))[0, ..., 0], shown * np.uint16(200))
