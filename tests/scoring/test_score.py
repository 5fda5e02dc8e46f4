"""Scores of saved arrays: OpenSTL's golden values, for any layout and batch."""

import json

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.scoring import score as score_module
from stlight_jax.scoring.saved_frames import Reading
from stlight_jax.scoring.score import score, score_files
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
        (np.zeros((2, 3, 1, 16, 15), np.float32), r"has shape \[2, 3, 1, 16, 15\]; expected that of .*; bring both to one fra"),
        (np.zeros((1, 3, 1, 16, 16), np.float32), r"trues.npy, \[2, 3, 1, 16, 16\]; give the true frames of the predicted se"),
        (np.zeros((2, 2, 1, 16, 16), np.float32), r"give the true frames of the predicted times only, such as true\[10:20\]"),
        (np.zeros((2, 4, 1, 16, 16), np.float32), "give all true frames of the predicted times, or fewer predictions"),
        (np.zeros((3, 16, 16), np.float32), r"has shape \[3, 16, 16\]; expected \[n, t, c, h, w\]"),
        (np.zeros((2, 3, 1, 16, 16), np.int32), "holds int32; expected floats"),
        (np.full((2, 3, 1, 16, 16), np.nan, np.float32), "sequence 0 holds values that are not finite"),
        (
            np.full((2, 3, 1, 16, 16), 255, np.float32),
            r"holds values from 255 to 255; .* --value_range=LOW,HIGH, such as 255,255",
        ),
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


def test_nothing_to_score_is_refused(saved):
    np.save(saved / "missing.npy", np.full_like(np.load(saved / "trues.npy"), np.nan))
    with pytest.raises(InputError, match="missing.npy: all values are missing; expected true frames"):
        score(saved / "preds.npy", saved / "missing.npy")
    for reading, flag in ((Reading(variable="rain"), "--variable"), (Reading(true_variable="rain"), "--true_variable")):
        with pytest.raises(InputError, match=f"{flag} is 'rain', but .*preds.npy and .*trues.npy have no named arrays"):
            score(saved / "preds.npy", saved / "trues.npy", reading=reading)


def test_a_folder_of_sequences_of_several_lengths_is_refused(tmp_path):
    for frames, name in ((4, "a"), (5, "b")):
        np.save(tmp_path / f"{name}.npy", np.zeros((frames, 16, 16), np.float32))
    with pytest.raises(InputError, match="b.npy holds 5 frames of shape .* a.npy holds 4 frames .* expected sequences of one"):
        score(tmp_path, tmp_path)


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


VALUES = np.random.default_rng(2).gamma(2, 8, (2, 3, 4, 16, 20, 1)).astype(np.float32)  # predictions and truth, in mm


def in_file(path, values, **beside):
    """[n, t, h, w, 1] without channels, in a format of named arrays."""
    frames = values[..., 0]
    if path.suffix == ".npz":
        np.savez(path, rain=frames, **beside)
    elif path.suffix == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            for name, array in {"rain": frames, **beside}.items():
                file[name] = array
    else:
        xarray = pytest.importorskip("xarray")
        hours = {"standard_name": "forecast_period", "units": "hours"}
        coordinates = {"ahead": ("ahead", np.arange(1, 5), hours), "start": np.datetime64("2020-01-01") + np.arange(3)}
        xarray.Dataset({"rain": (("start", "ahead", "y", "x"), frames)}, coordinates).to_netcdf(path)
    return path


@pytest.mark.parametrize("kind", [".npz", ".h5", ".nc"])
def test_values_in_units_are_scored_from_files_of_any_format(tmp_path, kind, capsys):
    ours, theirs = (in_file(tmp_path / f"{name}{kind}", part) for name, part in zip("ab", VALUES, strict=True))
    results = score_files(ours, theirs, json=tmp_path / "c.json", reading=Reading(value_range=(0, 50)))
    error = VALUES[0].astype(np.float64) - VALUES[1]
    np.testing.assert_allclose(results["per_lead_time"]["mse"], np.square(error / 50).sum((2, 3, 4)).mean(0), rtol=1e-5)
    np.testing.assert_allclose(results["in_units"]["per_lead_time"]["mae"], np.abs(error).mean((0, 2, 3, 4)), rtol=1e-5)
    assert results["in_units"]["overall"]["rmse"] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-5)
    assert json.loads((tmp_path / "c.json").read_text())["value_range"] == [0, 50]
    assert f"{np.abs(error[:, 2]).mean():.4g}" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"holds values from .*; expected floats in \[0, 1\] or uint8; give the range"):
        score(ours, theirs)


def test_missing_values_count_nowhere(tmp_path, capsys):
    """By NaN, by a fill value, and by masks; the second true frame of the first sequence is missing as a whole."""
    truth = VALUES[1].copy()
    missing = np.random.default_rng(3).random(truth.shape) < 0.1
    missing[0, 1] = True
    error = np.where(missing, np.nan, VALUES[0].astype(np.float64) - truth)
    squares = np.nansum(np.square(error / 50), (2, 3, 4))
    expected = [squares[:, lead][~missing[:, lead].all((1, 2, 3))].mean() for lead in range(4)]
    in_file(tmp_path / "p.npz", VALUES[0])
    in_file(tmp_path / "nan.npz", np.where(missing, np.nan, truth))
    in_file(tmp_path / "fill.npz", np.where(missing, np.float32(-99), truth))
    in_file(tmp_path / "mask.npz", truth, gone=missing[..., 0])
    in_file(tmp_path / "q.npz", VALUES[0], gone=missing[..., 0])
    in_file(tmp_path / "whole.npz", truth)
    for pair, options in {
        ("p", "nan"): {}, ("p", "fill"): {"fill_value": -99.0}, ("p", "mask"): {"mask": "gone", "variable": "rain"},
        ("q", "whole"): {"mask": "gone", "variable": "rain"},
    }.items():  # fmt: skip
        files = (tmp_path / f"{name}.npz" for name in pair)
        sums = score(*files, reading=Reading(value_range=(0, 50), **options))
        np.testing.assert_allclose(sums.per_lead_time()["mse"], expected, rtol=1e-5)
        np.testing.assert_array_equal(sums.values, (~missing).sum((0, 2, 3, 4)))
    assert f"{missing.sum():,} true values are missing and count nowhere" in capsys.readouterr().err
    with pytest.raises(InputError, match="--mask is 'nowhere', which it does not hold; it holds rain"):
        score(tmp_path / "p.npz", tmp_path / "whole.npz", reading=Reading(mask="nowhere", value_range=(0, 50)))


def test_predictions_that_are_missing_are_counted_in_a_message(tmp_path, capsys):
    predicted = VALUES[0].copy()
    predicted[1, 2, :2] = np.nan
    files = (in_file(tmp_path / "a.npz", predicted), in_file(tmp_path / "b.npz", VALUES[1]))
    score(*files, reading=Reading(value_range=(0, 50)))
    assert "40 values have a truth and no prediction; they count nowhere, too" in capsys.readouterr().err


def test_arrays_are_chosen_by_their_names_and_integers_by_their_range(tmp_path):
    ours, theirs = np.rint(VALUES[..., 0]).astype(np.int32)
    np.savez(tmp_path / "a.npz", preds=ours, trues=theirs, lat=np.arange(16))
    with pytest.raises(InputError, match="a.npz holds several arrays; choose one with --variable: preds, trues"):
        score(tmp_path / "a.npz", tmp_path / "a.npz")
    reading = Reading("preds", "trues", value_range=(10, 60))
    mse = score(tmp_path / "a.npz", tmp_path / "a.npz", reading=reading).overall()["mse"]
    assert mse == pytest.approx(np.square((ours - theirs) / 50).sum((2, 3)).mean(), rel=1e-5)
    with pytest.raises(InputError, match="--value_range=9,3: expected two numbers, the first one less than the second"):
        score(tmp_path / "a.npz", tmp_path / "a.npz", reading=Reading("preds", value_range=(9, 3)))
    with pytest.raises(InputError, match="holds int32; expected floats"):
        score(tmp_path / "a.npz", tmp_path / "a.npz", reading=Reading("preds", "trues"))


@pytest.mark.parametrize("layout", ["auto", "thw"])
def test_a_single_sequence_has_no_axis_of_sequences(tmp_path, layout):
    for name, values in zip("ab", VALUES / 1000, strict=True):
        np.save(tmp_path / f"{name}.npy", values[0, ..., 0])
    sums = score(tmp_path / "a.npy", tmp_path / "b.npy", layout)
    assert (sums.count, len(sums.per_lead_time()["mse"])) == (1, 4)


def test_rolling_forecasts_are_scored_as_the_command_writes_them(tmp_path):
    """Latitudes in columns, two channels: the axes are known by the names of the dimensions."""
    xarray = pytest.importorskip("xarray")
    values = np.random.default_rng(4).random((2, 9, 12, 3, 8, 2)).astype(np.float32)
    dims = ("latitude", "longitude", "start", "lead", "channel")
    for name, part in zip("ab", values, strict=True):
        variable = (dims, part.transpose(1, 0, 2, 3, 4)[:, :, :, :8])
        xarray.Dataset({"rain": variable}, {"start": np.datetime64("2020-01-01") + np.arange(3)}).to_netcdf(
            tmp_path / f"{name}.nc"
        )
    result = run("-m", "stlight_jax", "score", "--pred=a.nc", "--true=b.nc", "--json=c.json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "c.json").read_text())
    error = values[0] - values[1]  # [longitude, latitude, start, lead, channel]
    assert found["sequences"] == 3
    np.testing.assert_allclose(found["per_lead_time"]["mae"], np.abs(error).sum((0, 1, 4)).mean(0), rtol=1e-5)
