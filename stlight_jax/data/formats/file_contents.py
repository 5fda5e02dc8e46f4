"""What a file is by its first bytes, whatever its name, and how to convert kinds of files that are not read."""

import contextlib
import os
import zipfile
from collections.abc import Iterable

from etils import epath

from stlight_jax.errors import InputError

PICTURES = ("a PNG picture", "a JPEG picture", "a TIFF picture", "a GIF")
_START_BYTES = 512
_MAX_LISTED = 3
_SAVE = "and save the frames with numpy.save"
_GRIB = "convert it with grib_to_netcdf -o OUT.nc FILE, or xarray.open_dataset(FILE, engine='cfgrib').to_netcdf('OUT.nc')"

# First bytes, kind, and what to do with such a file.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "rename it to end in .h5"),
    (b"CDF\x01", "a netCDF-3 file", "rename it to end in .nc"),
    (b"CDF\x02", "a netCDF-3 file", "rename it to end in .nc"),
    (b"CDF\x05", "a netCDF-3 file", "rename it to end in .nc"),
    (b"\x93NUMPY", "a .npy file of NumPy", "rename it to end in .npy"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (b"PK\x05\x06", "a ZIP archive", "unpack it"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it with gunzip"),
    (b"BZh", "compressed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"GRIB", "a GRIB file", _GRIB),
    (b"BUFR", "a BUFR file", "convert it to netCDF"),
    (b"\x0e\x03\x13\x01", "an HDF4 file", "convert it, e.g. with h4toh5 or gdal_translate -of netCDF"),
    (b"%PDF", "a PDF document", "download the data again"),
    (b"version https://git-lfs.github.com", "a pointer of Git LFS, not the data", "run git lfs pull"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", "rename it to end in .png"),
    (b"\xff\xd8\xff", "a JPEG picture", "rename it to end in .jpg"),
    (b"GIF8", "a GIF", "rename it to end in .gif"),
    (b"II*\x00", "a TIFF picture", "rename it to end in .tif"),
    (b"MM\x00*", "a TIFF picture", "rename it to end in .tif"),
    (b"\x80\x02", "a pickle of Python", "save its arrays with numpy.savez"),
    (b"\x80\x03", "a pickle of Python", "save its arrays with numpy.savez"),
    (b"\x80\x04", "a pickle of Python", "save its arrays with numpy.savez"),
    (b"\x80\x05", "a pickle of Python", "save its arrays with numpy.savez"),
    (b"MATLAB 5.0", "a MATLAB file before version 7.3", "save it in MATLAB with -v7.3, and rename it to end in .h5"),
)
# How to convert files, by their endings.
_ADVICE = {
    ".grib .grib1 .grib2 .grb .grb1 .grb2 .gb .gb2": f"GRIB is not read; {_GRIB}",
    ".bufr .bfr": "BUFR is not read; convert it to netCDF",
    ".zip .tar .gz .tgz .bz2 .tbz .xz .txz .zst .7z .rar .z": "archives and compressed files are not read; unpack them",
    ".mat": f"MATLAB files are not read; load them with scipy.io.loadmat, or h5py from version 7.3 on, {_SAVE}, time first",
    ".csv .tsv .asc .xlsx .parquet .feather": f"tables are not read; load them with pandas or numpy.loadtxt, {_SAVE}",
    ".json": "references to chunks (kerchunk) are not read; save their data with xarray's to_netcdf or to_zarr",
    ".pt .pth .ckpt .safetensors": f"tensors of PyTorch are not read; load them with torch or safetensors, {_SAVE}",
    ".pkl .pickle .joblib .dill": f"pickles are not read, as they run programs; load them with their own program, {_SAVE}",
    ".tfrecord .tfrecords .array_record": f"records are not read; load them with tensorflow_datasets, {_SAVE}",
    ".bin .raw .dat .img": "raw numbers are not read; save numpy.fromfile(FILE, TYPE).reshape(t, h, w) with numpy.save",
    ".yuv .y4m": "raw video is not read; convert it with ffmpeg",
    ".fits .fit .fts": f"FITS is not read; load it with astropy.io.fits.getdata, {_SAVE}",
    ".nii .dcm .dicom": f"medical images are not read; load them with nibabel or pydicom, {_SAVE}, time first",
    ".czi .lif .nd2 .lsm .ims": "files of microscopes are not read; export them as TIFF",
    ".heic .heif .avif .jxl .svg .exr .dng .cr2 .nef": "pictures of this kind are not read; convert them to PNG",
}
_BY_ENDING = {ending: advice for endings, advice in _ADVICE.items() for ending in endings.split()}
_MARKUP = ((b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"), (b"<?xml", "an XML document"))
_DOWNLOAD_AGAIN = "it may hold the server's error message; download the data again"


def require_kind(path: epath.PathLike, *kinds: str) -> str:
    """Checks that a file is of one of these kinds, as far as its first bytes tell.

    Returns:
      The kind; "" if the first bytes tell nothing.

    Raises:
      InputError: it is of another kind; the message names it and what to do.
    """
    kind, advice = _kind(path)
    if kind and kind not in kinds:
        if kind == "a ZIP archive":
            kind = f"{kind}{_archive_names(path)}"
        raise InputError(f"{path} is {kind}; {advice}")
    return kind


def _kind(path: epath.PathLike) -> tuple[str, str]:
    with contextlib.suppress(OSError), open(path, "rb") as file:  # the caller meets the error again
        start = file.read(_START_BYTES)
        if not start:
            return "empty", "download or write it again"
        for signature, kind, advice in _SIGNATURES:
            if start.startswith(signature):
                return kind, advice
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        for signature, kind in _MARKUP:
            if text.startswith(signature):
                return kind, _DOWNLOAD_AGAIN
        if text.startswith(b"{") and b'"' in text and text.isascii():
            return "JSON text", _DOWNLOAD_AGAIN
        if not start.strip(b"\0") and os.path.getsize(path) > len(start):
            return "filled with zeros at its beginning", "download or write it again"
    return "", ""


def check_archive(path: epath.PathLike, *endings: str) -> None:
    """Refuses a ZIP archive of other files, which are named.

    Args:
      path: the archive.
      *endings: those of the names of files that belong into it.

    Raises:
      InputError: no file in it has such an ending.
    """
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith(endings) for name in archive.namelist()):
            return
    expected = " or ".join(endings)
    raise InputError(f"{path} is a ZIP archive{_archive_names(path)}; expected files that end in {expected}; unpack it")


def _archive_names(path: epath.PathLike) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError):
        return ", and damaged"
    shown = ", ".join([*names[:_MAX_LISTED], *(["..."] if len(names) > _MAX_LISTED else [])])
    return f" with {len(names)} file{'s' * (len(names) != 1)} ({shown})"


def advice_on_other_kinds(endings: Iterable[str]) -> str:
    """Returns how to convert files with these endings; "" if no kind is known."""
    return "; ".join(dict.fromkeys(_BY_ENDING[ending] for ending in endings if ending in _BY_ENDING))


def is_locked(path: epath.PathLike) -> bool:
    """Returns whether another program holds a lock on a file, so that HDF5 does not open it."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
