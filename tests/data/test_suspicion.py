"""Numbers that seem to mean "missing" are named, with their share; ordinary data get no remark."""

import numpy as np
import pytest
from etils import epath

from stlight_jax import InputError
from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.data.prepared import read_metadata
from stlight_jax.data.suspicion import ValueSurvey

OPTION = "--config.data.fill_value"


def field(frames=24, low=0.5, high=7.5, size=(12, 16), seed=0):
    """A smooth moving pattern, float64 [t, h, w], from `low` to `high`."""
    y, x = np.mgrid[: size[0], : size[1]]
    t = np.arange(frames)[:, None, None]
    wave = np.sin((x + t + seed) / 3) + np.cos((y - t + 2 * seed) / 2.5) + 0.01 * np.sin(x * y + t)
    return low + (high - low) * (wave - wave.min()) / np.ptp(wave)


def radar(size=(24, 32, 32)):
    """Rain in mm/h, four fifths zeros."""
    random = np.random.default_rng(0)
    return random.gamma(0.5, 8, size) * (random.random(size) < 0.2)


def in_corner(frames, value):
    """A number in 24 of 192 pixels of all frames: 12.5 %."""
    frames = frames.copy()
    frames[:, :4, :6] = value
    return frames


def scattered(frames, value, every=8):
    """A number in every 8th value: 12.5 %, in other pixels of each frame."""
    frames = frames.copy()
    for index, frame in enumerate(frames):
        frame.flat[index % every :: every] = value
    return frames


def remarks(*sequences, blocks=1, fill=None, **options):
    sequences = [frames[..., None] if frames.ndim == 3 else frames for frames in sequences]
    sequences = [frames.astype(np.float32) if frames.dtype.kind == "f" else frames for frames in sequences]
    survey = ValueSurvey(sequences[0].shape[-1], sequences[0].dtype, fill)
    for number, frames in enumerate(sequences):
        for block in np.array_split(frames, blocks):
            survey.add(f"{'abc'[number]}.npy", block)
    return survey.remarks(OPTION, **options)


def far(text, share="12.5"):
    return [f"{share} % of the values are {text}, far from all others; if they mean missing: {OPTION}={text}"]


def mask(text, pixels):
    where = f"fills the same {pixels} pixels in all frames and occurs nowhere else"
    return [f"{text} {where}; if it means missing: {OPTION}={text}"]


@pytest.mark.parametrize("blocks", [1, 5, 24])
@pytest.mark.parametrize("spread_out", [in_corner, scattered])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-9999, "-9999"),
        (-999, "-999"),
        (-99, "-99"),
        (-9999.9, "-9999.9"),
        (-32768, "-32768"),
        (-12345, "-12345"),
        (-1, "-1"),
        (99999, "99999"),
        (65535, "65535"),
        (1e20, "1e+20"),
        (1e30, "1e+30"),
        (9.969209968386869e36, "9.96921e+36"),
        (-3.4028235e38, "-3.4028235e+38"),
    ],
)
def test_numbers_far_from_all_others_are_named(value, text, spread_out, blocks):
    found = remarks(spread_out(field(), value), blocks=blocks)
    assert found == far(text)
    assert np.float32(text) == np.float32(value)  # the option takes it


@pytest.mark.parametrize("spread_out", [in_corner, scattered])
@pytest.mark.parametrize(
    ("dtype", "high", "value"),
    [("uint16", 4000, 65535), ("int16", 4000, -32768), ("int16", 300, -9999), ("int16", 400, 32767), ("int16", 60, -999)],
)
def test_integers_far_from_all_others_are_named(dtype, high, value, spread_out):
    assert remarks(spread_out(field(high=high).astype(dtype), value), blocks=3) == far(str(value))


@pytest.mark.parametrize("blocks", [1, 24])
@pytest.mark.parametrize(
    ("dtype", "high", "value"),
    [
        ("uint8", 180, 255),
        ("uint8", 250, 255),
        ("uint8", 60, 255),
        ("uint8", 180, 254),
        ("int16", 100, -1),
        ("uint16", 64000, 65535),
        ("float32", 180, 255),
    ],
)
def test_a_number_in_a_fixed_mask_is_named(dtype, high, value, blocks):
    assert remarks(in_corner(field(high=high).astype(dtype), value), blocks=blocks) == mask(str(value), 24)


def test_a_circle_of_255_is_named():
    frames = np.rint(field(24, 0, 180)).astype(np.uint8)
    y, x = np.mgrid[:12, :16]
    outside = (y - 5.5) ** 2 + (x - 7.5) ** 2 > 50
    frames[:, outside] = 255
    assert outside.sum() == 48
    assert remarks(frames) == mask("255", 48)
    assert remarks(frames, frames[:, ::-1]) == mask("255", 48)  # also with a mask of its own in each sequence
    assert remarks(frames, fill=255.0) == []
    frames[7, 5, 7] = 255  # somewhere else
    assert remarks(frames) == []


def test_both_ends_and_two_numbers_at_one_end_are_named():
    frames = in_corner(field(), -9999)
    frames[:, 6:8, :4] = 1e20
    found = remarks(frames, blocks=3)
    assert [remark.split(";")[0] for remark in found] == [
        "12.5 % of the values are -9999, far from all others",
        "4.17 % of the values are 1e+20, far from all others",
    ]
    assert all(remark.endswith("(it takes one number; replace the others by NaN)") for remark in found)
    frames[frames == np.float64(1e20)] = -9998
    assert [remark.split(" far")[0] for remark in remarks(frames)] == [
        "12.5 % of the values are -9999,",
        "4.17 % of the values are -9998,",
    ]


def test_the_channel_is_named_where_others_lack_the_number():
    frames = np.stack([field(high=1000), in_corner(field(), -999)], axis=-1)
    (found,) = remarks(frames)
    assert found.startswith("channel 2: 12.5 % of the values are -999, far from all others; ")
    assert remarks(np.stack([in_corner(field(high=1000), -999)] * 2, axis=-1)) == far("-999")


def test_a_single_usual_number_is_named_and_a_single_outlier_is_not():
    frames = field()
    frames[3, 4, 5] = -9999
    assert remarks(frames, blocks=4) == far("-9999", "0.0217")
    frames[3, 4, 5] = -9.99e8
    assert remarks(frames, blocks=4) == far("-999000000", "0.0217")
    frames[3, 4, 5] = 5000.0
    assert remarks(frames, blocks=4) == []


def test_dry_and_binary_frames_can_have_a_mark():
    dry = np.zeros((24, 12, 16))
    assert remarks(in_corner(dry, -9999)) == far("-9999")
    assert remarks(in_corner((field() > 4).astype(float), -9999)) == far("-9999")


def with_moving_square(low, high, white, dtype):
    frames = np.random.default_rng(0).integers(low, high, (24, 32, 32))
    for t, frame in enumerate(frames):
        frame[t // 2 : t // 2 + 6, 3:9] = white
    return frames.astype(dtype)


def clip_border(frames, value=0):
    frames = frames.copy()
    frames[:, :3] = frames[:, -3:] = value
    return frames


def categories(*levels):
    return np.array(levels, np.uint8)[np.random.default_rng(0).integers(0, len(levels), (24, 32, 32))]


ORDINARY = {
    "white areas that move": with_moving_square(0, 40, 255, np.uint8),
    "the same in floats": with_moving_square(0, 40, 255, np.float32),
    "the same from 0 to 1": with_moving_square(0, 40, 255, np.float32) / 255,
    "the same of 12 bits": with_moving_square(0, 300, 4095, np.uint16),
    "the same of 16 bits": with_moving_square(0, 10_000, 65535, np.uint16),
    "binary": (field(size=(32, 32)) > 4).astype(np.uint8),
    "binary in floats": (field() > 4).astype(float),
    "black and white": (field() > 4).astype(np.uint8) * 255,
    "radar": radar(),
    "radar to a tenth": np.round(radar(), 1),
    "radar in dB": np.where(radar() > 0.1, 10 * np.log10(np.maximum(radar(), 0.1)), -15),
    "radar in dB with -32 for none": np.where(radar() > 0.1, 10 * np.log10(np.maximum(radar(), 0.1)), -32),
    "standardised radar": (radar() - radar().mean()) / radar().std(),
    "saturated": np.minimum(radar(), 20),
    "saturated bytes": np.minimum(radar() * 40, 255).astype(np.uint8),
    "saturated integers": np.minimum(radar() * 4000, 65535).astype(np.uint16),
    "small units": np.maximum(field(120, -3e-5, 3e-5, (8, 8)) - 1.5e-5, 0) * 2,
    "counts": np.random.default_rng(0).poisson(2, (24, 32, 32)).astype(np.int16),
    "counts with a long tail": np.random.default_rng(0).pareto(1, (24, 32, 32)).astype(np.int16),
    "a long tail": np.random.default_rng(0).pareto(1, (24, 32, 32)),
    "logarithmically normal": np.random.default_rng(0).lognormal(0, 3, (24, 32, 32)),
    "categories": categories(*range(10)),
    "categories far apart": categories(0, 10, 20, 100, 200),
    "categories that stay": np.broadcast_to(categories(*range(11))[:1], (24, 32, 32)),
    "a black border": clip_border(field(low=1, high=200).astype(np.uint8)),
    "a border of 0 K": clip_border(field(low=250, high=300)),
    "around 0": field(low=-1, high=1),
    "constant": np.full((24, 12, 16), 4.0),
    "a red sign": np.stack([in_corner(field(high=180).astype(np.uint8), level) for level in (255, 0, 0)], -1),
    "one channel constant": np.stack([field(), np.full((24, 12, 16), 1013.0)], -1),
}


@pytest.mark.parametrize("blocks", [1, 7])
@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_data_get_no_remark(kind, blocks):
    assert remarks(ORDINARY[kind], blocks=blocks, per_channel_option="--config.data.per_channel") == []


def test_values_from_0_to_1_beside_values_from_0_to_255_are_named():
    units, grey = field(low=0, high=1), field(low=0, high=255)
    assert remarks(units, grey) == ["values of a.npy lie in 0..1, those of b.npy in 0..255; bring them to one scale"]
    both = np.stack([grey, units], -1)
    option = "--config.data.per_channel"
    expected = (
        "values of channel 2 lie in 0..1, those of channel 1 in 0..255; to scale each alone: --config.data.per_channel=True"
    )
    assert remarks(both, per_channel_option=option) == [expected]
    assert remarks(both) == []  # of predict, where the network knows each channel's range
    assert remarks(units, grey, field(low=0, high=40)) == []  # as of rain, on dry and on wet days
    assert remarks(np.stack([units, field(low=200, high=255)], -1), per_channel_option=option) == []  # cloud cover and kelvins
    assert remarks(np.stack([(units > 0.5).astype(float), grey], -1), per_channel_option=option) == []  # a mask and a picture


@pytest.mark.parametrize("blocks", [1, 24])
def test_values_from_0_to_1_beside_values_from_0_to_255_in_one_sequence_are_named(blocks):
    frames = field(low=0, high=255)
    frames[1::3] /= 255
    expected = ["a.npy: values of 8 frames lie in 0..1, those of 16 others in 0..255; bring them to one scale"]
    assert remarks(frames, blocks=blocks) == expected
    assert remarks(np.stack([field(low=0, high=255), frames], -1), blocks=blocks) == expected
    frames[1::3] = np.rint(frames[1::3])  # dark frames, of whole numbers
    assert remarks(frames, blocks=blocks) == []
    assert remarks(field(low=0, high=255) * np.linspace(0, 1, 24)[:, None, None], blocks=blocks) == []  # out of the dark


def test_no_frames_give_no_remarks():
    survey = ValueSurvey(2, np.float32)
    assert (survey.remarks(OPTION), survey.constant_channels(), survey.empty) == ([], {}, 0)


def test_frames_without_values_are_counted():
    frames = field(40).astype(np.float32)[..., None]
    frames[[33, 34]] = np.nan
    frames[:, :9, :9] = np.nan
    survey = ValueSurvey(1, np.float32)
    for block in np.array_split(frames, 3):
        survey.add("a", block)
    assert (survey.empty, survey.frames) == (2, 40)
    integers = np.full((3, 4, 5, 1), 7, np.uint8)
    integers[:2] = np.arange(20).reshape(4, 5, 1)
    survey = ValueSurvey(1, np.uint8, fill=7.0)
    survey.add("a", integers)
    assert (survey.empty, survey.frames) == (1, 3)
    assert remarks(np.full((5, 4, 4), np.nan)) == []


def prepared(tmp_path, frames, capfd, **options):
    np.save(tmp_path / "raw.npy", frames)
    folder = prepare_frames(epath.Path(tmp_path / "raw.npy"), FramesOptions(**options), epath.Path(tmp_path / "out"))
    metadata, printed = read_metadata(folder), capfd.readouterr().err
    for remark in metadata["remarks"]:
        assert printed.count(f"  {remark}\n") == 1
    statistics = [split["statistics"] for split in metadata["splits"].values()]
    ends = min(min(own["min"]) for own in statistics), max(max(own["max"]) for own in statistics)
    missing = sum(split["frames"] * np.mean(split["statistics"]["missing"]) for split in metadata["splits"].values())
    return metadata["remarks"][1:], ends, missing / len(frames)


def test_preparation_names_the_number_and_takes_it_as_missing(tmp_path, capfd):
    frames = in_corner(field().astype(np.float32), -9999)
    found, ends, missing = prepared(tmp_path, frames, capfd)
    assert found == far("-9999")
    assert ends == (-9999.0, float(frames.max()))
    (tmp_path / "with").mkdir()
    found, ends, missing = prepared(tmp_path / "with", frames, capfd, fill_value=-9999.0)
    assert found == []
    assert ends == (float(frames[frames > 0].min()), float(frames.max()))
    assert missing == pytest.approx(0.125)


def test_preparation_sees_values_before_they_are_resized(tmp_path, capfd, monkeypatch):
    def averaged(block, fill, height, width):
        return block.reshape(len(block), height, 2, width, 2, 1).mean((2, 4))

    monkeypatch.setattr("stlight_jax.data.frames_reader.resize_valid", averaged)
    frames = field().astype(np.float32)
    frames[:, :4, :7] = -9999  # 28 of 192
    found, ends, _ = prepared(tmp_path, frames, capfd, height=6, width=8)
    assert found == far("-9999", "14.6")
    assert ends[0] == -9999


def test_preparation_counts_frames_without_values(tmp_path, capfd):
    frames = field(40, 0.2, 8.6).astype(np.float32)
    frames[[33, 34]] = np.nan
    found, _, missing = prepared(tmp_path, frames, capfd)
    assert found == ["2 of 40 frames hold no values"]
    assert missing == pytest.approx(0.05)


def test_preparation_names_constant_channels(tmp_path, capfd):
    frames = np.stack([field(60), np.full((60, 12, 16), 4.0), np.full((60, 12, 16), 2.0)], -1).astype(np.float16)
    frames[50:, ..., 2] = 3
    found, _, _ = prepared(tmp_path, frames, capfd)
    assert [remark for remark in found if "channel" in remark] == [
        "channel 2 is 4 everywhere; a network cannot learn from it",
        "channel 3 is 2 in all training frames, but not in the others; a network cannot learn from it",
    ]


def test_values_too_far_apart_for_float32_name_their_mark(tmp_path, capfd):
    frames = in_corner(field().astype(np.float32), np.float32(-3.4028235e38))
    with pytest.raises(InputError, match=r"12.5 % of the values are -3.4028235e\+38, .*give --config.data.fill_value=-3.402"):
        prepared(tmp_path, frames, capfd)


def test_masks_of_0_and_1_beside_grey_levels_are_named():
    grey = field(low=0, high=255).astype(np.uint8)
    assert remarks((grey > 127).astype(np.uint8), grey) == [
        "values of a.npy lie in 0..1, those of b.npy in 0..255; bring them to one scale"
    ]
