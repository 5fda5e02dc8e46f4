"""Files that follow each other in time are one sequence on one grid, and several on several grids."""

import os

import netCDF4
import numpy as np
import pytest

from tests.data.formats.frame_files import open_all, open_one
from tests.data.formats.test_joined_files import FRAMES, write_netcdf


@pytest.mark.parametrize(("longitudes", "sequences"), [((0, 0), 1), ((0, 90), 2)])
def test_files_of_two_places_are_two_sequences(tmp_path, longitudes, sequences):
    for place, (name, west) in enumerate(zip(("north", "south"), longitudes, strict=True)):
        write_netcdf(tmp_path / f"{name}.nc", np.arange(6 * place, 6 * place + 6), "hours since 2020-01-01")
        with netCDF4.Dataset(tmp_path / f"{name}.nc", "r+") as file:
            file.createVariable("x", "f4", ("x",))[:] = west + np.arange(5)
    assert len(open_all(tmp_path)) == sequences


@pytest.mark.parametrize("rows", [np.arange(6.0)[::-1], np.arange(6.0) + 5], ids=["reversed", "shifted"])
def test_files_on_different_grids_stay_apart_with_a_remark(tmp_path, rows):
    for number in range(3):
        write_netcdf(tmp_path / f"{number}.nc", np.arange(10) + 10 * number, "hours since 2020-01-01", frames=FRAMES[:10])
        with netCDF4.Dataset(tmp_path / f"{number}.nc", "a") as file:
            file.createVariable("y", "f8", ("y",))[:] = np.arange(6) if number < 2 else rows
    first, second = open_all(tmp_path)
    assert (first.frames, second.frames) == (20, 10)
    assert (
        "2 files are not joined to one sequence: the coordinate 'y' of 2.nc#rain differs from that of 0..1.nc#rain; bring them "
        "to one grid"
    ) in first.remarks


def test_a_grid_that_differs_by_rounding_is_the_same(tmp_path):
    for number, dtype in enumerate(("f4", "f8")):
        write_netcdf(tmp_path / f"{number}.nc", [number], "hours since 2020-01-01", frames=FRAMES[:1])
        with netCDF4.Dataset(tmp_path / f"{number}.nc", "a") as file:
            file.createVariable("y", dtype, ("y",))[:] = 47.1 + np.arange(6) / 3
    assert open_one(tmp_path).frames == 2


@pytest.mark.parametrize("pixels", [False, True], ids=["rows and columns", "pixels"])
def test_each_file_of_one_grid_is_opened_once(tmp_path, monkeypatch, pixels):
    rows, columns = np.meshgrid(np.linspace(47, 48, 6), np.linspace(5, 6, 5), indexing="ij")
    for number in range(5):
        write_netcdf(tmp_path / f"{number}.nc", [number], "hours since 2020-01-01", frames=FRAMES[[number]])
        with netCDF4.Dataset(tmp_path / f"{number}.nc", "a") as file:
            if pixels:
                file["rain"].coordinates = "lat lon"
                file.createVariable("lat", "f8", ("y", "x"))[:] = rows + (number == 4)
                file.createVariable("lon", "f8", ("y", "x"))[:] = columns
            else:
                file.createVariable("y", "f8", ("y",))[:] = rows[:, 0] + (number == 4)
                file.createVariable("x", "f8", ("x",))[:] = columns[0]
    opened: list[str] = []
    dataset = netCDF4.Dataset
    monkeypatch.setattr(netCDF4, "Dataset", lambda path: opened.append(os.path.basename(path)) or dataset(path))
    assert [sequence.frames for sequence in open_all(tmp_path)] == [4, 1]
    assert [opened.count(f"{number}.nc") for number in (1, 2)] == [1, 1]
