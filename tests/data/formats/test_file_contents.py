"""What a file is by its first bytes, whatever its name."""

import shutil
import zipfile

import numpy as np
import pytest

from stlight_jax import InputError
from tests.data.formats.frame_files import FRAMES, open_all, open_one, read_frames


def test_a_zip_archive_named_nc_is_named_with_its_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "era5.nc", "w") as archive:
        for name in ("data_stream-oper_stepType-instant.nc", "data_stream-oper_stepType-accum.nc"):
            archive.writestr(name, b"CDF")
    with pytest.raises(
        InputError,
        match=r"era5.nc is a ZIP archive with 2 files \(data_stream-oper_stepType-instant.nc, data_stream-oper_.*\); unpack it",
    ):
        open_all(tmp_path / "era5.nc")


@pytest.mark.parametrize("ending", ["nc", "h5", "npy", "npz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download or write it again"),
        (b"\x1f\x8b\x08data", "is compressed with gzip; unpack it with gunzip"),
        (b"GRIB\0\0\1\2", "is a GRIB file; convert it with grib_to_netcdf -o OUT.nc FILE, or xarray"),
        (b"\x0e\x03\x13\x01data", "is an HDF4 file; convert it, e.g. with h4toh5"),
        (b"<!DOCTYPE html><html>503", "is an HTML page; it may hold the server's error message; download the data again"),
        (b"\n <html><body>login", "is an HTML page"),
        (b"<?xml version='1.0'?><Error>", "is an XML document; it may hold the server's error message"),
        (b'{"error": "no such request"}', "is JSON text; it may hold the server's error message"),
        (b"%PDF-1.7", "is a PDF document"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a pointer of Git LFS, not the data; run git lfs pull",
        ),
        (bytes(4096), "is filled with zeros at its beginning"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture; rename it to end in .png"),
    ],
)
def test_other_kinds_are_named_whatever_the_ending(tmp_path, ending, content, message):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.{ending} {message}"):
        open_all(path)


def test_netcdf_and_hdf5_are_read_under_each_others_name(tmp_path):
    netCDF4, h5py = pytest.importorskip("netCDF4"), pytest.importorskip("h5py")
    for kind in ("NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA", "NETCDF4"):
        with netCDF4.Dataset(tmp_path / "a.nc", "w", format=kind) as file:
            for name, size in zip(("time", "y", "x"), (6, 8, 7), strict=True):
                file.createDimension(name, size)
            file.createVariable("rain", "f4", ("time", "y", "x"))[:] = FRAMES[..., 0]
        shutil.copy(tmp_path / "a.nc", tmp_path / "b.h5")
        assert np.array_equal(read_frames(open_one(tmp_path / "b.h5")), FRAMES[..., :1])
    with h5py.File(tmp_path / "c.nc", "w") as file:
        file["rain"] = FRAMES[..., 0].astype(np.float32)
    assert np.array_equal(read_frames(open_one(tmp_path / "c.nc")), FRAMES[..., :1])


@pytest.mark.parametrize(
    ("name", "other"), [("a.npz", "an HDF5 file; rename it to end in .h5"), ("a.npy", "an HDF5 file; rename")]
)
def test_arrays_under_another_ending_are_named(tmp_path, name, other):
    with pytest.importorskip("h5py").File(tmp_path / name, "w") as file:
        file["x"] = FRAMES
    with pytest.raises(InputError, match=f"{name} is {other}"):
        open_all(tmp_path / name)
    np.save(tmp_path / "b", FRAMES)
    (tmp_path / "b.npy").rename(tmp_path / "b.h5")
    with pytest.raises(InputError, match="b.h5 is a .npy file of NumPy; rename it to end in .npy"):
        open_all(tmp_path / "b.h5")
