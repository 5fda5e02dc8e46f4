"""Names of output files: the times of the forecasts in place of the input's, and pages that replace no other's page."""

import pathlib

import numpy as np
import pytest

from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.errors import InputError
from tests.forecasting.line import Line, movie, run, saved

MOMENTS = np.datetime64("2026-06-01T23:35", "m") + 5 * np.arange(8)


def one_file_a_time(folder, pattern, kind="npy"):
    """A folder of single frames, with their times in their names."""
    folder.mkdir(parents=True)
    for moment, frame in zip(MOMENTS.tolist(), movie(8)[..., 0], strict=True):
        path = folder / f"{format(moment, pattern)}.{kind}"
        np.save(path, frame) if kind == "npy" else np.savez(path, rain=frame)
    return folder


def written(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("rain_%Y%m%d%H%M", "rain_{}"), ("%Y-%m-%dT%H%M_radar", "{}_radar"), ("rain_%Y-%m-%d_%H_%M_00", "rain_{}"),
        ("v2_%Y%m%dT%H%M%S", "v2_{}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_forecast_from_files_with_times_in_their_names_has_its_own_times_in_its_name(tmp_path, pattern, name, kind):
    source = one_file_a_time(tmp_path / "radar", pattern, kind)
    run(source, out="ahead")
    assert written("ahead") == [name.format("20260602T0015..20260602T0020") + f".{kind}"]
    run(source, Line(out_frames=1), out="one")
    assert written("one") == [name.format("20260602T0015") + f".{kind}"]
    run(source, start=3, out="past")
    assert written("past") == [name.format("20260601T2350..20260601T2355") + f".{kind}"]
    for settings in ({}, {"every": 1}):
        run(source, rolling=True, out=f"all{len(settings)}", kind="npz", **settings)
        assert "20260601T2350.." in written(f"all{len(settings)}")[0]


def test_forecasts_of_several_places_keep_the_names_of_the_places(tmp_path):
    for place in ("north", "south"):
        one_file_a_time(tmp_path / "radar" / place, "rain_%Y%m%d%H%M")
    run(tmp_path / "radar", out="ahead")
    assert written("ahead") == [f"{place}_rain_20260602T0015..20260602T0020.npy" for place in ("north", "south")]


def test_the_name_of_a_file_with_all_its_frames_stays(tmp_path):
    for name in ("event_20260101", "event_20260301"):
        (tmp_path / "events").mkdir(exist_ok=True)
        saved(tmp_path / "events" / f"{name}.npy", movie())
    run(tmp_path / "events", out="ahead")
    assert written("ahead") == ["event_20260101.npy", "event_20260301.npy"]
    assert len(open_sequences("ahead", ReadOptions())) == 2


def test_outputs_of_one_name_and_several_kinds_have_pages_of_their_own(tmp_path):
    source = saved(tmp_path / "a.npy", movie())
    for kind in ("npy", "npz", "h5"):
        run(source, out=f"b.{kind}", report="")
    assert written(".") == ["b.h5", "b.html", "b.npy", "b.npz", "b_h5.html", "b_npz.html"]
    times = {name: pathlib.Path(name).stat().st_mtime_ns for name in written(".")}
    run(source, out="b.npz", report="", overwrite=True)
    assert [name for name in written(".") if pathlib.Path(name).stat().st_mtime_ns != times[name]] == ["b.npz", "b_npz.html"]
    with pytest.raises(InputError, match="b.npy exists; choose another name"):
        run(source, out="b.npy", report="")
