"""KTH from a small tree of images in OpenSTL's format."""

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.datasets import kth
from stlight_jax.data.datasets.kth import Kth
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError

ACTIONS = ["boxing", "handclapping", "handwaving", "jogging", "running", "walking"]
# What images each clip has; two persons for training, one for the test, and jumps in time.
NUMBERS = {
    "boxing/person01_boxing_d1_uncomp": [*range(1, 8), *range(20, 25)],
    "handclapping/person16_handclapping_d4_uncomp": [3, 4, 5, 6],
    "handwaving/person17_handwaving_d1_uncomp": [1, 2, 3, 4],
    "jogging/person17_jogging_d2_uncomp": [1, *range(10, 21), *range(22, 26)],
    "running/person02_running_d3_uncomp": [*range(9990, 10000)],
    "walking/person25_walking_d1_uncomp": [7],
}


def size(clip):
    return (9, 12) if clip.startswith("boxing") else (5, 4)


def pixels(clip, number):
    """RGB; the first channel is constant, so that scaling leaves it alone."""
    image = np.random.default_rng(number).integers(0, 256, (*size(clip), 3)).astype(np.uint8)
    image[..., 0] = (number + 10 * ACTIONS.index(clip.split("/")[0])) % 256
    return image


def write_tree(root):
    for action in ACTIONS:
        (root / action).mkdir(parents=True)
    for clip, numbers in NUMBERS.items():
        (root / clip).mkdir()
        (root / clip / "Thumbs.db").write_bytes(b"other files are left alone")
        for number in numbers:
            image = pixels(clip, number)
            # Grey images, too, which OpenSTL does not read.
            image = image[..., 0] if clip.startswith("handwaving") else image
            PIL.Image.fromarray(image).save(root / clip / f"image_{number:04}.png")
    (root / "boxing" / "readme.txt").write_text("no clip")
    return root


def prepare(raw, out):
    builder = ClipsBuilder(Kth(), data_dir=out, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=raw))
    return builder


def openstl_windows(clips, length):
    """Where windows start among all frames, one frame after the other, by walking backwards as OpenSTL describes it."""
    frames = [(clip, number) for clip in clips for number in NUMBERS[clip]]
    starts, last = [], len(frames) - 1
    while last - length + 1 >= 0:
        first = last - length + 1
        if frames[first][0] == frames[last][0] and frames[last][1] - frames[first][1] == length - 1:
            starts.append(first)
            last -= 3 if frames[last][0].split("/")[0] in ("jogging", "running") else length
        else:
            last -= 1
    return sorted(starts)


@pytest.mark.parametrize(("folder", "block"), [("kth", 64), ("", 5)])
def test_frames_runs_and_windows_are_openstls(tmp_path, monkeypatch, folder, block):
    monkeypatch.setattr(kth, "_BLOCK", block)
    write_tree(tmp_path / "raw" / folder)
    builder = prepare(tmp_path / "raw", tmp_path / "out")
    for split, persons in (("train", ("01", "16", "02")), ("test", ("17", "25"))):
        clips = [clip for clip in NUMBERS if clip.split("person")[1][:2] in persons]
        table = builder.info.metadata["splits"][split]
        assert [clip["name"] for clip in table["clips"]] == clips
        stored = [record["frame"] for record in builder.as_data_source(split)]
        expected = [pixels(clip, number)[0, 0, 0] for clip in clips for number in NUMBERS[clip]]
        assert table["frames"] == len(stored) == len(expected)
        for frame, value in zip(stored, expected, strict=True):
            np.testing.assert_array_equal(frame, np.full((128, 128, 1), value, np.uint8))
        segments = [Segment(*segment) for clip in table["clips"] for segment in clip["runs"]]
        places = [place for segment in segments for place in range(segment.first, segment.first + segment.frames)]
        assert places == list(range(len(stored)))
        ticks = [tick for segment in segments for tick in range(segment.tick, segment.tick + segment.frames)]
        assert ticks == [number for clip in clips for number in NUMBERS[clip]]
        # With windows shorter than its stride of 3, OpenSTL jumps over the end of the clip before.
        for length in range(3, 12):
            strides = [Kth().stride(clip["name"], length) for clip in table["clips"] for _ in clip["runs"]]
            windows = Windows(segments, length, strides, anchor=Kth.anchor)
            starts = windows.frames(np.arange(len(windows)))[:, 0].tolist() if len(windows) else []
            assert sorted(starts) == openstl_windows(clips, length), (split, length)


def test_persons_stay_together():
    assert {Kth().group(clip) for clip in NUMBERS if "person17" in clip} == {"person17"}


def test_images_are_scaled_as_openstl_does(tmp_path):
    cv2 = pytest.importorskip("cv2")
    root = write_tree(tmp_path / "raw")
    clip = "boxing/person01_boxing_d1_uncomp"
    image = np.random.default_rng(7).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    PIL.Image.fromarray(image).save(root / clip / "image_0001.png")
    PIL.Image.fromarray(image).save(root / clip / "image_0002_x.jpg", quality=95)
    (root / clip / "image_0002.png").unlink()
    decoded = [image, np.asarray(PIL.Image.open(root / clip / "image_0002_x.jpg"))]
    stored = prepare(tmp_path / "raw", tmp_path / "out").as_data_source("train")
    for place, frame in enumerate(decoded):
        scaled = cv2.resize(np.float32(frame[:, :, 0]), (128, 128))
        difference = stored[place]["frame"][..., 0] - scaled.astype(np.float64)
        assert np.abs(difference).max() <= 0.5 + 1e-3
        # Rounding errors are uniform: 1 / 12 of variance, here and in the documentation.
        assert np.square(difference).mean() == pytest.approx(1 / 12, rel=0.1)


BOXING = "boxing/person01_boxing_d1_uncomp"


def remove_actions(root):
    (root / "running").rename(root / "Running")
    (root / "boxing").rename(root / "box")


def add_person(name):
    return lambda root: (root / "walking" / name).mkdir()


def rewrite(content):
    return lambda root: (root / BOXING / "image_0003.png").write_bytes(content(root / BOXING / "image_0003.png"))


def save(name, image):
    return lambda root: image.save(root / BOXING / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_actions, "kth: expected a folder for each action, found none for boxing, running"),
        (add_person("person03_running_d1_uncomp"), "person03_running_d1_uncomp: expected a name like person01_walking_d1"),
        (add_person("person26_walking_d1_uncomp"), "person26_walking_d1_uncomp: expected a name like"),
        (
            add_person("person03_walking_d1_uncomp"),
            "person03_walking_d1_uncomp: expected images like image_0001.jpg, found none",
        ),
        (save("image_0003.bmp", PIL.Image.new("RGB", (12, 9))), "d1_uncomp: .* found image_0003.bmp and image_0003.png"),
        (save("image_3.png", PIL.Image.new("RGB", (12, 9))), "image_3.png: expected a name like"),
        (save("image_0003.png", PIL.Image.new("RGB", (9, 12))), r"image_0003.png: expected \[9, 12\] pixels"),
        (save("image_0003.png", PIL.Image.new("P", (12, 9))), "image_0003.png: expected a grey or an RGB .* mode P"),
        (rewrite(lambda path: path.read_bytes()[:-60]), "image_0003.png: expected an image, found a file that does not load"),
        (rewrite(lambda path: b"text"), "image_0003.png: expected an image, found a file that does not load"),
    ],
)
def test_bad_trees(tmp_path, change, message):
    change(write_tree(tmp_path / "raw" / "kth"))
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "raw", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out" / "kth").glob("*"))


def test_one_split_alone_is_an_error(tmp_path):
    root = write_tree(tmp_path / "raw")
    for clip in NUMBERS:
        if "person17" in clip or "person25" in clip:
            (root / clip).rename(root / clip.split("/")[1])
    with pytest.raises(InputError, match="clips of persons 17 to 25 for the split test, found none"):
        prepare(root, tmp_path / "out")
