"""Files and folders that the user has no right to read, in a process without the rights of root."""

import os
import shutil
import subprocess
import sys

import h5py
import netCDF4
import numpy as np
import pytest
from PIL import Image

from tests.commands import ROOT
from tests.data.formats.frame_files import FRAMES, RNG

zarr = pytest.importorskip("zarr")

_RIGHTS = "-dac_override,-dac_read_search"
_READ_ALL = """
import sys
from stlight_jax import InputError
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions

for path in sys.argv[1:]:
    try:
        print(path, "was read:", sum(len(block) for source in open_sequences(path, ReadOptions()) for block in source.blocks()))
    except InputError as error:
        print(error)
"""


def _run_without_rights(*arguments):
    """Returns the finished process of Python with these arguments."""
    as_user = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root reads all files, and setpriv is not installed")
        as_user = ["setpriv", f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}"]
    command = [*as_user, sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def _files(folder):
    np.save(folder / "a.npy", FRAMES)
    np.savez(folder / "a.npz", v=FRAMES)
    with h5py.File(folder / "a.h5", "w") as file:
        file["v"] = FRAMES
    with netCDF4.Dataset(folder / "a.nc", "w", format="NETCDF3_CLASSIC") as file:
        for name, size in zip("tyx", (3, 8, 7), strict=True):
            file.createDimension(name, size)
        file.createVariable("v", "f4", tuple("tyx"))[:] = RNG.random((3, 8, 7))
    pages = [Image.fromarray(frame[..., 0]) for frame in FRAMES]
    for name in ("a.tif", "a.gif"):
        pages[0].save(folder / name, save_all=True, append_images=pages[1:])
    (folder / "a.mp4").write_bytes(b"0" * 1000)
    return [folder / f"a.{ending}" for ending in ("npy", "npz", "h5", "nc", "tif", "gif", "mp4")]


def test_files_and_folders_without_the_right_to_read_are_named_with_the_reason(tmp_path):
    files = _files(tmp_path)
    for name in ("pictures", "unlisted", "unsearched", "parts/one", "parts/two"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(FRAMES[number, ..., 0]).save(tmp_path / name / f"{number}.png")
    for name in ("whole.zarr", "metadata.zarr", "chunk.zarr", "group.zarr"):
        zarr.open_group(tmp_path / name, mode="w").create_array("v", data=RNG.random((3, 8, 7)))
    (chunk,) = (tmp_path / "chunk.zarr").rglob("c/*/*/*")
    denied = {path: path for path in files}
    denied |= {tmp_path / name: tmp_path / name for name in ("unlisted", "whole.zarr")}
    denied |= {tmp_path / "pictures": tmp_path / "pictures" / "1.png", tmp_path / "parts": tmp_path / "parts" / "two"}
    denied |= {tmp_path / "metadata.zarr": tmp_path / "metadata.zarr" / "zarr.json", tmp_path / "chunk.zarr": chunk}
    denied |= {tmp_path / "group.zarr": tmp_path / "group.zarr" / "v"}
    for path in denied.values():
        path.chmod(0)
    (tmp_path / "unsearched").chmod(0o600)  # its names can be listed, but no file can be opened
    denied |= {tmp_path / "unsearched": tmp_path / "unsearched" / "0.png"}
    denied |= {tmp_path / "unsearched" / "2.png": tmp_path / "unsearched" / "2.png"}
    try:
        result = _run_without_rights("-c", _READ_ALL, *denied)
    finally:
        for path in (tmp_path / "unsearched", *denied.values()):
            path.chmod(0o700)
    expected = "cannot be read: permission denied; get the right to read it, e.g. with chmod -R u+rX"
    assert not result.stderr
    assert result.stdout.splitlines() == [f"{path} {expected}" for path in denied.values()]


def test_a_path_in_a_folder_that_cannot_be_searched_is_one_line_of_the_command(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "b.npy", FRAMES)
    (tmp_path / "a").chmod(0o600)
    try:
        result = _run_without_rights("-m", "stlight_jax", "predict", tmp_path / "a" / "b.npy", "--model=tiny")
    finally:
        (tmp_path / "a").chmod(0o700)
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path / 'a' / 'b.npy'}: permission denied; get the right to use it\n"
