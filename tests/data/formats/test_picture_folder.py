"""Folders of pictures."""

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.formats.types import SourceInfo
from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.outputs import NOWHERE, output_spec, random_frames, write
from tests.data.formats.picture_files import levels

GREY = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def save_all(folder, frames, suffix="png"):
    folder.mkdir(exist_ok=True)
    for place, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{8 + place}.{suffix}")
    return folder


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
def test_a_folder_is_a_sequence_in_natural_order(tmp_path, suffix):
    (sequence,) = open_all(save_all(tmp_path / "clip", GREY, suffix))
    assert sequence.name == "clip"
    assert sequence.ticks is None
    assert np.array_equal(read_frames(sequence)[..., 0], GREY)  # 8, 9, 10, 11
    assert np.array_equal(read_frames(sequence)[..., 0], GREY)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_pictures_are_read(tmp_path, suffix):
    smooth = np.broadcast_to(np.arange(16, dtype=np.uint8) * 10, (2, 16, 16))
    (sequence,) = open_all(save_all(tmp_path / "clip", smooth, suffix))
    assert sequence.shape == (16, 16, 1)
    assert np.abs(read_frames(sequence)[..., 0].astype(int) - smooth).max() <= 8


def test_sixteen_bits_stay(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    for suffix in ("png", "tif"):
        (sequence,) = open_all(save_all(tmp_path / suffix, deep, suffix), fill_value=65535)
        assert (sequence.dtype, sequence.fill) == (np.uint16, 65535)
        assert np.array_equal(read_frames(sequence)[..., 0], deep)
    with pytest.raises(InputError, match="holds 16-bit grey pictures; read them with --config.data.channels=grey"):
        open_all(tmp_path / "png", channels="rgb")


def test_channels_are_decided_for_all_sequences_together(tmp_path):
    save_all(tmp_path / "a", GREY)
    nearly = np.stack([GREY // 2, GREY // 2 + 8, GREY // 2], -1)
    save_all(tmp_path / "b", nearly)
    assert [s.shape for s in open_all(tmp_path)] == [(6, 5, 1)] * 2
    nearly[3, 0, 0, 1] += 1
    save_all(tmp_path / "b", nearly)
    grey, colour = open_all(tmp_path)
    assert np.array_equal(read_frames(grey), np.stack([GREY] * 3, -1))
    assert np.array_equal(read_frames(colour), nearly)
    luma = read_frames(open_all(tmp_path, channels="grey")[1])[..., 0]
    assert np.abs(luma - nearly @ [0.299, 0.587, 0.114]).max() <= 1  # ITU-R BT.601


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_other_modes_are_grey_or_rgb(tmp_path, mode):
    black_and_white = np.where(GREY > 127, 255, 0).astype(np.uint8)
    for place, frame in enumerate(black_and_white):
        options = {"transparency": bytes([255, *range(1, 256)])} if mode == "P" else {}
        Image.fromarray(frame).convert(mode).save(tmp_path / f"{place}.png", **options)
    (sequence,) = open_all(tmp_path)
    assert np.array_equal(read_frames(sequence)[..., 0], black_and_white)


def test_sizes_must_agree(tmp_path):
    folder = save_all(tmp_path / "clip", COLOUR)
    Image.fromarray(COLOUR[0, :4]).save(folder / "frame10.png")
    (sequence,) = open_all(folder)
    with pytest.raises(InputError, match="frame10.png has 5 x 4 pixels, the first frame 5 x 6"):
        read_frames(sequence)


def test_depths_must_agree(tmp_path):
    folder = save_all(tmp_path / "clip", GREY)
    Image.fromarray(GREY[0].astype(np.uint16)).save(folder / "frame10.png")
    (sequence,) = open_all(folder)
    with pytest.raises(InputError, match="frame10.png has 16 bits, the first frame 8"):
        read_frames(sequence)


def test_damaged_pictures_are_named(tmp_path):
    folder = save_all(tmp_path / "clip", COLOUR)
    whole = (folder / "frame9.png").read_bytes()
    for damaged in (b"", b"junk" * 9, whole[: len(whole) // 2]):
        (folder / "frame9.png").write_bytes(damaged)
        with pytest.raises(
            InputError, match="frame9.png is (empty|damaged, or not what its name says|a PNG picture that is damaged)"
        ):
            read_frames(*open_all(folder, channels="rgb"))
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match="a.gif is damaged"):
        open_all(tmp_path / "a.gif")


@pytest.mark.parametrize("option", ["variable", "time", "mask"])
def test_pictures_have_no_named_arrays(tmp_path, option):
    with pytest.raises(InputError, match=f"data.{option} is 'x', but a folder of pictures has no named arrays"):
        open_all(save_all(tmp_path / "clip", GREY), **{option: "x"})


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_of_pictures_are_numbered_by_the_frames(tmp_path, channels):
    frames = np.rint(random_frames((4, 9, 8, channels)))
    path = write(tmp_path / "a", frames, output_spec(frames, frame_numbers=np.array([98, 99, 101, 103])))
    assert sorted(item.name for item in path.glob("*.png")) == ["00098.png", "00099.png", "00101.png", "00103.png"]
    found = np.stack([np.asarray(Image.open(item)) for item in sorted(path.glob("*.png"))])
    np.testing.assert_array_equal(found, frames if channels == 3 else frames[..., 0])


def test_deep_pictures_stay_deep(tmp_path):
    frames = np.rint(random_frames((2, 9, 8, 1), 60000))
    spec = output_spec(frames, np.uint16, source=SourceInfo(NOWHERE, "pictures", np.dtype(np.uint16), is_pictures=True))
    path = write(tmp_path / "a", frames, spec)
    found = np.stack([np.asarray(Image.open(item)) for item in sorted(path.glob("*.png"))])
    np.testing.assert_array_equal(found, frames[..., 0])


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
