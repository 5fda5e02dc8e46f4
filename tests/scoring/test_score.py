"""Scores of saved arrays: OpenSTL's golden values, for any layout and batch."""

import json

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.scoring import score as score_module
from stlight_jax.scoring.score import score
from tests.commands import run
from tests.metrics import golden


@pytest.fixture
def saved(tmp_path):
    """A folder as OpenSTL leaves it: [n, t, c, h, w]."""
    predicted, true = golden.frames()
    np.save(tmp_path / "preds.npy", predicted)
    np.save(tmp_path / "trues.npy", true)
    return tmp_path


def assert_golden(overall):
    for name, value in golden.METRICS.items():
        assert overall[name] == pytest.approx(value, rel=2e-6), name


def test_openstls_golden_values_from_its_folder(saved, tmp_path):
    result = run("-m", "stlight_jax", "score", f"--saved={saved}", f"--json={tmp_path}/scores.json")
    assert result.returncode == 0, result.stderr
    for shown in ("2.596", "20.701", "1.611", "20.45", "0.9467", "0.9458"):
        assert shown in result.stdout
    assert_golden(json.loads((tmp_path / "scores.json").read_text())["overall"])


def test_layout_and_batch_make_no_difference(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(score_module, "_BATCH_BYTES", 1)  # one sequence at a time
    for name, change in (("last", lambda x: x.transpose(0, 1, 3, 4, 2)), ("none", lambda x: x[:, :, 0])):
        for kind in ("preds", "trues"):
            np.save(tmp_path / f"{name}_{kind}.npy", change(np.load(saved / f"{kind}.npy")))
        assert_golden(score(tmp_path / f"{name}_preds.npy", tmp_path / f"{name}_trues.npy").overall())


def test_a_filled_up_last_batch_counts_once(saved, tmp_path, monkeypatch):
    for kind in ("preds", "trues"):
        array = np.load(saved / f"{kind}.npy")
        np.save(tmp_path / f"{kind}.npy", np.concatenate([array, array[:1]]))
    monkeypatch.setattr(score_module, "_BATCH_BYTES", 2 * 3 * 16 * 16 * 4)  # two and one
    sums = score(tmp_path / "preds.npy", tmp_path / "trues.npy")
    first = np.load(tmp_path / "preds.npy") - np.load(tmp_path / "trues.npy")
    assert sums.count == 3
    assert sums.overall()["mse"] == pytest.approx(np.square(first).sum((2, 3, 4)).mean(), rel=1e-6)


def test_uint8_is_scaled(tmp_path):
    random = np.random.default_rng(1)
    a, b = random.integers(0, 256, (2, 2, 3, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    expected = np.square(a / 255.0 - b / 255.0).sum((2, 3, 4)).mean()
    assert score(tmp_path / "a.npy", tmp_path / "b.npy").overall()["mse"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 1, 16, 15), np.float32), r"has shape \[2, 3, 1, 16, 15\], .* they must be equal"),
        (np.zeros((3, 16, 16), np.float32), r"has shape \[3, 16, 16\]; expected \[n, t, c, h, w\]"),
        (np.zeros((2, 3, 1, 16, 16), np.int32), "holds int32; expected floats"),
        (np.full((2, 3, 1, 16, 16), np.nan, np.float32), "sequence 0 holds values that are not finite"),
        (np.full((2, 3, 1, 16, 16), 255, np.float32), r"holds values from 255 to 255; expected floats in \[0, 1\]"),
        (np.array({}, object), "expected a whole .npy file with one array, found an array of Python objects"),
    ],
)
def test_unusable_predictions_are_refused(saved, array, message):
    np.save(saved / "bad.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        score(saved / "bad.npy", saved / "trues.npy")


def test_true_frames_in_other_units_are_refused(saved):
    np.save(saved / "normalised.npy", 2 * np.load(saved / "trues.npy") - 1)
    with pytest.raises(InputError, match=r"normalised.npy holds values from -\S+ to \S+; expected floats in \[0, 1\]"):
        score(saved / "preds.npy", saved / "normalised.npy")


def test_unusable_files_are_refused(saved):
    (saved / "cut.npy").write_bytes((saved / "preds.npy").read_bytes()[:500])
    with pytest.raises(InputError, match="cut.npy: expected a whole .npy file"):
        score(saved / "cut.npy", saved / "trues.npy")
    with pytest.raises(InputError, match="gone.npy: .* found no such file"):
        score(saved / "gone.npy", saved / "trues.npy")
    with pytest.raises(InputError, match="--layout=chw: choose one of"):
        score(saved / "preds.npy", saved / "trues.npy", "chw")
    np.save(saved / "small.npy", np.zeros((2, 3, 3, 8, 3), np.float32))
    with pytest.raises(InputError, match="name the axis of its channels with --layout"):
        score(saved / "small.npy", saved / "small.npy")


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda path: path.write_text("not an array"), "a file of another format, without the signature of a .npy file"),
        (lambda path: path.touch(), "an empty file"),
        (
            lambda path: np.save(path, np.array([None]), allow_pickle=True),
            "an array of Python objects; save an array of numbers",
        ),
    ],
)
def test_files_without_numbers_are_named_for_what_they_are(saved, tmp_path, write, found):
    write(tmp_path / "other.npy")
    with pytest.raises(InputError, match=f"other.npy: expected a whole .npy file with one array, found {found}") as raised:
        score(saved / "preds.npy", tmp_path / "other.npy")
    assert "pickle" not in str(raised.value)
