"""Pictures of all depths, with transparency, orientation, several frames in a file, and times in their names."""

import struct

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.formats.types import SourceInfo
from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.outputs import NOWHERE, output_spec, write
from tests.data.formats.picture_files import write_gif, write_png, write_tiff

RNG = np.random.default_rng(3)


def levels(shape, high, low=0, dtype=np.uint16):
    """Random values, of which the least and the largest occur."""
    values = RNG.integers(low, high, shape, endpoint=True).astype(dtype)
    values.flat[:2] = low, high
    return values


# ---- Depth ----


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_keeps_them(tmp_path, channels, interlaced):
    pixels = levels((3, 12, 16, channels), 299)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    for place, frame in enumerate(pixels):
        write_png(tmp_path / f"{place}.png", frame, interlaced=interlaced)
    sequence = open_one(tmp_path)
    assert (sequence.dtype, sequence.shape[-1]) == (np.uint16, 3 if channels > 2 else 1)
    assert np.array_equal(read_frames(sequence), pixels[..., : 3 if channels > 2 else 1])


def test_colours_of_16_bits_become_grey_of_16_bits(tmp_path):
    pixels = levels((2, 12, 16, 3), 65535)
    for place, frame in enumerate(pixels):
        write_png(tmp_path / f"{place}.png", frame)
    found = read_frames(open_one(tmp_path, channels="grey"))[..., 0]
    assert np.abs(found - pixels @ [0.299, 0.587, 0.114]).max() <= 0.5  # ITU-R BT.601
    write_png(tmp_path / "0.png", pixels[0, ..., :1].repeat(3, -1))
    write_png(tmp_path / "1.png", pixels[1, ..., :1].repeat(3, -1))
    assert np.array_equal(read_frames(open_one(tmp_path)), pixels[..., :1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_16_bit_colours_keeps_them(tmp_path, order, deflate, channels):
    pixels = levels((2, 12, 16, channels), 65535)
    if channels == 4:
        pixels[..., 3] = 65535
    for place, frame in enumerate(pixels):
        write_tiff(tmp_path / f"{place}.tif", [frame], order=order, deflate=deflate, extra=(2,) if channels == 4 else ())
    assert np.array_equal(read_frames(open_one(tmp_path)), pixels[..., :3])


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [("i1", -128, 127, np.int16), ("i2", -3000, 3000, np.int16), ("u2", 0, 65535, np.uint16),
     ("i4", -(2**24), 2**24, np.float32), ("u4", 0, 2**24, np.float32)],
)  # fmt: skip
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_integers_in_tiff_are_read_as_they_are(tmp_path, dtype, low, high, expected, deflate, order):
    if dtype == "u4" and order == ">":
        pytest.skip("Pillow does not open it")
    pixels = levels((2, 12, 16), high, low, dtype)
    for place, frame in enumerate(pixels):
        write_tiff(tmp_path / f"{place}.tiff", [frame], deflate=deflate, order=order)
    sequence = open_one(tmp_path)
    assert sequence.dtype == expected
    assert np.array_equal(read_frames(sequence)[..., 0], pixels.astype(np.int64))


def test_floats_in_tiff_are_read_as_they_are(tmp_path):
    pixels = RNG.uniform(-3.5, 12.25, (3, 12, 16)).astype(np.float32)
    pixels[0, 0, :2] = -3.5, 12.25
    for place, frame in enumerate(pixels):
        Image.fromarray(frame).save(tmp_path / f"{place}.tif")
    assert np.array_equal(read_frames(open_one(tmp_path))[..., 0], pixels)
    pixels[1, 2, 3] = np.nan
    write_tiff(tmp_path / "1.tif", [pixels[1]])
    found = read_frames(open_one(tmp_path))[..., 0]
    assert np.array_equal(found, pixels, equal_nan=True)
    found = read_frames(open_one(tmp_path, fill_value=12.25))[..., 0]
    assert np.isnan(found[0, 0, 1])
    assert np.isnan(found).sum() == 2
    pixels[1, 2, 3] = np.inf
    write_tiff(tmp_path / "1.tif", [pixels[1]])
    with pytest.raises(InputError, match=r"1.tif: value inf has no exact float32"):
        read_frames(open_one(tmp_path))


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_in_tiff_are_read_in_any_byte_order(tmp_path, deflate, order):
    pixels = RNG.normal(size=(2, 12, 16)).astype(np.float32)
    write_tiff(tmp_path / "a.tif", pixels, deflate=deflate, order=order)
    assert np.array_equal(read_frames(open_one(tmp_path / "a.tif"))[..., 0], pixels)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_tiff_levels_of_which_0_is_white_are_inverted(tmp_path, dtype, largest):
    pixels = levels((2, 12, 16), largest, dtype=dtype)
    write_tiff(tmp_path / "a.tif", pixels)
    content = (tmp_path / "a.tif").read_bytes()
    black_is_0, white_is_0 = (struct.pack("<HHIH", 262, 3, 1, kind) for kind in (1, 0))
    (tmp_path / "a.tif").write_bytes(content.replace(black_is_0, white_is_0))
    assert np.array_equal(read_frames(open_one(tmp_path / "a.tif"))[..., 0], largest - pixels)


def test_integers_without_an_exact_float32_are_refused(tmp_path):
    write_tiff(tmp_path / "0.tif", [np.full((4, 4), 2**24 + 1, np.uint32)])
    with pytest.raises(InputError, match="0.tif: value 16777217 has no exact float32"):
        read_frames(open_one(tmp_path))


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (np.zeros((4, 4), np.float64), {}, "0.tif is a TIFF picture that is damaged or of a kind that Pillow cannot read"),
        (np.zeros((4, 4, 3), np.float32), {}, "0.tif is a TIFF picture that is damaged or of a kind that Pillow cannot read"),
        (np.zeros((4, 4, 3), np.uint16), {"tags": [(284, 3, [2])]}, "0.tif has 16 bits for each channel of RGB .*in planes"),
        (np.zeros((4, 4, 4), np.uint16), {"extra": (1,)}, "0.tif has 16 bits for each channel of RGBA"),
    ],
)
def test_kinds_that_cannot_be_read_right_are_named(tmp_path, pixels, options, message):
    write_tiff(tmp_path / "0.tif", [pixels], **options)
    with pytest.raises(InputError, match=message):
        read_frames(open_one(tmp_path))


def test_channels_without_a_meaning_get_a_remark(tmp_path):
    pixels = levels((1, 4, 4, 4), 255, dtype=np.uint8)
    write_tiff(tmp_path / "0.tif", [pixels[0]], extra=(0,))
    sequence = open_one(tmp_path)
    assert np.array_equal(read_frames(sequence), pixels[..., :3])
    assert any("channels whose meaning the file does not give" in remark for remark in sequence.remarks)


def test_inks_become_colours_by_their_formula(tmp_path):
    """Red is what cyan and black leave: (255 - c) (255 - k) / 255."""
    inks = levels((4, 4, 4), 255, dtype=np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "0.tif")
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(read_frames(open_one(tmp_path, channels="rgb"))[0] - expected).max() <= 1


def test_lab_colours_are_refused(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "0.tif")
    with pytest.raises(InputError, match="0.tif has 8 bits for each channel of LAB .*convert the pictures to RGB"):
        open_all(tmp_path)


@pytest.mark.parametrize(("bits", "scale"), [(1, 255), (2, 85), (4, 17)])
def test_few_bits_span_the_range(tmp_path, bits, scale):
    values = np.arange(8).reshape(2, 4) % 2**bits
    image = Image.fromarray((values * scale).astype(np.uint8))
    image = image.convert("1") if bits == 1 else image.quantize(2**bits)
    image.save(tmp_path / "0.png", bits=bits)
    assert np.array_equal(read_frames(open_one(tmp_path))[0, ..., 0], values * scale)


def test_a_wrong_ending_does_not_matter(tmp_path):
    smooth = np.tile(np.arange(16, dtype=np.uint8) * 10, (16, 1))
    for place, kind in enumerate(("JPEG", "PNG", "BMP", "TIFF", "WEBP")):
        Image.fromarray(smooth).save(tmp_path / f"{place}.png", format=kind)
    found = read_frames(open_one(tmp_path))
    assert found.shape == (5, 16, 16, 1)
    assert np.abs(found[..., 0].astype(int) - smooth).max() <= 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0.png is empty"),
        (b"%PDF-1.4 and so on", "0.png is a PDF document; download the data again"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "0.png is a HEIF picture or a video; convert it to PNG or JPEG"),
        (b"junk" * 99, "0.png is damaged, or not what its name says: its content is no picture"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, message):
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_all(tmp_path)


# ---- Transparency ----


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


def test_a_nodata_value_beyond_the_range_of_the_pixels_is_nowhere(tmp_path):
    pixels = levels((4, 4), 255, dtype=np.uint8)
    write_tiff(tmp_path / "0.tif", [pixels], tags=[(42113, 2, "-9999")])
    assert np.array_equal(read_frames(open_one(tmp_path))[0, ..., 0], pixels)


# ---- Orientation ----

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


# ---- Several frames in a file ----


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


# ---- GIFs ----

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


# ---- Times in names ----


def named(folder, names):
    folder.mkdir(exist_ok=True)
    for level, name in enumerate(names):
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    "pattern",
    ["rain_{:%Y%m%d%H%M}", "{:%Y%m%d_%H%M}", "{:%Y-%m-%dT%H-%M}", "{:%Y%m%d%H%M%S}", "cam1-{:%Y_%m_%d_%H_%M_%S}",
     "Screenshot {:%Y-%m-%d at %H.%M.%S}", "{:%Y%m%dT%H%M%SZ}"],
)  # fmt: skip
def test_times_in_names_are_times(tmp_path, pattern):
    moments = np.datetime64("2026-06-01T23:50", "us") + np.array([0, 5, 10, 30]) * np.timedelta64(1, "m")
    sequence = open_one(named(tmp_path / "clip", [pattern.format(moment) for moment in moments.tolist()]))
    assert sequence.ticks.tolist() == [0, 1, 2, 6]
    assert sequence.step == "5 min"
    assert np.array_equal(sequence.times.values, moments.astype(np.int64))
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert any("--config.data.time=none ignores them" in remark for remark in sequence.remarks)
    assert open_one(tmp_path / "clip", time="none").ticks is None


def test_the_order_is_that_of_the_times(tmp_path):
    folder = named(tmp_path / "clip", ["b_202606011200", "a_202606011210", "a_202606011205"])
    assert read_frames(open_one(folder))[:, 0, 0, 0].tolist() == [0, 2, 1]
    assert read_frames(open_one(folder, time="none"))[:, 0, 0, 0].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "names",
    [
        ["20260601", "20260602", "20260603"],  # no time of day
        ["2026060100", "2026060101", "2026060102"],
        ["run202606010000_202606011205", "run202606010000_202606011210", "run202606010000_202606011215"],  # two times
        ["202606011205", "202606011210", "last"],
        ["202606011205", "202606011210", "202606011260"],  # no time
        ["frame000000001", "frame000000002", "frame000000003"],
        ["202606011205", "202606011210", "20260601121500"],  # other precision
        ["2026-06-01 at 11.05.30 AM", "2026-06-01 at 12.05.30 PM", "2026-06-01 at 13.05.30 PM"],
    ],
)
def test_other_names_are_in_natural_order(tmp_path, names):
    sequence = open_one(named(tmp_path / "clip", names))
    assert (sequence.ticks, sequence.remarks) == (None, ())
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_repeated_times_are_ignored_with_a_remark(tmp_path):
    sequence = open_one(named(tmp_path / "clip", ["a_202606011205", "b_202606011205", "b_202606011210"]))
    assert sequence.ticks is None
    assert any("occur more than once" in remark for remark in sequence.remarks)


# ---- Written and read back ----


@pytest.mark.parametrize("stored", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_written_pictures_are_read_back_the_same(tmp_path, stored, channels):
    if stored == np.float32 and channels == 3:
        pytest.skip("there are no pictures of several channels of floats")
    frames = levels((3, 12, 16, channels), 250 if stored == np.uint8 else 30000).astype(np.float32)
    frames = frames / 7 if stored == np.float32 else frames
    frames[1, 2, 3] = np.nan
    source = SourceInfo(NOWHERE, "pictures", np.dtype(stored), is_pictures=True)
    path = write(tmp_path / "a", frames, output_spec(frames, np.float32, source=source))
    np.testing.assert_array_equal(read_frames(open_one(path)), frames)
