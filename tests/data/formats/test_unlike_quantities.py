"""Files of one variable in several units, and of several variables."""

import netCDF4
import numpy as np
import pytest

from stlight_jax import InputError
from tests.data.formats.frame_files import open_all
from tests.data.formats.test_joined_files import FRAMES, write_netcdf


def quantity(path, name, units, first=0, **attributes):
    write_netcdf(path, np.arange(first, first + 3), "hours since 2020-01-01", frames=FRAMES[:3])
    with netCDF4.Dataset(path, "a") as file:
        if name != "rain":
            file.renameVariable("rain", name)
        file[name].setncatts({"units": units, **attributes})


def test_spellings_of_one_unit_are_the_same(tmp_path):
    for number, units in enumerate(("mm/h", "mm h-1", "mm hr**-1")):
        quantity(tmp_path / f"{number}.nc", "rain", units, 3 * number)
    assert all("variables" not in remark for sequence in open_all(tmp_path) for remark in sequence.remarks)


def test_kelvin_beside_degrees_is_refused(tmp_path):
    quantity(tmp_path / "a.nc", "tas", "degC")
    quantity(tmp_path / "b.nc", "tas", "Kelvin")
    with pytest.raises(InputError, match="^b.nc#tas has units 'Kelvin', a.nc#tas 'degC'; expected one unit"):
        open_all(tmp_path)


def test_two_variables_get_a_remark(tmp_path):
    quantity(tmp_path / "pr.nc", "pr", "mm")
    quantity(tmp_path / "tas.nc", "tas", "K")
    first, _ = open_all(tmp_path)
    assert "pr.nc#pr (mm) and tas.nc#tas (K) are different variables; one network sees both; " in first.remarks[0]
