"""Videos: frames, channels, and files that are cut off."""

import fractions
import sys

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions
from tests.data.formats import outputs

av = pytest.importorskip("av")


def write(path, frames, codec, pix_fmt):
    """frames: uint8 [t, h, w, 3]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def flat(count, colour=False):
    frames = np.repeat(np.arange(count, dtype=np.uint8) * 10, 16 * 16 * 3).reshape(count, 16, 16, 3)
    if colour:
        frames[-1, ..., 0] = 255
    return frames


def open_one(path, **options):
    (sequence,) = open_sequences(path, ReadOptions(**options))
    return sequence


def read(sequence):
    frames = np.concatenate(list(sequence.blocks()))
    assert frames.dtype == sequence.dtype == np.uint8
    assert frames.shape == (sequence.frames, *sequence.shape)
    return frames


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [("mp4", "mpeg4", "yuv420p"), ("avi", "mpeg4", "yuv420p"), ("mov", "mpeg4", "yuv420p"), ("m4v", "mpeg4", "yuv420p"),
     ("mkv", "ffv1", "bgr0"), ("mpg", "mpeg2video", "yuv420p"), ("mpeg", "mpeg2video", "yuv420p"),
     ("webm", "libvpx", "yuv420p")],
)  # fmt: skip
def test_every_container(tmp_path, suffix, codec, pix_fmt):
    frames = flat(12)
    try:
        path = write(tmp_path / f"a.{suffix}", frames, codec, pix_fmt)
    except av.error.FFmpegError as error:
        pytest.skip(f"this PyAV does not write {suffix}: {error}")
    sequence = open_one(path)
    assert (sequence.name, sequence.frames, sequence.shape) == (f"a.{suffix}", 12, (16, 16, 1))
    assert np.abs(read(sequence).astype(int) - frames[..., :1]).max() <= 3
    assert np.array_equal(read(sequence), read(sequence))


def test_channels(tmp_path):
    frames = flat(5, colour=True)
    path = write(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    assert np.array_equal(read(open_one(path)), frames)
    grey = read(open_one(path, channels="grey"))[..., 0]
    assert np.abs(grey - frames @ [0.299, 0.587, 0.114]).max() <= 2  # ITU-R BT.601
    write(path, flat(5), "ffv1", "bgr0")
    assert open_one(path).shape == (16, 16, 1)
    assert np.array_equal(read(open_one(path, channels="rgb")), flat(5))


def test_one_colourful_video_makes_all_rgb(tmp_path):
    write(tmp_path / "a2.mkv", flat(5), "ffv1", "bgr0")
    write(tmp_path / "a10.mkv", flat(5, colour=True), "ffv1", "bgr0")
    sequences = open_sequences(tmp_path, ReadOptions())
    assert [(s.name, s.shape) for s in sequences] == [("a2.mkv", (16, 16, 3)), ("a10.mkv", (16, 16, 3))]


@pytest.mark.parametrize("where", [0.5, 0.7])
def test_a_video_that_is_cut_off_is_an_error(test_data, tmp_path, where):
    whole = (test_data / "kth_openstl_clips" / "test_example.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: int(where * len(whole))])
    sequence = open_one(tmp_path / "cut.avi", channels="grey")
    assert sequence.frames == 75
    with pytest.raises(InputError, match="cut.avi: [0-9]+ frames could be decoded of the 75 that its container declares"):
        read(sequence)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "ffv1"), ("webm", "libvpx")])
@pytest.mark.parametrize("where", [0.3, 0.6, 0.95])
def test_a_matroska_file_that_is_cut_off_is_refused(tmp_path, suffix, codec, where):
    try:
        path = write(tmp_path / f"a.{suffix}", flat(40), codec, "yuv420p")
    except av.error.FFmpegError as error:
        pytest.skip(f"this PyAV does not write {suffix}: {error}")
    assert open_one(path).frames == 40
    whole = path.read_bytes()
    path.write_bytes(whole[: int(where * len(whole))])
    match = f"a.{suffix} is cut off after {int(where * len(whole)):,} of {len(whole):,} bytes; expected a whole video"
    with pytest.raises(InputError, match=match):
        open_one(path)


def test_a_live_recording_declares_no_size(tmp_path):
    """FFmpeg's option writes a segment of unknown size, as streams have; the end of such a file cannot be known."""
    with av.open(str(tmp_path / "a.mkv"), "w", options={"live": "1"}) as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height = stream.width = 16
        stream.pix_fmt = "yuv420p"
        for frame in flat(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    assert open_one(tmp_path / "a.mkv").frames == 12


@pytest.mark.parametrize("suffix", ["mp4", "mov", "m4v"])
def test_a_file_without_its_index_is_refused(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", flat(12), "mpeg4", "yuv420p")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(InputError, match=rf"a.{suffix} is an MP4 or MOV file without its index \(moov\), as it is cut off"):
        open_one(path)


def test_frames_that_a_trimmed_video_hides_are_not_missing(tmp_path):
    """Cut between key frames, 5 of its 20 frames are only there to decode the others from."""
    try:
        write(tmp_path / "whole.mp4", flat(20), "libx264", "yuv420p")
    except av.error.FFmpegError as error:
        pytest.skip(f"this PyAV does not write H.264: {error}")
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(tmp_path / "a.mp4"), "w", options=options) as trimmed:
        source = whole.streams.video[0]
        stream = trimmed.add_stream_from_template(source)
        for packet in whole.demux(source):
            if packet.dts is not None:
                packet.pts -= int(0.5 / source.time_base)
                packet.dts -= int(0.5 / source.time_base)
                packet.stream = stream
                trimmed.mux(packet)
    sequence = open_one(tmp_path / "a.mp4")
    assert sequence.frames == 15
    assert np.abs(read(sequence).astype(int) - flat(20)[5:, ..., :1]).max() <= 3


def test_more_frames_than_declared_are_an_error(tmp_path, test_data):
    content = bytearray((test_data / "kth_openstl_clips" / "test_example.avi").read_bytes())
    for header, offset in ((b"avih", 24), (b"strh", 40)):
        place = content.index(header) + offset
        assert int.from_bytes(content[place : place + 4], "little") == 75
        content[place : place + 4] = (20).to_bytes(4, "little")
    (tmp_path / "short.avi").write_bytes(content)
    sequence = open_one(tmp_path / "short.avi", channels="grey")
    if sequence.frames == 75:
        pytest.skip("this FFmpeg counts the index of an AVI")
    with pytest.raises(InputError, match="short.avi has more frames than the 20 that its container declares; write it anew"):
        read(sequence)


def test_a_size_that_changes_is_an_error(tmp_path):
    """Two streams of MJPEG, one after the other, as a camera that is switched over writes them."""
    parts = []
    for side in (16, 32):
        codec = av.CodecContext.create("mjpeg", "w")
        codec.height = codec.width = side
        codec.pix_fmt, codec.time_base = "yuvj420p", fractions.Fraction(1, 10)
        frame = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
        parts += [bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None))]
    (tmp_path / "a.avi").write_bytes(b"".join(parts))
    sequence = open_one(tmp_path / "a.avi", channels="grey")
    with pytest.raises(InputError, match="a.avi, frame 1 has 32 x 32 pixels, the first frame 16 x 16"):
        read(sequence)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"junk" * 200, "is damaged, or not what its name says"), (b"<html>no</html>", "is an HTML page")],
)
def test_what_is_no_video_is_named(tmp_path, content, message):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=f"a.mp4 {message}"):
        open_one(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match="a.mkv holds no video stream"):
        open_one(tmp_path / "a.mkv")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.mp4 needs the package av: pip install av .or the extra .video.."):
        open_one(tmp_path / "a.mp4")


def test_kth(test_data):
    sequences = open_sequences(test_data / "kth_openstl_clips", ReadOptions())
    names = ["test_example", "train_example1", "train_example2", "val_example1", "val_example2"]
    assert [s.name for s in sequences] == [f"{name}.avi" for name in names]
    assert {(s.frames, s.shape, s.step) for s in sequences} == {(75, (32, 32, 1), "40 ms")}  # SOURCE.txt
    assert all(len(read(s)) == 75 for s in sequences)


@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
@pytest.mark.parametrize("channels", [1, 3])
def test_written_videos_look_like_their_frames(tmp_path, size, channels):
    smooth = np.add.outer(np.linspace(0, 120, size[0]), np.linspace(0, 100, size[1]))
    frames = np.stack([smooth + 5 * time for time in range(6)])[..., None].repeat(channels, -1).astype(np.float32)
    path = outputs.write(tmp_path / "a.mp4", frames, outputs.output_spec(frames, frame_rate=25.0))
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == 25
        found = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert found.shape == (6, *size, 3)
    assert np.abs(found - frames).max() <= 6
    (sequence,) = open_sequences(path, ReadOptions(channels="grey"))  # our own reader finds them as well
    grey = np.concatenate(list(sequence.blocks()))
    assert np.abs(grey - frames[..., :1]).mean() < 3
