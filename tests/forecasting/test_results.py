"""`stlight predict`: metrics where there is truth, and pages to look at."""

import html
import json
import os
import pathlib
import re

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.forecasting import predict as predict_module
from stlight_jax.reports.results_text import results_text
from tests.forecasting.line import RNG, Line, movie, run, saved


def test_metrics_are_those_that_numpy_computes(tmp_path, capsys):
    frames = movie(12, dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    frames[10, 3, 4] = np.nan
    scaling = Scaling("float32", (20.0,), (220.0,), missing=True, filling=(0.5,))
    model = Line(scaling=scaling)
    results = run(saved(tmp_path / "a.npy", frames), model, start=-3, horizon=4, json="b.json", out="b.npy")
    prediction = model.of(frames[None, 6:9], 4)[0, :3]  # of the fourth frame nobody knows the truth
    truth = frames[9:].astype(np.float64)
    guesses = {"stlight": prediction, "copy_last_frame": frames[8:9], "mean_of_inputs": frames[6:9].astype(float).mean(0)}
    for name, guess in guesses.items():
        errors = guess - truth
        squares = np.nansum(np.square(errors / 200), axis=(1, 2, 3))
        leads = results["per_lead_time"][name]
        np.testing.assert_allclose(leads["mse"][:3], squares, rtol=1e-4)
        np.testing.assert_allclose(leads["mae"][:3], np.nansum(np.abs(errors / 200), axis=(1, 2, 3)), rtol=1e-4)
        assert np.isnan(leads["mse"][3])
        assert results["overall"][name]["mse"] == pytest.approx(squares.mean(), rel=1e-4)
        units = results["rmse_in_units"][name]
        assert units["overall"] == pytest.approx(np.sqrt(np.nanmean(np.square(errors))), rel=1e-5)
        mae = np.nanmean(np.abs(errors), (1, 2, 3))
        np.testing.assert_allclose(results["in_units"]["per_lead_time"][name]["mae"][:3], mae, rtol=1e-4)
        np.testing.assert_allclose(units["per_lead_time"][:3], np.sqrt(np.nanmean(np.square(errors), (1, 2, 3))), rtol=1e-5)
    shown = capsys.readouterr().out
    assert "copy last frame" in shown
    assert "1 forecast " in shown
    assert f"{results['rmse_in_units']['stlight']['overall']:.4g}" in shown
    written = json.loads((tmp_path / "here" / "b.json").read_text())
    assert written["per_lead_time"]["stlight"]["mse"][3] is None
    missing = np.where(np.isnan(truth), np.nan, 0)
    energies = [
        [np.nansum(np.square(np.diff(of + missing, axis=axis)), (1, 2, 3)) for axis in (1, 2)] for of in (prediction, truth)
    ]
    sharp = np.sum(energies[0], 0) / np.sum(energies[1], 0)
    assert written["sharpness"]["windows"] == 1
    np.testing.assert_allclose(written["sharpness"]["per_lead_time"][:3], sharp, rtol=1e-4)


def test_everything_is_written_before_anything_is_printed(tmp_path, current_folder, monkeypatch):
    def fail(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", fail)
    with pytest.raises(BrokenPipeError):
        run(saved(tmp_path / "a.npy", movie()), start=-3, out="b.npy", report="", json="b.json")
    assert sorted(item.name for item in current_folder.iterdir()) == ["b.html", "b.json", "b.npy"]


@pytest.mark.parametrize("settings", [{"start": -3}, {"rolling": True}, {"truth": "true.npy"}])
def test_frames_too_small_for_ssim_have_the_other_metrics(tmp_path, current_folder, capsys, settings):
    frames = movie(size=(4, 6), dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    saved(current_folder / "true.npy", frames)
    results = run(saved(tmp_path / "a.npy", frames), out="b.npy", report="", json="b.json", **settings)
    assert np.isfinite(np.load("b.npy")).all()
    assert pathlib.Path("b.html").exists()
    shown = capsys.readouterr()
    assert shown.err.count("no SSIM of frames of 4 x 6: it needs at least 7 x 7") == 1
    starts = range(3, 12, 2) if "rolling" in settings else [9 if "start" in settings else 12]
    errors = []
    for start in starts:
        truth = frames[start : start + 2] if start < 12 else frames[:2]
        errors.append(Line().of(frames[None, start - 3 : start], 2)[0, : len(truth)] / 255 - truth / 255)
    errors = np.concatenate(errors)
    overall = results["overall"]["stlight"]
    assert overall["mse"] == pytest.approx(np.square(errors).sum((1, 2, 3)).mean(), rel=1e-4)
    assert overall["mae"] == pytest.approx(np.abs(errors).sum((1, 2, 3)).mean(), rel=1e-4)
    assert overall["psnr"] == pytest.approx(-10 * np.log10(np.square(errors).mean((1, 2, 3))).mean(), rel=1e-4)
    assert np.isnan([overall["ssim"], overall["ssim_unit_range"]]).all()
    assert json.loads(pathlib.Path("b.json").read_text())["overall"]["stlight"]["ssim"] is None
    run(tmp_path / "a.npy", out="c.npy")
    assert "no SSIM" not in capsys.readouterr().err  # there is no truth


def test_a_page_and_the_terminal_say_the_same_of_channels_with_ranges_of_their_own(tmp_path, capsys):
    frames = movie(channels=2, dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    model = Line(in_channels=2, out_channels=2, scaling=Scaling("float32", (0.0, 20.0), (200.0, 220.5)))
    results = run(saved(tmp_path / "a.npy", frames), model, start=-2, out="b.npy", report="")
    assert "rmse_per_value" not in results
    listed = []
    mean = frames[7:10].astype(float).mean(0, keepdims=True)
    guesses = {"STLight": model.of(frames[None, 7:10], 2)[0], "copy last frame": frames[9:10], "mean of the inputs": mean}
    for name, guess in guesses.items():
        each = np.sqrt(np.square(guess - frames[10:].astype(float)).mean((0, 1, 2)))
        listed.append(f"{name} {each[0]:.4g}, {each[1]:.4g}")
    remark = f"RMSE of a single value in each channel's units: {'; '.join(listed)}; optical flow"
    assert remark in results_text(results)
    shown = capsys.readouterr()
    assert remark not in shown.out
    assert "all tables, and their definitions: b.html" in shown.out
    assert "baselines that need training data (climatology, linear fit, ridge per pixel) are in stlight evaluate" in shown.err
    assert remark in html.unescape(pathlib.Path("b.html").read_text())


def test_truth_from_another_file_is_found_by_its_dates(tmp_path, capsys):
    frames = movie(14)
    hours = np.datetime64("2020-01-01T00") + np.arange(14)
    saved(tmp_path / "a.npz", frames[:9], time=hours[:9])
    saved(tmp_path / "b.npz", frames[5:], time=hours[5:])
    saved(tmp_path / "c.npz", frames[11:], time=hours[11:])
    saved(tmp_path / "d.npy", frames[9:])
    by_date = run(tmp_path / "a.npz", truth=str(tmp_path / "b.npz"), out="b.npy")
    saved(tmp_path / "e.npy", frames[:9])
    by_order = run(tmp_path / "e.npy", truth=str(tmp_path / "d.npy"), out="c.npy")
    in_one = run(saved(tmp_path / "f.npy", frames), start=9, out="d.npy")
    assert by_date["per_lead_time"] == by_order["per_lead_time"] == in_one["per_lead_time"]
    told = " ".join(capsys.readouterr().err.split())
    assert "true frames: 2 of b.npz#rain from frame 4 on (by their dates)" in told
    assert "true frames: 2 of d.npy from frame 0 on (from its first frame, because not both have dates)" in told
    with pytest.raises(InputError, match="c.npz#rain has no frame of 2020-01-01T09:00:00, the first one predicted"):
        run(tmp_path / "a.npz", truth=str(tmp_path / "c.npz"), out="e.npy")


def kept_pages(monkeypatch):
    """What pages are made of; they are empty."""
    pages = []

    def keep(path, *content):
        path.touch()
        pages.append((path, *content))

    monkeypatch.setattr(predict_module, "write_forecast_page", keep)
    return pages


def test_clips_for_a_page(tmp_path, monkeypatch):
    frames = movie(40, dtype=np.float32)
    frames += 30 * np.random.default_rng(5).random(frames.shape).astype(np.float32)
    frames[30] += 100
    frames[21:23, 1:] = np.nan  # hardly anything to be wrong in, but that is more wrong than elsewhere
    frames[21:23, 0] += 25
    pages = kept_pages(monkeypatch)
    results = run(saved(tmp_path / "a.npy", frames), rolling=True, out="b.npy", report="")
    ((_, of, shown, *_),) = pages
    assert (tmp_path / "here" / "b.html").is_file()
    assert of is results
    errors, per_value = {}, {}
    for start in range(3, 40, 2):
        truth = frames[start : start + 2]
        guess = Line().of(frames[None, start - 3 : start], 2)[0, : len(truth)]
        errors[start] = (
            np.nansum(np.square((guess - truth) / 255), (1, 2, 3)).sum() / (~np.isnan(guess - truth)).any((1, 2, 3)).sum()
        )
        per_value[start] = np.nanmean(np.square((guess - truth) / 255))
    ordered = sorted(per_value, key=per_value.get)
    assert min(errors, key=errors.get) != ordered[0]
    wanted = {}  # none is shown twice
    for name, start in ("first", 3), ("best", ordered[0]), ("median", ordered[(len(ordered) - 1) // 2]), ("worst", ordered[-1]):
        wanted.setdefault(start, []).append(name)
    titles = [f"{' and '.join(names).capitalize()}: a.npy, frame {start}" for start, names in wanted.items()]
    assert [clip.title for clip in shown] == titles
    for clip in shown:
        start = int(clip.title.rpartition(" ")[2])
        np.testing.assert_allclose(clip.inputs, frames[start - 3 : start] / 255, rtol=1e-5)
        known = frames[start : start + 2] / 255
        np.testing.assert_allclose(clip.truth[: len(known)], known, rtol=1e-5)
        assert np.isnan(clip.truth[len(known) :]).all()
        np.testing.assert_allclose(clip.prediction, Line().of(frames[None, start - 3 : start], 2)[0] / 255, rtol=1e-4)
        said = [float(number) for number in re.fullmatch("MSE (.*), (.*) per value", clip.note).groups()]
        assert said == pytest.approx([errors[start], per_value[start]], rel=6e-3)


def test_the_first_clip_may_be_the_best_too(tmp_path, monkeypatch):
    frames = movie(40, dtype=np.float32)
    frames[5:] += 30 * RNG.random(frames[5:].shape).astype(np.float32)  # only the first forecast can be right
    pages = kept_pages(monkeypatch)
    run(saved(tmp_path / "a.npy", frames), rolling=True, out="b.npy", report="")
    assert [clip.title.partition(":")[0] for clip in pages[0][2]] == ["First and best", "Median", "Worst"]


def test_a_page_shows_forecasts_with_and_without_truth(tmp_path):
    """The last forecast is known in part: what is not known of its truth is missing."""
    source = saved(tmp_path / "a.npy", movie(12))
    run(source, out="b.npy", report="")
    text = pathlib.Path("b.html").read_text()
    assert "a.npy: predicted" in text
    assert ">Metrics<" not in text
    run(source, start=11, out="c.npy", report="c.html")
    text = pathlib.Path("c.html").read_text()
    for heading in ("Metrics", "Forecasts", "Lead time", "Provenance"):
        assert f">{heading}</h2>" in text
    content = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    (clip,) = content["clips"]
    assert [(row["name"], row["of"]) for row in clip["rows"]] == [
        ("input", 3), ("truth", 2), ("prediction", 2), ("difference", 2),
    ]  # fmt: skip


def test_a_page_that_is_there_is_named_by_its_own_option(tmp_path, current_folder):
    source = saved(tmp_path / "a.npy", movie())
    for page in ("b.html", "b_npy.html"):  # the first may be the page of b.nc
        (current_folder / page).write_text("before")
    with pytest.raises(InputError, match="b_npy.html exists; choose another name .--report=NAME., or pass --overwrite"):
        run(source, out="b.npy", report="")
    assert sorted(os.listdir(current_folder)) == ["b.html", "b_npy.html"]
