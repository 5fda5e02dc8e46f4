"""Small undamaged files of every kind that the package reads, for the fuzz tests to damage."""

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Callable

import numpy as np

_SHAPE = (12, 12, 16)
_UNIX_HOURS = "hours since 2020-01-01 00:00:00"


@dataclasses.dataclass(frozen=True)
class Sample:
    """A kind of file.

    Attributes:
      path: name of the file, or of the folder of files.
      write: writes it to a path.
      group: the process that reads it: "readers" (without JAX), "networks" or "torch".
      exact: whether a file that is cut off may give no other values than the whole file does.
    """

    path: str
    write: Callable[[pathlib.Path], None]
    group: str = "readers"
    exact: bool = True


def _frames(dtype: str = "float32", high: float = 8.6) -> np.ndarray:
    """A moving pattern without zeros, `[12, 12, 16]`, so that zeros in place of data are seen."""
    y, x = np.mgrid[: _SHAPE[1], : _SHAPE[2]]
    t = np.arange(_SHAPE[0])[:, None, None]
    values = np.sin((x + t) / 3) + np.cos((y - t) / 2.5) + 0.01 * np.sin(x * y + t)
    unit = (values - values.min()) / (values.max() - values.min())
    return (high / 20 + (high - high / 20) * unit).astype(dtype)


# ---- Arrays ----


def _npy(path: pathlib.Path, order: str = "C") -> None:
    np.save(path, np.asarray(_frames(), order=order))


def _npz(path: pathlib.Path, compressed: bool = False) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(path, frames=_frames(), time=np.datetime64("2020-01-01T00") + np.arange(_SHAPE[0]))


def _netcdf(path: pathlib.Path, kind: str, unlimited: bool = False, packed: bool = False, **storage) -> None:
    import netCDF4

    with netCDF4.Dataset(path, "w", format=kind) as data:
        for name, size in zip(("time", "y", "x"), _SHAPE, strict=True):
            data.createDimension(name, None if unlimited and name == "time" else size)
        time = data.createVariable("time", "f8", ("time",))
        time.units = _UNIX_HOURS
        time[:] = np.arange(_SHAPE[0])
        rain = data.createVariable("rain", "i2" if packed else "f4", ("time", "y", "x"), **storage)
        if packed:
            rain.setncatts({"scale_factor": 0.01, "add_offset": 5.0, "missing_value": np.int16(-100)})
        rain.units = "mm/h"
        rain[:] = _frames()


def _hdf5(path: pathlib.Path, libver: str = "earliest", **storage) -> None:
    import h5py

    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("group/rain", data=_frames(), **storage).attrs["units"] = "mm/h"
        file["group/time"] = np.arange(_SHAPE[0])
        file["group/time"].attrs["units"] = _UNIX_HOURS


def _zarr2(path: pathlib.Path) -> None:
    array = path / "rain"
    array.mkdir(parents=True)
    (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    metadata = {
        "zarr_format": 2, "shape": _SHAPE, "chunks": [6, *_SHAPE[1:]], "dtype": "<f4", "order": "C", "filters": None,
        "fill_value": "NaN", "compressor": {"id": "zlib", "level": 1},
    }  # fmt: skip
    (array / ".zarray").write_text(json.dumps(metadata))
    (array / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["time", "y", "x"], "units": "mm/h"}))
    for number in range(2):
        (array / f"{number}.0.0").write_bytes(zlib.compress(_frames()[6 * number : 6 * number + 6].tobytes(), 1))


def _zarr3(path: pathlib.Path) -> None:
    array = path / "rain"
    array.mkdir(parents=True)
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    metadata = {
        "zarr_format": 3, "node_type": "array", "shape": _SHAPE, "data_type": "float32", "fill_value": "NaN",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [6, *_SHAPE[1:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {"units": "mm/h"}, "dimension_names": ["time", "y", "x"],
    }  # fmt: skip
    (array / "zarr.json").write_text(json.dumps(metadata))
    for number in range(2):
        chunk = array / "c" / str(number) / "0" / "0"
        chunk.parent.mkdir(parents=True)
        chunk.write_bytes(_frames()[6 * number : 6 * number + 6].tobytes())


# ---- Pictures and videos ----


def _video(path: pathlib.Path, codec: str, pixels: str = "yuv420p") -> None:
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixels
        stream.codec_context.flags |= 1 << 23  # the same bytes every time
        stream.codec_context.thread_count = 1
        for grey in _frames("uint8", 200):
            picture = np.broadcast_to(np.kron(grey, np.ones((3, 3), np.uint8))[:32, :, None], (32, 48, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def _gif(path: pathlib.Path) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in _frames("uint8", 200))
    first.save(path, save_all=True, append_images=rest, duration=100)


def _pictures(ending: str, dtype: str = "uint8", high: float = 200, colour: bool = False, **options) -> Callable:
    def write(path: pathlib.Path) -> None:
        from PIL import Image

        path.mkdir()
        for number, frame in enumerate(_frames(dtype, high)[:3]):
            picture = Image.fromarray(np.stack([frame, frame // 2, frame], -1) if colour else frame)
            picture.save(path / f"{number}.{ending}", **options)

    return write


def _stack(path: pathlib.Path) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in _frames("uint16", 30000))
    first.save(path, save_all=True, append_images=rest)


# ---- Networks and weights ----


def _network(path: pathlib.Path) -> None:
    from stlight_jax.inference.shipped_networks import FOLDER

    path.write_bytes((FOLDER / "tiny.stlight").read_bytes())


def _weights() -> dict:
    import torch

    generator = torch.Generator().manual_seed(0)
    return {
        "encoder.weight": torch.randn(8, 3, 3, 3, generator=generator),
        "encoder.bias": torch.randn(8, generator=generator),
        "norm.num_batches_tracked": torch.tensor(7),
    }


def _pickle(path: pathlib.Path, legacy: bool = False) -> None:
    import torch

    content = {"state_dict": _weights(), "epoch": 3, "hyper_parameters": {"lr": 1e-3, "name": "adam"}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def _safetensors(path: pathlib.Path) -> None:
    from safetensors.torch import save_file

    save_file(_weights(), path)


SAMPLES: dict[str, Sample] = {
    "npy": Sample("a.npy", _npy),
    "npy-fortran": Sample("a.npy", lambda path: _npy(path, "F")),
    "npz": Sample("a.npz", _npz),
    "npz-deflated": Sample("a.npz", lambda path: _npz(path, True)),
    "netcdf3": Sample("a.nc", lambda path: _netcdf(path, "NETCDF3_CLASSIC")),
    "netcdf3-records": Sample("a.nc", lambda path: _netcdf(path, "NETCDF3_CLASSIC", True, True)),
    "netcdf3-64bit": Sample("a.nc", lambda path: _netcdf(path, "NETCDF3_64BIT_OFFSET", True)),
    "netcdf3-64bit-data": Sample("a.nc", lambda path: _netcdf(path, "NETCDF3_64BIT_DATA")),
    "netcdf4": Sample("a.nc", lambda path: _netcdf(path, "NETCDF4", packed=True)),
    "netcdf4-chunks": Sample("a.nc", lambda path: _netcdf(path, "NETCDF4", True, zlib=True, chunksizes=(4, 12, 16))),
    "hdf5": Sample("a.h5", _hdf5),
    "hdf5-chunks": Sample("a.h5", lambda path: _hdf5(path, chunks=(4, 12, 16), compression="gzip", maxshape=(None, 12, 16))),
    "hdf5-latest": Sample("a.h5", lambda path: _hdf5(path, "latest", chunks=(4, 12, 16), fletcher32=True)),
    "zarr2": Sample("a.zarr", _zarr2),
    "zarr3": Sample("a.zarr", _zarr3),
    "mp4": Sample("a.mp4", lambda path: _video(path, "libx264"), exact=False),
    "mov": Sample("a.mov", lambda path: _video(path, "mjpeg", "yuvj420p"), exact=False),
    "avi": Sample("a.avi", lambda path: _video(path, "mpeg4"), exact=False),
    "mkv": Sample("a.mkv", lambda path: _video(path, "ffv1", "gray"), exact=False),
    "webm": Sample("a.webm", lambda path: _video(path, "libvpx"), exact=False),
    "mpg": Sample("a.mpg", lambda path: _video(path, "mpeg1video"), exact=False),
    "gif": Sample("a.gif", _gif, exact=False),
    "png": Sample("a", _pictures("png")),
    "png-16bit": Sample("a", _pictures("png", "uint16", 30000)),
    "png-colour": Sample("a", _pictures("png", colour=True)),
    "jpg": Sample("a", _pictures("jpg", colour=True), exact=False),
    "bmp": Sample("a", _pictures("bmp")),
    "webp": Sample("a", _pictures("webp", colour=True, lossless=True)),
    "tif": Sample("a", _pictures("tif")),
    "tif-16bit": Sample("a", _pictures("tif", "uint16", 30000)),
    "tif-float": Sample("a", _pictures("tif", "float32", 8.6)),
    "tif-deflated": Sample("a", _pictures("tif", colour=True, compression="tiff_adobe_deflate")),
    "tif-lzw": Sample("a", _pictures("tif", compression="tiff_lzw")),
    "tif-stack": Sample("a.tif", _stack),
    "stlight": Sample("a.stlight", _network, "networks"),
    "pth": Sample("a.pth", _pickle, "torch"),
    "pth-legacy": Sample("a.pt", lambda path: _pickle(path, True), "torch"),
    "safetensors": Sample("a.safetensors", _safetensors, "torch"),
}
