"""Pictures of all depths, element types and colours."""

import struct

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.picture_files import levels, write_png, write_tiff

RNG = np.random.default_rng(3)


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
