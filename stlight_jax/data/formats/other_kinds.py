"""Kinds of files that are not read, and how to convert them."""

from collections.abc import Iterable

_SAVE = "and save the frames with numpy.save"
_GRIB = "with grib_to_netcdf -o OUT.nc FILE, or xarray.open_dataset(FILE, engine='cfgrib').to_netcdf('OUT.nc')"

# How to convert files, by their endings.
_ADVICE = {
    ".grib .grib1 .grib2 .grb .grb1 .grb2 .gb .gb2": f"GRIB is not read; convert it {_GRIB}",
    ".zip .tar .gz .tgz .bz2 .tbz .xz .txz .zst .7z .rar .z": "archives and compressed files are not read; unpack them",
    ".mat": f"MATLAB files are not read; load them with scipy.io.loadmat, or h5py from version 7.3 on, {_SAVE}, time first",
    ".csv .tsv .asc .xlsx .parquet .feather": f"tables are not read; load them with pandas or numpy.loadtxt, {_SAVE}",
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


def advice_on_other_kinds(endings: Iterable[str]) -> str:
    """Returns how to convert files with these endings; "" if no kind is known."""
    return "; ".join(dict.fromkeys(_BY_ENDING[ending] for ending in endings if ending in _BY_ENDING))
