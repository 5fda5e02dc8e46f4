"""Files of predictions appear whole or not at all, and replace nothing else."""

import dataclasses
import errno
import pathlib

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.output_files import check_output, open_output
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.times import parse_times
from tests.data.formats.outputs import output_spec, random_frames, write


@pytest.mark.parametrize("kind", ["mp4", "gif", "npy", "npz", "h5", "nc", "folder"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_nothing_and_keeps_what_was_there(tmp_path, kind, error):
    path = tmp_path / ("a" if kind == "folder" else f"a.{kind}")
    path.write_text("before")
    frames = random_frames((4, 16, 16, 1))

    def stop_on_the_way():
        with open_output(path, registry.output_format_of(path.suffix), output_spec(frames)) as take:
            take(frames[:2])
            raise error

    with pytest.raises(error):
        stop_on_the_way()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def folder_of_before(tmp_path):
    path = tmp_path / "a"
    frames = random_frames((1, 16, 16, 1))
    return write(path, frames, output_spec(frames, frame_numbers=np.array([3])), blocks=1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("the disk is full")])
def test_a_folder_stays_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, error):
    path, frames = folder_of_before(tmp_path), random_frames((4, 16, 16, 1))

    def fail(self, target):
        raise error

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else InputError):
        write(path, frames, output_spec(frames))
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert [item.name for item in path.glob("*.png")] == ["00003.png"]


def test_a_folder_stays_if_it_cannot_be_moved_aside(tmp_path, monkeypatch):
    path, frames = folder_of_before(tmp_path), random_frames((4, 16, 16, 1))

    def fail(self, target):
        raise PermissionError("not yours")

    monkeypatch.setattr(pathlib.Path, "rename", fail)
    with pytest.raises(InputError, match="a could not be written: not yours"):
        write(path, frames, output_spec(frames))
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert [item.name for item in path.glob("*.png")] == ["00003.png"]


def test_a_finished_folder_takes_the_place_of_another(tmp_path):
    path, frames = folder_of_before(tmp_path), random_frames((4, 16, 16, 1))
    write(path, frames, output_spec(frames, frame_numbers=7 + np.arange(4)))
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert sorted(item.name for item in path.glob("*.png")) == ["00007.png", "00008.png", "00009.png", "00010.png"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_has_got_another_file_stays(tmp_path, replaced):
    path, frames = folder_of_before(tmp_path) if replaced else tmp_path / "a", random_frames((4, 16, 16, 1))

    def write_while_a_file_comes():
        with open_output(path, registry.output_format("pictures"), output_spec(frames)) as take:
            take(frames)
            path.mkdir(exist_ok=True)
            (path / "mine.txt").write_text("precious")

    with pytest.raises(
        InputError, match=r"a is a folder that contains mine.txt, which this program did not write; it was not replaced"
    ):
        write_while_a_file_comes()
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    assert (path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("links", [True, False])  # not every file system has hard ones
@pytest.mark.parametrize("kind", ["npy", "gif", "folder"])
def test_of_two_that_write_to_one_place_at_once_the_first_stays(tmp_path, monkeypatch, kind, links):
    path, frames = tmp_path / ("a" if kind == "folder" else f"a.{kind}"), random_frames((4, 16, 16, 1))

    def opened():
        return open_output(path, registry.output_format_of(path.suffix), output_spec(frames), replace=False)

    def write_both():
        with opened() as second:
            second(frames[::-1])
            with opened() as first:
                first(frames)
            found.extend(contents())
            monkeypatch.setattr("os.path.lexists", lambda _: False)  # as it was just before

    def contents():
        return [item.read_bytes() for item in ([path] if path.is_file() else sorted(path.iterdir()))]

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    found = []
    if not links:
        monkeypatch.setattr("os.link", refuse)
    with pytest.raises(InputError, match="was created by another process during this run|could not be written"):
        write_both()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert contents() == found != []


def test_too_few_frames_are_no_file(tmp_path):
    frames = random_frames((4, 16, 16, 1))
    with pytest.raises(InputError, match="expected 4 frames, got 2; nothing was written"):
        write(tmp_path / "a.npy", frames[:2], output_spec(frames))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_to_is_named(tmp_path):
    frames = random_frames((4, 16, 16, 1))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/a.npy could not be written"):
        write(tmp_path / "file" / "a.npy", frames, output_spec(frames))


def test_a_gif_or_a_video_of_two_channels_is_refused(tmp_path):
    frames = random_frames((2, 8, 8, 2))
    for kind in ("mp4", "gif", "pictures"):
        message = r"frames have 2 channels, a (video|GIF|folder of pictures) holds 1 or 3; write .npy, .npz, .h5, .nc"
        with pytest.raises(InputError, match=message):
            check_output(registry.output_format(kind), output_spec(frames), tmp_path / "a")


@pytest.mark.parametrize("name", ["mp4", "gif", "pictures", "npy", "npz", "h5", "nc"])
def test_arrays_keep_names_times_and_missing_values_where_the_format_can(tmp_path, name):
    file_format, frames = registry.output_format(name), random_frames((3, 16, 16, 1))
    for package in file_format.packages + file_format.reader_packages:
        pytest.importorskip(package)
    frames[0, 0, 0] = np.nan
    times = parse_times(np.datetime64("2020-02-28T22") + np.arange(3), "time", "a.npz")
    path = tmp_path / f"a{file_format.output_ending}"
    write(path, frames, output_spec(frames, np.float32, "thw", times=times), blocks=1)
    (sequence,) = open_sequences(path, ReadOptions())
    assert (sequence.times is not None) == (name in ("npz", "h5", "nc"))
    assert sequence.name.endswith("#rain") == (name in ("npz", "h5", "nc"))
    assert np.isnan(next(sequence.blocks())[0, 0, 0]).any() == (name in ("gif", "pictures", "npy", "npz", "h5", "nc"))
    if file_format.output_bytes is not None:
        spec = output_spec(np.zeros((40, 64, 64, 1), np.float32), np.float32, "thw")
        content = np.zeros((40, 64, 64, 1), np.float32)
        size = write(tmp_path / f"b{file_format.output_ending}", content, spec).stat().st_size
        assert file_format.output_bytes(spec) <= size < 1.05 * file_format.output_bytes(spec)


def test_an_element_type_that_netcdf_lacks_is_refused(tmp_path):
    frames = random_frames((2, 8, 8, 1))
    with pytest.raises(InputError, match="a.nc: a netCDF file cannot hold float16; write .npy, or give --dtype=float32"):
        check_output(registry.output_format("nc"), output_spec(frames, np.float16), tmp_path / "a.nc")


@pytest.mark.parametrize(("name", "black"), [("a.mp4", 3), ("a.gif", 0), ("a", 0)])
def test_pictures_count_values_that_they_cannot_hold(tmp_path, capsys, name, black):
    frames = np.full((4, 16, 16, 1), 280, np.float32)
    frames[0, 0, :3] = np.nan
    frames[1, 2, :5], frames[3, 3, :2] = 290.1, 269.9
    frames[2] = 290.01  # within half a level of 290
    write(tmp_path / name, frames, output_spec(frames, np.float32, low=(270.0,), high=(290.0,)))
    messages = capsys.readouterr().err
    assert messages.count("7 values are beyond the range of grey levels") == 1
    assert messages.count(f"{black} missing pixels are black") == bool(black)


def test_bytes_that_overshoot_get_no_remark(tmp_path, capsys):
    frames = np.full((4, 16, 16, 1), 256, np.float32)
    write(tmp_path / "a.mp4", frames, output_spec(frames))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("dtype", "low", "count"),
    [
        ("int16", 0.0, 2),  # 32767.4 is rounded to the largest number
        ("uint16", 0.0, 2),
        ("uint8", 0.0, 0),  # bytes of this range are like pictures, whose predictions overshoot
        ("uint8", 10.0, 4),
        ("float32", 0.0, 0),
    ],
)
def test_integers_count_values_that_they_cannot_hold(tmp_path, capsys, dtype, low, count):
    frames = np.full((4, 16, 16, 1), 20, np.float32)
    frames[0, 0, :5, 0] = -40000, -0.6, 32767.4, 32768, np.nan
    frames[3, 1, 0, 0] = 200
    spec = output_spec(frames, dtype, low=(low,), fill=None if dtype == "float32" else 7)
    write(tmp_path / "a.npy", frames, spec)
    message = f"a.npy: {count} values are beyond the limits of the integers"
    assert (message in capsys.readouterr().err) == bool(count)


def test_packed_values_are_counted_in_their_own_limits(tmp_path, capsys):
    """uint8 with a scale of 0.1 and an offset of 270 holds 270.0 to 295.5."""
    netCDF4 = pytest.importorskip("netCDF4")
    source = tmp_path / "a.nc"
    with netCDF4.Dataset(source, "w") as file:
        for name, size in (("t", 4), ("y", 16), ("x", 16)):
            file.createDimension(name, size)
        variable = file.createVariable("rain", "u1", ("t", "y", "x"))
        variable.scale_factor, variable.add_offset = np.float32(0.1), np.float32(270)
        variable[:] = 280
    (sequence,) = open_sequences(source, ReadOptions())
    frames = np.full((4, 16, 16, 1), 280, np.float32)
    frames[0, 0, :3, 0] = 246.7, 269.97, 300
    spec = dataclasses.replace(output_spec(frames, np.float32, low=(270.0,), high=(290.0,)), source=sequence.info)
    write(tmp_path / "b.nc", frames, spec)
    assert "b.nc: 2 values are beyond the limits of the integers" in capsys.readouterr().err
