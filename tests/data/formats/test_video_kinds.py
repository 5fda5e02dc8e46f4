"""Videos of all depths and ranges, turned, transparent, and with uneven presentation times."""

import fractions
import struct

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.frame_clock import clock_ticks, presented_rate
from tests.data.formats.frame_files import open_all, open_one, read_frames

av = pytest.importorskip("av")

RNG = np.random.default_rng(5)
CLOCK = fractions.Fraction(1, 1000)


def write_video(path, frames, pix_fmt, *, codec="ffv1", given=None, milliseconds=None, color_range=None, options=None):
    """Writes frames `[t, h, w(, c)]` of the pixel format `given`, by default `pix_fmt`, at moments, by default 100 ms apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        if color_range is not None:
            stream.codec_context.color_range = color_range
        if milliseconds is not None:
            stream.codec_context.time_base = CLOCK
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=given or pix_fmt)
            if given:
                frame = frame.reformat(format=pix_fmt)
            if color_range is not None:
                frame.color_range = color_range
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[place], CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# ---- Turned ----

STORED = np.full((32, 48), 20, np.uint8)
STORED[:16, :24], STORED[16:, :24] = 200, 120
# [a, b, c, d] of the display matrix, by which x' = a x + c y and y' = b x + d y, and the frame as it is shown.
MATRICES = {
    "upright": ((1, 0, 0, 1), STORED),
    "90": ((0, 1, -1, 0), np.rot90(STORED, -1)),
    "180": ((-1, 0, 0, -1), np.rot90(STORED, 2)),
    "270": ((0, -1, 1, 0), np.rot90(STORED, 1)),
    "mirrored": ((-1, 0, 0, 1), STORED[:, ::-1]),
    "upside down": ((1, 0, 0, -1), STORED[::-1]),
    "mirrored 90": ((0, 1, 1, 0), STORED.T),
    "mirrored 270": ((0, -1, -1, 0), STORED[::-1, ::-1].T),
}


def turn(path, a, b, c, d):
    """Writes a matrix into the track header of an MP4, as phones do."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    content[place : place + 36] = struct.pack(">9i", *(int(v * 65536) for v in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    path.write_bytes(content)


def lying(path, **options):
    frames = np.repeat(STORED[None, ..., None], 3, -1).repeat(14, 0)
    return write_video(path, frames, "yuv420p", codec="mpeg4", given="rgb24", **options)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_videos_are_turned_as_players_show_them(tmp_path, name, suffix):
    matrix, shown = MATRICES[name]
    turn(lying(tmp_path / f"a.{suffix}"), *matrix)
    for channels in ("grey", "rgb"):
        found = read_frames(open_one(tmp_path, channels=channels)).astype(int)
        assert np.abs(found - shown[..., None]).max() <= 4


@pytest.mark.parametrize("degrees", ["90", "180", "270"])
def test_a_tag_of_rotation_is_obeyed(tmp_path, degrees):
    lying(tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as source, av.open(str(tmp_path / "a.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.metadata["rotate"] = degrees
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    found = read_frames(open_one(tmp_path / "a.mkv"))[..., 0].astype(int)
    assert np.abs(found - MATRICES[degrees][1]).max() <= 4


def test_upright_and_turned_clips_of_a_folder_have_one_shape(tmp_path):
    turn(lying(tmp_path / "a.mp4"), 0, 1, -1, 0)
    upright = np.repeat(np.rot90(STORED, -1)[None, ..., None], 3, -1).repeat(14, 0)
    write_video(tmp_path / "b.mp4", np.ascontiguousarray(upright), "yuv420p", codec="mpeg4", given="rgb24")
    first, second = (read_frames(sequence).astype(int) for sequence in open_all(tmp_path))
    assert first.shape == second.shape == (14, 48, 32, 1)
    assert np.abs(first - second).max() <= 4


def test_other_angles_are_refused(tmp_path):
    turn(lying(tmp_path / "a.mp4"), 0.8, 0.6, -0.6, 0.8)
    with pytest.raises(InputError, match="a.mp4 is shown turned by other than quarter turns; turn its frames with `ffmpeg"):
        open_all(tmp_path / "a.mp4")


# ---- Depth and range ----


@pytest.mark.parametrize(("pix_fmt", "high"), [("gray10le", 1023), ("gray12le", 4095), ("gray16le", 65535)])
def test_grey_of_more_than_8_bits_keeps_its_values(tmp_path, pix_fmt, high):
    frames = RNG.integers(0, high, (5, 12, 17), endpoint=True).astype(np.uint16)
    frames[0, 0, :2] = 0, high
    write_video(tmp_path / "a.mkv", frames, pix_fmt)
    sequence = open_one(tmp_path / "a.mkv")
    assert (sequence.dtype, sequence.info.dtype) == (np.uint16, np.uint16)
    assert np.array_equal(read_frames(sequence)[..., 0], frames)
    with pytest.raises(InputError, match="a.mkv holds 16-bit grey pictures; read them with --config.data.channels=grey"):
        open_one(tmp_path / "a.mkv", channels="rgb")


@pytest.mark.parametrize("codec", ["rawvideo", "ffv1"])
def test_colours_of_16_bits_keep_their_values(tmp_path, codec):
    frames = RNG.integers(0, 300, (5, 12, 17, 3)).astype(np.uint16)
    if codec == "rawvideo":
        write_video(tmp_path / "a.nut", frames, "rgb48le", codec=codec)
    else:
        write_video(tmp_path / "a.mkv", frames, "gbrp16le", codec=codec, given="rgb48le")
    path = next(tmp_path.iterdir()).rename(tmp_path / "b.mkv")
    assert np.array_equal(read_frames(open_one(path)), frames)
    grey = read_frames(open_one(path, channels="grey"))[..., 0]
    assert np.abs(grey - frames @ [0.299, 0.587, 0.114]).max() <= 0.5  # ITU-R BT.601


def test_deep_yuv_is_read_with_8_bits_and_a_remark(tmp_path):
    frames = np.repeat(RNG.integers(0, 256, (5, 16, 16, 1), dtype=np.uint8), 3, -1)
    write_video(tmp_path / "a.mkv", frames, "yuv444p10le", given="rgb24")
    sequence = open_one(tmp_path / "a.mkv")
    assert sequence.dtype == np.uint8
    assert sequence.remarks == ("its 10-bit colours (yuv444p10le) are read with 8 bits",)
    assert np.abs(read_frames(sequence).astype(int) - frames[..., :1]).max() <= 2


def test_floats_keep_their_values(tmp_path):
    frames = RNG.uniform(0, 1, (5, 12, 16)).astype(np.float32)
    try:
        write_video(tmp_path / "a.mov", frames, "grayf32le", codec="exr")
    except av.error.FFmpegError as error:
        pytest.skip(f"this PyAV writes no floats: {error}")
    sequence = open_one(tmp_path / "a.mov")
    assert sequence.dtype == np.float32
    assert np.array_equal(read_frames(sequence)[..., 0], frames)


LUMA = np.array([16, 100, 128, 235], np.uint8)


@pytest.mark.parametrize(("color_range", "levels"), [(2, LUMA), (1, np.rint((LUMA - 16.0) * 255 / 219))])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_levels_follow_the_range_of_the_video(tmp_path, color_range, levels, pix_fmt):
    """Luma of full range is the grey level; of limited range, 16 is black and 235 white (ITU-R BT.601)."""
    luma = np.repeat(np.repeat(LUMA, 4)[None], 16, 0)
    chroma = np.full((2, 8, 8) if pix_fmt == "yuv420p" else (2, 16, 16), 128, np.uint8)
    frames = np.concatenate([luma.ravel(), chroma.ravel()]).reshape((1, 24, 16) if pix_fmt == "yuv420p" else (1, 3, 16, 16))
    frames = frames.repeat(3, 0)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, pix_fmt
        stream.codec_context.color_range = color_range
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format=pix_fmt)
            frame.color_range = color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for channels in ("grey", "rgb"):
        found = read_frames(open_one(tmp_path / "a.mkv", channels=channels))
        assert np.abs(found[0, 0, 1::4].astype(int) - levels[:, None]).max() <= 1


# ---- Transparency ----


@pytest.mark.parametrize(("pix_fmt", "dtype"), [("bgra", np.uint8), ("gbrap16le", np.uint16), ("ya8", np.uint8)])
def test_transparent_pixels_are_missing(tmp_path, pix_fmt, dtype):
    if pix_fmt == "ya8":
        pytest.skip("no codec of every PyAV writes it") if "ffv1" not in av.codecs_available else None
    largest = np.iinfo(dtype).max
    frames = np.full((4, 12, 16, 4), largest, dtype)
    frames[..., :3] = RNG.integers(5, 11, (4, 12, 16, 1))
    grey = frames[..., :1].astype(int)
    frames[:, :6] = (200, 200, 200, 0)
    given = "rgba" if dtype == np.uint8 else "rgba64le"
    write_video(tmp_path / "a.mkv", frames, pix_fmt, given=given)
    sequence = open_one(tmp_path / "a.mkv")
    found = read_frames(sequence)
    assert np.isnan(found).sum() == 4 * 6 * 16
    assert np.abs(found[:, 6:] - grey[:, 6:]).max() <= 1
    assert any("transparent pixels" in remark for remark in sequence.remarks)


def test_transparency_that_is_not_read_gets_a_remark(tmp_path):
    frames = np.full((4, 16, 16, 4), 255, np.uint8)
    frames[:, :8, :, 3] = 0
    try:
        write_video(tmp_path / "a.webm", frames, "yuva420p", codec="libvpx-vp9", given="rgba")
    except av.error.FFmpegError as error:
        pytest.skip(f"this PyAV writes no such video: {error}")
    sequence = open_one(tmp_path / "a.webm")
    assert any("transparen" in remark for remark in sequence.remarks)


# ---- Presentation times ----

FLAT = np.repeat(np.arange(24, dtype=np.uint8) * 10, 16 * 16).reshape(24, 16, 16)
PAUSE = np.cumsum([0] + [5000 if place == 16 else 100 for place in range(1, 24)]).tolist()


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt"), [("mkv", "ffv1", "gray"), ("mp4", "mpeg4", "yuv420p")])
def test_a_pause_is_a_gap(tmp_path, suffix, codec, pix_fmt):
    write_video(tmp_path / f"a.{suffix}", FLAT, pix_fmt, codec=codec, given="gray", milliseconds=PAUSE)
    sequence = open_one(tmp_path / f"a.{suffix}")
    assert sequence.ticks.tolist() == [*range(16), *range(65, 73)]
    assert (sequence.step, sequence.remarks) == ("100 ms", ("1 gap, the longest of 49 steps",))
    assert sequence.times is None  # no moments that outputs could continue
    assert open_one(tmp_path / f"a.{suffix}", time="none").ticks is None


def test_frames_that_are_decoded_in_another_order_have_no_gaps(tmp_path):
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV writes no H.264")
    write_video(tmp_path / "a.mp4", FLAT, "yuv420p", codec="libx264", given="gray", options={"bf": "3"})
    assert open_one(tmp_path / "a.mp4").ticks is None


@pytest.mark.parametrize("rate", [23.976, 25, 29.97, 30, 50, 59.94, 60, 120, 240, 1000, 1500, 2000])
def test_jitter_of_a_clock_is_no_gap(rate):
    milliseconds = np.rint(np.arange(200) * 1000 / rate).astype(int).tolist()
    assert clock_ticks(milliseconds, 1000) is None


def test_a_phone_whose_frames_come_almost_evenly_has_no_gap():
    jitter = np.random.default_rng(0).integers(-4, 5, 300)
    assert clock_ticks((np.arange(300) * 33 + jitter).tolist(), 1000) is None


def test_dropped_frames_are_gaps():
    milliseconds = np.delete(np.rint(np.arange(60) * 1000 / 30).astype(int), [20, 40, 41]).tolist()
    ticks = clock_ticks(milliseconds, 1000, [29.0, 30.0])
    assert np.flatnonzero(np.diff(ticks.ticks) > 1).tolist() == [19, 38]
    assert np.diff(ticks.ticks).max() == 3
    assert ticks.step == "33.33 ms"
    assert ticks.remarks == ("2 gaps, the longest of 2 steps",)


@pytest.mark.parametrize(("suffix", "codec", "rate"), [("avi", "mpeg4", 25), ("avi", "mjpeg", 30), ("mp4", "mpeg4", 25)])
def test_one_dropped_frame_of_a_constant_rate_is_a_gap_of_two_periods(tmp_path, suffix, codec, rate):
    """The clock of AVI counts frames: its unit is the duration of a frame."""
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height = stream.width = 16
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, rate)
        for place, pixels in enumerate(FLAT):
            if place != 10:
                frame = av.VideoFrame.from_ndarray(pixels, format="gray").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = place, fractions.Fraction(1, rate)
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sequence = open_one(tmp_path / f"a.{suffix}")
    assert sequence.frames == 23
    assert sequence.ticks.tolist() == [*range(10), *range(11, 24)]
    assert sequence.remarks == ("1 gap, the longest of 1 step",)


def test_a_variable_frame_rate_gets_a_remark(tmp_path):
    moments = np.cumsum([0] + [28, 40, 52, 40] * 5).tolist()
    write_video(tmp_path / "a.mkv", FLAT[:21], "gray", given="gray", milliseconds=moments)
    sequence = open_one(tmp_path / "a.mkv")
    assert sequence.ticks is None
    assert any("its frames are 28 ms to 52 ms apart" in remark for remark in sequence.remarks)
    assert open_one(tmp_path / "a.mkv", time="none").remarks == ()


@pytest.mark.parametrize(("apart", "step", "rate"), [(40, "40 ms", 25), (250, "250 ms", 4), (1600, "1.6 s", 0.625)])
@pytest.mark.parametrize("kind", [("a.mkv", "ffv1", "gray"), ("a.webm", "libvpx", "yuv420p")])
def test_presentation_times_decide_the_rate_whatever_is_declared(tmp_path, kind, apart, step, rate):
    name, codec, pix_fmt = kind
    write_video(tmp_path / name, FLAT, pix_fmt, codec=codec, given="gray", milliseconds=[apart * i for i in range(len(FLAT))])
    sequence = open_one(tmp_path / name)  # declares 10 frames per second
    assert (sequence.step, sequence.info.frame_rate, sequence.ticks) == (step, rate, None)


def test_a_declared_rate_that_fits_rounded_moments_is_exact():
    ntsc, moments = 30_000 / 1001, [round(i * 1001 / 30) for i in range(24)]
    assert presented_rate(moments, 1000, [25.0, ntsc]) == ntsc
    assert presented_rate(moments, 1000, [1000.0]) == 30
    assert presented_rate([], 1000, [25.0]) == 25


def test_interlaced_frames_get_a_remark(tmp_path):
    options = {"flags": "+ildct+ilme"}
    write_video(tmp_path / "a.mpg", FLAT, "yuv420p", codec="mpeg2video", given="gray", milliseconds=None, options=options)
    assert any("its frames are interlaced" in remark for remark in open_one(tmp_path / "a.mpg").remarks)


def test_a_clock_that_counts_frames_is_exact():
    moments = np.delete(np.arange(20), [7]).tolist()
    assert clock_ticks(moments, 40_000, [25.0]).ticks.tolist() == moments
    assert clock_ticks(moments, 40_000, [24.0]) is None


def test_frames_that_an_avi_drops_leave_its_rate():
    moments = [number for number in range(120) if number % 30 != 29]
    assert clock_ticks(moments, 1e6 / 25, [25.0]).step == "40 ms"
    assert presented_rate(moments, 1e6 / 25, [25.0]) == 25


@pytest.mark.parametrize("moments", [[], [0], [0, 40], [0, None, 80], [5, 5, 5]])
def test_moments_that_are_unknown_have_no_gaps(moments):
    assert clock_ticks(moments, 1000) is None
