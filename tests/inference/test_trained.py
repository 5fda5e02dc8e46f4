"""Trained networks from workdirs, checkpoints and files, and what can be wrong with them."""

import dataclasses
import io
import json
import tracemalloc
import zipfile

import jax
import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.inference import trained
from stlight_jax.model.count import count
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.training import loop

pytestmark = pytest.mark.compiled_fast


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps with a moving average, one checkpoint each."""
    from tests.conftest import small_config

    config = small_config()
    config.train.update(epochs=1, checkpoint_every=1, keep_checkpoints=3, ema_decay=0.5)
    workdir = tmp_path_factory.mktemp("run")
    loop.train(config, workdir)
    return workdir


def assert_same_weights(a, b):
    for x, y in zip(jax.tree.leaves(a.variables), jax.tree.leaves(b.variables), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_workdir_and_a_checkpoint_give_what_predicts(run):
    best = trained.load(run)
    assert best.description["averaged"]
    assert best.description["step"] == checkpoint.choose_step(run / "checkpoints", "best")
    assert best.scaling.dtype == "uint8"
    last = trained.load(run, "last")
    assert_same_weights(last, trained.load(run / "checkpoints" / "3"))
    assert_same_weights(last, trained.load(run, "3"))
    with pytest.raises(AssertionError):
        assert_same_weights(last, trained.load(run, "1"))
    with pytest.raises(InputError, match="--checkpoint=7: expected best, last or one of 1, 2, 3"):
        trained.load(run, "7")


def test_loading_chooses_what_activations_are_computed_in(grey, tmp_path):
    trained.write(tmp_path / "a.stlight", grey)
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 12), np.uint8)
    wide, narrow = (Forecaster.load(tmp_path / "a.stlight", compute_dtype=dtype) for dtype in (None, "bfloat16"))
    error = np.abs(narrow(frames, dtype="float32") - wide(frames, dtype="float32")).max() / 255
    assert 2**-10 < error < 0.05 * np.abs(wide(frames, dtype="float32")).max() / 255  # bfloat16 has eight bits
    for forecaster, rounded in ((wide, False), (narrow, True)):
        shape = jax.ShapeDtypeStruct((1, 3, 8, 12, 1), np.float32)
        program = forecaster._programs._function.lower(forecaster._programs._variables, shape).as_text()
        assert ("xbf16>" in program) == rounded
    assert Forecaster.load(tmp_path / "a.stlight", compute_dtype="float32").model == grey.config


def test_a_file_is_what_was_written(run, tmp_path):
    model = trained.load(run)
    trained.write(tmp_path / "a.stlight", model)
    read = trained.load(tmp_path / "a.stlight")
    assert_same_weights(model, read)
    assert (read.config, read.description) == (model.config, json.loads(json.dumps(model.description)))
    trained.write(tmp_path / "b.stlight", read)
    assert (tmp_path / "a.stlight").read_bytes() == (tmp_path / "b.stlight").read_bytes()


def test_weights_from_elsewhere_bring_their_value_range(grey):
    without = dataclasses.replace(grey, description={"value_range": {"stored": [0, 1000], "network": [0, 1]}})
    assert (without.scaling.low, without.scaling.high) == ((0.0,), (1000.0,))
    assert dataclasses.replace(grey, description={}).scaling.high == (255.0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: of["config"]["model"].update(heads=3),
            "/7: the config has an unknown key, model.heads; was it written by another",
        ),
        (lambda of: of["config"]["model"].pop("depth"), "/7: the config lacks model.depth; was it written by another version"),
        (lambda of: of["config"]["model"].update(depth=5), r"/7 does not fit .* should be \[1, 96\], it is \[2, 96\]"),
        (lambda of: of["scaling"].update(slope=3), r"its scaling has unknown keys \(slope\)"),
        (lambda of: of.clear(), "/7 was not written by this package, or by an unknown version"),
    ],
)
def test_checkpoints_of_other_versions_are_refused_in_one_line(tmp_path, change, message):
    tiny = trained.load("tiny")
    change(tiny.description)
    checkpoint_writer.save_variables(tmp_path / "checkpoints", 7, jax.device_put(tiny.variables), tiny.description)
    with pytest.raises(InputError, match=message) as error:
        Forecaster.load(tmp_path / "checkpoints" / "7")
    assert "\n" not in str(error.value)


def rewritten(path, change):
    """The archive with its parts changed, checksums as they were."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts = change(parts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in parts.items():
            file.writestr(name, part)


def with_description(parts, **changes):
    return {**parts, "model.json": json.dumps({**json.loads(parts["model.json"]), **changes})}


def other_weights(parts):
    content = io.BytesIO()
    np.savez(content, something=np.zeros(3))
    return {**parts, "weights.npz": content.getvalue()}


def large_weights(parts):
    """Zeros, which a few kilobytes hold."""
    content = io.BytesIO()
    np.savez_compressed(content, zeros=np.zeros(2**22))
    return with_description({**parts, "weights.npz": content.getvalue()}, sha256={})


def absurd_header(parts):
    """An array that says that it has 10**15 values."""
    header, content = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("params.npy", header.getvalue() + bytes(16))
    return with_description({**parts, "weights.npz": content.getvalue()}, sha256={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda parts: with_description(parts, format=9),
            "has format 9, written by stlight_jax .*; this is .*, which reads format 1",
        ),
        (lambda parts: with_description(parts, model={"hidden_dim": 8, "heads": 3}), r"unknown model keys \(heads\)"),
        (other_weights, "the checksum of its weights.npz differs"),
        (lambda parts: with_description(other_weights(parts), sha256={}), "damaged: .* should be .*, it is nothing"),
        (lambda parts: {"weights.npz": parts["weights.npz"]}, "damaged, or no .stlight file: it has no .*model.json"),
        (lambda parts: {**parts, "run.sh": b"echo"}, "holds 'run.sh', which does not belong"),
        (large_weights, r"its weights.npz would unpack to 33,554,432 bytes, more than [\d,]+"),
        (lambda parts: {**parts, "weights.npz": bytes(32 * 2**20)}, "its weights.npz would unpack to 33,554,432 bytes, more"),
        (absurd_header, r"is damaged: params.npy declares float32 \[1000000000000000\], has another size"),
        (lambda parts: {**parts, "program.bin": b"x"}, "it has no 'created'"),
        (
            lambda parts: {**parts, "model.json": b"\0" * (65 * 2**20)},
            "its model.json would unpack to 68,157,440 bytes, more than",
        ),
        (lambda parts: {**parts, "model.json": b"{"}, "damaged, or no .stlight file: JSONDecodeError"),
        (
            lambda parts: with_description(parts, model={**json.loads(parts["model.json"])["model"], "dtype": "half"}),
            "stlight: model.dtype",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_line(grey, tmp_path, change, message):
    path = tmp_path / "model.stlight"
    trained.write(path, grey)
    rewritten(path, change)
    with pytest.raises(InputError, match=message) as error:
        trained.load(path)
    assert "\n" not in str(error.value)


def test_a_file_that_holds_more_than_it_says_is_not_unpacked(grey, tmp_path):
    """The declared sizes of a zip archive are lies that anyone can write."""
    path = tmp_path / "model.stlight"
    trained.write(path, grey)
    rewritten(path, lambda parts: {**parts, "model.json": b" " * (64 * 2**20)})
    content = path.read_bytes().replace((64 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged, or no .stlight file"):
        trained.load(path)


def test_weights_are_not_unpacked_before_their_headers_are_those_of_the_network(grey, tmp_path):
    """A description may ask for as much as it likes: 32 MiB of zeros, in a file of a few kilobytes."""
    path = tmp_path / "model.stlight"
    trained.write(path, grey)

    def zeros(parts):
        content = io.BytesIO()
        np.savez_compressed(content, zeros=np.zeros(2**22))
        model = json.loads(parts["model.json"])["model"] | {"hidden_dim": 4000}
        return with_description({**parts, "weights.npz": content.getvalue()}, sha256={}, model=model)

    rewritten(path, zeros)
    assert path.stat().st_size < 10_000
    refused = pytest.raises(InputError, match="damaged: .* should be .*, it is nothing")
    with refused:  # modules are imported, and the shapes of the network traced
        trained.load(path)
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            trained.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22


def test_weights_that_the_machine_cannot_hold_are_refused(grey, tmp_path, monkeypatch):
    trained.write(tmp_path / "model.stlight", grey)
    monkeypatch.setattr(trained, "memory_available", lambda: 10_000)
    with pytest.raises(InputError, match=r"its weights.npz would unpack to [\d,]+ bytes, more than this machine can hold"):
        trained.load(tmp_path / "model.stlight")


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_file_that_is_cut_off_is_refused(grey, tmp_path, cut):
    path = tmp_path / "model.stlight"
    trained.write(path, grey)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="is damaged, or no .stlight file: BadZipFile"):
        trained.load(path)


def test_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("")
    for path, message in (
        (tmp_path / "nothing", "there is no such folder or file"),
        ("tinny", "there is no such folder or file, or the name of a shipped network"),
        (tmp_path / "nothing.stlight", "there is no such file"),
        (tmp_path / "text.txt", "is a file; expected a workdir, the folder of a checkpoint, or a file that ends in .stlight"),
        (tmp_path, "no checkpoint here"),
    ):
        with pytest.raises(InputError, match=message):
            Forecaster.load(path)


def test_what_holds_one_checkpoint_has_no_other(grey, tmp_path):
    trained.write(tmp_path / "a.stlight", grey)
    for name in ("tiny", tmp_path / "a.stlight"):
        with pytest.raises(InputError, match="holds one checkpoint; 'last' cannot be chosen from it"):
            trained.load(name, "last")


def test_a_file_that_cannot_be_written_leaves_nothing(grey, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"):
        trained.write(tmp_path / "file" / "model.stlight", grey)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("shortcut", "seen"), [("none", "frames"), ("flow", "frames_and_flow"), ("flow_linear", "frames_and_flow")]
)
def test_no_network_has_more_weights_than_a_file_may_have(shortcut, seen):
    """With few input frames and a wide encoder, most weights are those for the flow; in float64 none may be refused."""
    config = STLightConfig(
        in_frames=2, out_frames=20, in_channels=1, out_channels=1, hidden_dim=256, depth=2, patch_size=8, overlap=3,
        shortcut=shortcut, input=seen,
    )  # fmt: skip
    size = 8 * count(config, 8, 8).total.parameters
    assert size <= trained._max_weight_bytes(config) < 2 * size + 2**21
