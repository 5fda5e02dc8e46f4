"""How an HDF5 dataset is stored: compression filters that are missing, and parts in other files that are not there."""

import contextlib
import glob
import importlib
import os
import re
from typing import Any

from etils import epath

from stlight_jax.data.formats.stored_arrays import describe_unwritten, mostly_unwritten
from stlight_jax.errors import InputError

# https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md
_FILTERS = {
    4: "SZIP", 305: "LZO", 307: "BZIP2", 32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32013: "ZFP",
    32015: "Zstandard", 32017: "SZ", 32018: "FCIDECOMP", 32019: "JPEG", 32022: "BitGroom", 32023: "Granular BitRound",
    32024: "SZ3", 32026: "Blosc2", 32027: "FLAC", 32028: "SPERR",
}  # fmt: skip

_LEAST_WRITTEN = 1e-3  # a share of the chunks; a damaged header can declare any number


def check_storage(path: epath.PathLike, item: Any) -> None:
    """Checks that all parts of a dataset can be read. HDF5 itself reads parts that are not there as fill values.

    Raises:
      InputError: a filter or a file is missing; the message names it.
    """
    label = f"{path}#{item.name.lstrip('/')}"
    _check_filters(label, item)
    folder = os.path.dirname(os.path.abspath(item.file.filename))
    if item.is_virtual:
        _check_sources(label, item, folder)
    needed = item.size * item.dtype.itemsize
    for name, offset, size in item.external or ():
        found = _find(name, folder, "HDF5_EXTFILE_PREFIX", os.getcwd(), folder)
        if found is None:
            raise InputError(f"{label} is stored in the file {name}, which is not there; copy it to {folder}")
        stored, part = os.path.getsize(found), min(size, needed)
        if stored < offset + part:
            raise InputError(
                f"{label} is stored in the file {name}, which has {stored:,} bytes of {offset + part:,}; get a whole copy"
            )
        needed -= part


def _find(name: str, folder: str, variable: str, *places: str) -> str | None:
    """Returns the first file of a name in the folder that an environment variable names, or in others; None if none exists."""
    prefix = os.environ.get(variable, "").replace("${ORIGIN}", folder)
    return next(filter(os.path.isfile, (os.path.join(place, name) for place in (prefix, *places) if place)), None)


def referenced_files(path: epath.PathLike) -> set[str]:
    """Returns the other files that hold parts of an HDF5 file, as far as they exist; an empty set for a file of another kind.

    Those are the targets of external links, the sources of virtual datasets, and files of raw numbers.
    """
    import h5py

    found, waiting = {os.path.realpath(path)}, [os.path.realpath(path)]
    while waiting:
        with contextlib.suppress(OSError, RuntimeError), h5py.File(waiting.pop(), "r") as file:
            new = set(map(os.path.realpath, _references(file))) - found
            found |= new
            waiting += new
    return found - {os.path.realpath(path)}


def _references(file: Any) -> list[str]:
    import h5py

    folder = os.path.dirname(os.path.abspath(file.filename))
    names: list[str] = []

    def add(variable: str, name: str, *places: str) -> None:
        names.extend(filter(None, [_find(name, folder, variable, *places)]))

    def visit(key: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            with contextlib.suppress(KeyError, OSError, RuntimeError):  # what links to nowhere lead to
                names.append(file[key].file.filename)
        item = file.get(key) if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset):
            for source in item.virtual_sources() if item.is_virtual else ():
                if "%" in source.file_name:
                    pattern = os.path.join(folder, re.sub("%b", "*", glob.escape(source.file_name)))
                    names.extend(glob.glob(pattern))
                elif source.file_name != ".":
                    add("HDF5_VDS_PREFIX", source.file_name, folder, os.getcwd())
            for name, _, _ in item.external or ():
                add("HDF5_EXTFILE_PREFIX", name, os.getcwd(), folder)

    file.visititems_links(visit)
    return names


def missing_filter(item: Any) -> int | None:
    """Returns the number of the first compression filter of a dataset that is not available, or None."""
    import h5py

    properties = item.id.get_create_plist()
    codes = [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]
    return next((code for code in codes if not h5py.h5z.filter_avail(code)), None)


def _check_filters(label: str, item: Any) -> None:
    if missing_filter(item) is None:
        return
    try:
        importlib.import_module("hdf5plugin")  # which registers its filters
        installed = True
    except ImportError:
        installed = False
    code = missing_filter(item)
    if code is not None:
        name = f"filter {code}" + (f" ({_FILTERS[code]})" if code in _FILTERS else "")
        advice = "which hdf5plugin does not have; store it with gzip, e.g. with h5repack" if installed else ""
        raise InputError(f"{label} is compressed with {name}{', ' if advice else ': '}{advice or 'pip install hdf5plugin'}")


def _check_sources(label: str, item: Any, folder: str) -> None:
    """Checks that the sources of a virtual dataset exist."""
    import h5py

    sources = item.virtual_sources()
    fixed = [source for source in sources if "%" not in source.file_name]  # others are series of as many files as there are
    for name, key in sorted({(source.file_name, source.dset_name) for source in fixed}):
        same = name == "."
        if same and key.strip("/") == item.name.strip("/"):
            raise InputError(f"{label} is a virtual dataset whose source is itself; give it sources that hold the values")
        found = item.file.filename if same else _find(name, folder, "HDF5_VDS_PREFIX", folder, os.getcwd())
        if found is None:
            raise InputError(f"{label} has parts in {name}, which is not there; copy it to {folder}")
        with contextlib.nullcontext(item.file) if same else h5py.File(found, "r") as file:
            part = file.get(key)
            if part is None:
                raise InputError(f"{label} has parts in {key} of {name}, which does not exist")
            check_storage(found, part)
    mapped = sum(source.vspace.get_select_npoints() for source in fixed)
    if mapped < item.size and not item.fillvalue and len(fixed) == len(sources):
        raise InputError(
            f"{label} has sources for {mapped:,} of its {item.size:,} values; the others would read as 0; give it all sources, "
            "or a fill value"
        )


def count_unwritten(label: str, item: Any) -> tuple[str, ...]:
    """Returns a remark if parts of a dataset were never written and read as the fill value that its author chose.

    Raises:
      InputError: such parts would read as zeros, or hardly any part was written.
    """
    import h5py

    if item.is_virtual or item.external or not item.size:
        return ()
    if item.chunks is None:
        stored, total = int(item.id.get_storage_size() > 0), 1
    else:
        stored, total = item.id.get_num_chunks(), 1
        for size, length in zip(item.shape, item.chunks, strict=True):
            total *= -(-size // length)
    if stored >= total:
        return ()
    text = describe_unwritten(total - stored, total)
    has_fill = item.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if has_fill and stored < total * _LEAST_WRITTEN:
        raise mostly_unwritten(label, item.shape, f"{total:,} chunk{'s' * (total > 1)}", f"{stored:,} of them written")
    if not has_fill:
        raise InputError(
            f"{label} has shape {list(item.shape)}, but {text}; check the program that wrote it, and cut the array to its "
            f"data with h5py's resize, or create it with a fillvalue that means missing"
        )
    return (f"{text}; they read as {item.fillvalue:g}",)
