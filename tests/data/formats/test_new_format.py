"""A format is one file and one line in the list: it is read, predicted from and written then."""

import contextlib
import json
import pathlib

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.array_slicing import ArraySlicer
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.stored_arrays import StoredArray
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_stored
from tests.forecasting.line import Line, as_integers, movie, run


def read(files, name, options):
    """A list of lists of lists in JSON."""
    (path,) = files
    array = np.array(json.loads(path.read_text()), np.uint8)
    stored = StoredArray("", array.shape, array.dtype, lambda: contextlib.nullcontext(array))
    return ArraySlicer(path, registry.input_format(path.suffix).name, name, stored, options).sequences()


@contextlib.contextmanager
def write(path, spec):
    frames = []
    yield lambda frame, index: frames.append(to_stored(frame, spec).tolist())
    path.write_text(json.dumps(frames))


TOY = FileFormat(
    name="toy",
    title="a .toy file",
    endings=(".toy", ".plaything"),
    reader=read,
    output_endings=(".toy",),
    writer=write,
    limits=OutputLimits(channels=(1,)),
    output_bytes=lambda spec: spec.array_bytes,
)
READ_ONLY = FileFormat(name="relic", title="a .relic file", endings=(".relic",), reader=read)


@pytest.fixture(autouse=True)
def in_the_list(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FORMATS", (*registry.FORMATS, TOY, READ_ONLY))
    monkeypatch.chdir(tmp_path)


def saved(name, frames):
    pathlib.Path(name).write_text(json.dumps(frames[..., 0].tolist()))
    return pathlib.Path(name)


def test_a_new_format_is_found_and_read():
    frames = movie(5)
    saved("a.toy", frames), saved("b.plaything", frames)
    sequences = open_sequences(pathlib.Path.cwd(), ReadOptions())
    assert [sequence.name for sequence in sequences] == ["a.toy", "b.plaything"]
    for sequence in sequences:
        np.testing.assert_array_equal(np.concatenate(list(sequence.blocks())), frames)
    with pytest.raises(InputError, match="data.variable is 'x', but a .toy file has no named arrays"):
        open_sequences("a.toy", ReadOptions(variable="x"))


@pytest.mark.parametrize("name", ["a.toy", "a.plaything"])
def test_a_new_format_is_continued_by_itself(name):
    frames, model = movie(), Line()
    truth = as_integers(model.of(frames[None, -3:], 2))[0, ..., 0]
    assert run(saved(name, frames), model)["output"] == "a_predicted.toy"
    np.testing.assert_array_equal(json.loads(pathlib.Path("a_predicted.toy").read_text()), truth)
    run(saved(name, frames), model, out="b.npy")
    np.testing.assert_array_equal(np.load("b.npy"), truth)
    run(pathlib.Path("b.npy"), Line(in_frames=2), out="c.toy")
    run(pathlib.Path("b.npy"), Line(in_frames=2), kind="toy")
    assert pathlib.Path("b_predicted.toy").read_text() == pathlib.Path("c.toy").read_text()


def test_messages_name_a_new_format(monkeypatch):
    with pytest.raises(InputError, match=r"expected videos .* arrays \(.*\.toy \.plaything \.relic\)"):
        open_sequences(pathlib.Path.cwd(), ReadOptions())
    with pytest.raises(InputError, match=r"--kind=doc: choose one of mp4, .*, toy$"):
        run(saved("a.toy", movie()), kind="doc")
    with pytest.raises(InputError, match=r"choose one of \.mp4, .*, \.toy, or a folder"):
        run(pathlib.Path("a.toy"), out="b.doc")
    two = np.save("two.npy", movie(channels=2)) or pathlib.Path("two.npy")
    with pytest.raises(InputError, match=r"b.toy: frames have 2 channels, a .toy file holds 1; write .npy, .npz, .h5, .nc"):
        run(two, Line(in_channels=2, out_channels=2), out="b.toy")


def test_a_format_that_is_only_read_is_continued_by_npy():
    frames, model = movie(), Line()
    source = saved("a.relic", frames)
    assert run(source, model)["output"] == "a_predicted.npy"
    np.testing.assert_array_equal(np.load("a_predicted.npy"), as_integers(model.of(frames[None, -3:], 2))[0, ..., 0])
    with pytest.raises(InputError, match="--out=b.relic: no format ends in .relic"):
        run(source, out="b.relic")
    with pytest.raises(InputError, match="--kind=relic: choose one of"):
        run(source, kind="relic")


def test_a_folder_can_be_one_file(monkeypatch):
    def read_folder(files, name, options):
        return read([files[0] / "content"], name, options)

    boxes = FileFormat(name="box", title="a box", folder_endings=(".box",), folder_markers=("content",), reader=read_folder)
    monkeypatch.setattr(registry, "FORMATS", (boxes, TOY))
    frames = movie(5)
    for folder in ("a.box", "b", "c/d.BOX"):
        pathlib.Path(folder).mkdir(parents=True)
        saved(f"{folder}/content", frames)
        saved(f"{folder}/other.toy", frames)
    saved("c/e.toy", frames)
    monkeypatch.setattr(registry, "input_format", lambda ending: boxes if ending == "" else TOY)
    assert [sequence.name for sequence in open_sequences(pathlib.Path.cwd(), ReadOptions())] == [
        "a.box",
        "b",
        "c/d.BOX",
        "c/e.toy",
    ]
    for folder in ("a.box", "b"):
        assert [sequence.name for sequence in open_sequences(folder, ReadOptions())] == [folder]
