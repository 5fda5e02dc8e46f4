"""Classic netCDF files that are cut off: the netCDF library would read zeros."""

import netCDF4
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.netcdf3_header import check_length
from stlight_jax.data.formats.types import ReadOptions

KINDS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def written(path, kind, records, odd=False):
    """A file of 8 frames of 5 x 3 int16; a record, of 30 bytes, is padded to 32 if another variable has records."""
    with netCDF4.Dataset(path, "w", format=kind) as data:
        for name, size in (("time", None if records else 8), ("y", 5), ("x", 3)):
            data.createDimension(name, size)
        data.title = "three"
        if odd:
            data.createVariable("flag", "i1", ("time",))[:] = np.ones(8)
        data.createVariable("rain", "i2", ("time", "y", "x"))[:] = np.arange(1, 121).reshape(8, 5, 3)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("records", "odd"), [(False, False), (True, False), (True, True)])
def test_a_file_without_its_last_value_is_cut_off_and_one_without_padding_is_whole(tmp_path, kind, records, odd):
    path = written(tmp_path / "a.nc", kind, records, odd)
    (sequence,) = open_sequences(path, ReadOptions())
    assert np.concatenate([*sequence.blocks()]).max() == 120
    content = path.read_bytes()
    end = content.rindex(bytes([0, 120])) + 2  # of the last value
    path.write_bytes(content[:end])
    check_length(path)
    path.write_bytes(content[: end - 1])
    with pytest.raises(InputError, match=rf"a.nc is cut off or damaged: .* declares {end:,} bytes, the file has {end - 1:,}"):
        open_sequences(path, ReadOptions())


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_promises_a_billion_records_is_refused_at_once(tmp_path, kind):
    path = written(tmp_path / "a.nc", kind, True)
    content, width = bytearray(path.read_bytes()), 8 if kind == KINDS[2] else 4
    content[4 : 4 + width] = (10**9).to_bytes(width, "big")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"declares 30,000,000,\d{3} bytes"):  # 30 bytes a record
        open_sequences(path, ReadOptions())


@pytest.mark.parametrize("length", [3, 4, 7, 20, 60, 100])
def test_a_header_that_ends_too_early_is_damaged(tmp_path, length):
    path = written(tmp_path / "a.nc", KINDS[0], True)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match="damaged"):
        open_sequences(path, ReadOptions())


def test_other_files_are_left_to_their_readers(tmp_path):
    check_length(written(tmp_path / "a.nc", "NETCDF4", True))


def test_a_billion_declared_frames_of_netcdf4_are_refused_at_once(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as data:
        for name, size in (("time", None), ("y", 5), ("x", 3)):
            data.createDimension(name, size)
        data.createVariable("rain", "i2", ("time", "y", "x"), chunksizes=(4, 5, 3))[10**9 - 1] = np.ones((5, 3))
    with pytest.raises(
        InputError, match=r"a.nc#rain has shape \[1000000000, 5, 3\], that is 30,000,000,000 bytes, the file has"
    ):
        open_sequences(tmp_path / "a.nc", ReadOptions())
