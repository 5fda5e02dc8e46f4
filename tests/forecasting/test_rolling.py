"""`stlight predict`: right along long sequences, across gaps, in little memory."""

import pathlib
import tracemalloc

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats import types
from stlight_jax.forecasting import forecast_run
from tests.forecasting.line import RNG, Line, as_integers, movie, run, saved


def test_rolling_equals_calling_the_forecaster_window_by_window(tmp_path):
    frames = movie(30, dtype=np.float32)
    frames += RNG.normal(0, 5, frames.shape).astype(np.float32)
    source = saved(tmp_path / "a.npy", frames)
    model = Line()
    joined = run(source, model, rolling=True, horizon=4, out="joined.npy")
    truth = np.concatenate([model.of(frames[None, s - 3 : s], 4)[0] for s in range(3, 30, 4)])[: 30 - 3]
    np.testing.assert_allclose(np.load("joined.npy"), truth[..., 0], rtol=1e-5)
    assert joined["windows"] == 7
    squares = np.square((truth - frames[3:]) / 255).sum((1, 2, 3))
    per_lead = [squares[lead::4].mean() for lead in range(4)]  # the last window has three true frames
    np.testing.assert_allclose(joined["per_lead_time"]["stlight"]["mse"], per_lead, rtol=1e-4)
    assert joined["overall"]["stlight"]["mse"] == pytest.approx(squares.mean(), rel=1e-4)

    run(source, model, rolling=True, horizon=4, every=3, start=5, out="apart.npz")
    starts = list(range(5, 30, 3))
    truth = np.stack([model.of(frames[None, s - 3 : s], 4)[0] for s in starts])
    found = np.load("apart.npz")
    np.testing.assert_allclose(found["frames"], truth[..., 0], rtol=1e-5)
    assert found["start"].tolist() == starts
    assert {shape[0] for shape in model.calls} <= {7, 8}  # one program for each run


def hourly(frames, units="hours since 2020-02-28T14:00:00"):
    xarray = pytest.importorskip("xarray")
    rain = (("time", "y", "x"), movie(frames, dtype=np.float32)[..., 0], {"coordinates": "age lat"})
    data = xarray.Dataset({"rain": rain}, {"age": ("time", np.arange(frames)), "lat": (("y", "x"), np.ones((8, 10)))})
    return data.assign_coords(time=("time", np.arange(frames), {"units": units, "calendar": "standard"}))


@pytest.mark.parametrize("kind", ["nc", "zarr", "h5"])
def test_rolling_forecasts_have_reference_lead_and_valid_times_by_the_cf_conventions(tmp_path, kind):
    xarray = pytest.importorskip("xarray")
    hourly(12).to_netcdf(tmp_path / "a.nc")
    run(tmp_path / "a.nc", rolling=True, every=1, out=f"b.{kind}")
    options = {"consolidated": False, "engine": "zarr"} if kind == "zarr" else {}
    with xarray.open_dataset(f"b.{kind}", decode_timedelta=True, **options) as found:
        assert found["rain"].dims == ("start", "lead", "y", "x")
        assert found["rain"].shape == (9, 2, 8, 10)
        hours = np.datetime64("2020-02-28T14") + np.arange(14) * np.timedelta64(1, "h")
        assert (found["start"].values == hours[2:11]).all()  # of the last input frames
        assert (found["valid_time"].values == np.stack([hours[3:12], hours[4:13]], 1)).all()
        assert (found["lead"].values == np.array([1, 2], "m8[h]")).all()
        assert (found["valid_time"] == found["start"] + found["lead"]).all()
        assert found["start_frame"].values.tolist() == list(range(3, 12))
        assert {found[name].attrs["standard_name"] for name in ("start", "lead", "valid_time")} == {
            "forecast_reference_time", "forecast_period", "time",
        }  # fmt: skip
        assert {"valid_time", "lat"} <= {*found["rain"].coords}
        assert "age" not in found.variables
        assert "age" not in found["rain"].encoding.get("coordinates", "")
    run(tmp_path / "a.nc", rolling=True, out="c.nc")
    with xarray.open_dataset("c.nc") as found:
        assert (found["time"].values == hours[3:12]).all()
        assert found["rain"].shape == (9, 8, 10)


@pytest.mark.parametrize(
    ("units", "step", "lead"),
    [
        ("days since 2020-01-01", 0.25, ([6, 12], "hours")),
        ("minutes since 2020-01-01", 60, ([60, 120], "minutes")),
        ("seconds since 2020-01-01", 0.5, ([0.5, 1.0], "seconds")),
        ("day as %Y%m%d.%f", 1, ([1, 2], "days")),
        ("s", 5, ([5, 10], "s")),
    ],
)
def test_lead_times_have_the_units_of_the_times_where_these_are_whole(tmp_path, units, step, lead):
    netCDF4 = pytest.importorskip("netCDF4")
    data = hourly(12, units)
    data["time"] = ("time", step * np.arange(12) + (20200101 if "%" in units else 0), data["time"].attrs)
    data.to_netcdf(tmp_path / "a.nc")
    run(tmp_path / "a.nc", rolling=True, every=1, out="b.nc")
    with netCDF4.Dataset("b.nc") as found:
        assert (found["lead"][:].tolist(), found["lead"].units) == lead
        assert found["valid_time"].units == found["start"].units == units


def test_lead_times_in_months_are_numbers_of_frames(tmp_path):
    xarray = pytest.importorskip("xarray")
    data = hourly(12)
    months = (np.datetime64("2020-01") + np.arange(14)).astype("M8[ns]")
    data.assign_coords(time=months[:12]).to_netcdf(tmp_path / "a.nc")
    run(tmp_path / "a.nc", rolling=True, every=1, out="b.nc")
    with xarray.open_dataset("b.nc") as found:
        assert (found["lead"].values.tolist(), found["lead"].attrs["units"]) == ([1, 2], "1")
        assert (found["valid_time"].values[-1] == months[11:13]).all()


def test_rolling_npz_has_dates_and_durations(tmp_path):
    hours = np.datetime64("2020-01-01T00") + np.arange(14)
    run(saved(tmp_path / "a.npz", movie(12), time=hours[:12]), rolling=True, every=3, out="b.npz")
    found = np.load("b.npz")
    assert found["start_frame"].tolist() == [3, 6, 9]
    assert found["start"].tolist() == hours[[2, 5, 8]].tolist()
    assert (found["start"][:, None] + found["lead"] == found["valid_time"]).all()
    assert (found["valid_time"] == hours[[[3, 4], [6, 7], [9, 10]]]).all()


@pytest.mark.parametrize("dims", [("lead", "y", "x"), ("time", "window", "start"), ("time", "lead", "start_frame")])
def test_rolling_netcdf_finds_names_that_are_free(tmp_path, dims):
    xarray = pytest.importorskip("xarray")
    hours = np.datetime64("2020-02-28T14") + np.arange(12) * np.timedelta64(1, "h")
    frames = movie(dtype=np.float32)
    data = xarray.Dataset({"rain": (dims, frames[..., 0])}, {dims[0]: hours, dims[1]: np.arange(8), dims[2]: np.arange(10)})
    data.to_netcdf(tmp_path / "a.nc")
    run(tmp_path / "a.nc", rolling=True, every=1, out="b.nc")
    with xarray.open_dataset("b.nc", decode_timedelta=False) as found:
        truth = np.stack([Line().of(frames[None, s - 3 : s], 2)[0, ..., 0] for s in range(3, 12)])
        np.testing.assert_allclose(found["rain"].values, truth, rtol=1e-5)
        windows, leads, *space = found["rain"].dims
        assert space == list(dims[1:])
        assert found[leads].values.tolist() == [1, 2]
        along = {name: item.values.tolist() for name, item in found.variables.items() if item.dims == (windows,)}
        assert list(range(3, 12)) in along.values()
        assert hours[2:-1].astype("M8[ns]").tolist() in along.values()
        (valid,) = (item.values for item in found.variables.values() if item.dims == (windows, leads))
        assert (valid[:, 0] == hours[3:]).all()
    # What was written goes on in turn, window after window; its lead times are channels.
    run("b.nc", Line(3, 2, 2, 2), out="c.nc", rolling=True, every=1)
    with xarray.open_dataset("c.nc", decode_timedelta=False) as found:
        assert found["rain"].shape == (6, 2, 2, 8, 10)


def test_gaps_in_time_are_an_error_at_the_end_and_left_out_along_the_way(tmp_path):
    frames = movie(20)
    hours = np.datetime64("2020-01-01T00") + np.array([*range(10), *range(12, 22)])
    source = saved(tmp_path / "a.npz", frames, time=hours)
    with pytest.raises(InputError, match=r"they have a jump before frame 10 \(2020-01-01T12\); choose another --start"):
        run(source, start=12)
    steps = saved(tmp_path / "steps.npz", frames, time=np.array([*range(10), *range(200, 210)]))
    with pytest.raises(InputError, match=r"a jump before frame 10 \('time' goes from 9 to 200\); choose another --start"):
        run(steps, start=12)
    results = run(source, rolling=True, out="b.npz")
    found = np.load("b.npz")
    starts = [s for s in range(3, 20, 2) if not s - 3 < 10 < min(s + 2, 20)]
    places = [place for s in starts for place in range(s, min(s + 2, 20))]
    assert results["windows"] == len(starts)
    assert results["windows_left_out_across_gaps"] == 9 - len(starts)
    assert found["time"].tolist() == hours[places].tolist()
    truth = np.concatenate([Line().of(frames[None, s - 3 : s], 2)[0] for s in starts])[: len(places)]
    np.testing.assert_array_equal(found["rain"], as_integers(truth)[..., 0])
    assert run(source, start=12, out="c.npz", reading={"time": "none"})["windows"] == 1
    # Truth ends where time jumps; times go on.
    results = run(source, start=9, horizon=3, out="d.npz")
    assert np.isfinite(results["per_lead_time"]["stlight"]["mse"]).tolist() == [True, False, False]
    assert np.load("d.npz")["time"].tolist() == (hours[9] + np.arange(3)).tolist()


@pytest.mark.parametrize(
    ("hours", "advice"),
    [
        (
            range(20, 0, -1),
            "the frames are in reverse order of time, .*sort them by time, .*; or ignore times with --time=none$",
        ),
        (np.cumsum([1, 2, 4, 8, 16, 32, 64] * 3)[:20], "times are irregular: .*time=none takes the frames for evenly spaced$"),
        ([*range(12), *range(12, 28, 2)], "choose another --start, or .* --time=none; 7 gaps, the longest of 1 step$"),
    ],
)
def test_the_cause_of_a_jump_is_named_with_its_remedy(tmp_path, hours, advice):
    source = saved(tmp_path / "a.npz", movie(20), time=np.datetime64("2020-01-01T00") + np.array(hours))
    with pytest.raises(InputError, match=rf"have a jump before frame 18 \(2020-.*\); {advice}"):
        run(source)


@pytest.mark.parametrize("torn", [0, 1])
def test_a_sequence_without_forecasts_is_named(tmp_path, capsys, torn):
    folder, hours = tmp_path / "many", np.datetime64("2020-01-01T00") + np.arange(12)
    folder.mkdir()
    for number in range(2):
        times = hours + np.arange(12) // 3 * 5 * (number == torn)  # never four frames without a gap
        saved(folder / f"{number}.npz", movie(), time=times)
    results = run(folder, rolling=True, out="b", json="b.json")
    assert [item.name for item in pathlib.Path("b").glob("*.npz")] == [f"{1 - torn}.npz"]
    told = f"no forecast, and no file, of {torn}.npz#rain: no 3 frames, with the frames to predict, are without a gap in time"
    assert told in capsys.readouterr().err
    assert results["sequences_without_forecasts"] == [f"{torn}.npz#rain"]


def test_rolling_along_a_long_file_takes_little_memory(tmp_path, monkeypatch):
    frames = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (10_000, 40, 40))  # 16 MB
    frames[:] = (np.arange(10_000) % 200)[:, None, None]
    frames.flush()
    del frames
    monkeypatch.setattr(types, "BLOCK_BYTES", 2**20)
    monkeypatch.setattr(forecast_run, "_BATCH_BYTES", 2**20)
    source = tmp_path / "a.npy"
    run(source, rolling=True, horizon=50, start=9_900, out="warm.npy")
    tracemalloc.start()
    results = run(source, rolling=True, horizon=50, out="b.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert results["windows"] == 200
    assert np.load("b.npy", mmap_mode="r").shape == (9_997, 40, 40)
    assert peak < 12e6  # the file has 16, its predictions as float32 have 64


def test_a_window_without_any_value_is_missing_and_does_not_end_a_long_run(tmp_path):
    frames = movie(12, dtype=np.float32)
    frames[3:6] = np.nan
    results = run(saved(tmp_path / "a.npy", frames), rolling=True, horizon=3, out="b.npy")
    assert results["windows_without_values"] == 1
    found = np.load("b.npy")
    assert np.isnan(found[3:6]).all()
    assert np.isfinite(found[[0, 1, 2]]).all()
