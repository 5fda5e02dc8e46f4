"""Weather radar in HDF5: files by ODIM, the model of Europe's services, and files of the Dutch service KNMI.

Both store a picture for each time, with calibration and time in attributes of groups. Sources: OPERA's "ODIM_H5" (EUMETNET,
version 2.4), and KNMI's "HDF5 radar data format specification" (version 3.5).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.formats.cf_attributes import attribute_text
from stlight_jax.data.formats.stored_arrays import StoredArray
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.errors import InputError

_Attributes = Mapping[str, Any]
_Groups = Mapping[str, _Attributes]

_ODIM_DATA = re.compile(r"((dataset\d+)/data\d+)/data")
_ODIM_QUALITY = re.compile(r"((dataset\d+)(?:/data\d+)?/quality\d+)/data")
_KNMI_DATA = re.compile(r"(image\d+)/image_data")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_KNMI_FORMULA = re.compile(rf"GEO=({_NUMBER})\*PV(?:\+?({_NUMBER}))?", re.IGNORECASE)
_EXAMPLE = datetime.datetime(2026, 6, 1, 12, 5)
_POLAR = ("PVOL", "SCAN", "RAY", "AZIM")
_UNITS = {"DBZ": "dBZ", "TH": "dBZ", "TV": "dBZ", "RATE": "mm/h", "ACRR": "mm", "VRAD": "m/s", "WRAD": "m/s"}
# What a pixel without an echo has in these units; quantities of other units are not known there.
_NO_ECHO = {"dBZ": -32.0, "mm/h": 0.0, "mm": 0.0}
_UNKNOWN_WITHOUT_ECHO = ("VRAD", "WRAD", "ZDR", "KDP", "PHIDP", "UPHIDP", "RHOHV", "LDR")


class _Image(NamedTuple):
    """A picture of a file.

    Attributes:
      array: the picture, `[h, w]`, with attributes by the CF conventions.
      name: what it shows, such as DBZH; "" if the file does not name it.
      time: its time; None if the file has none.
      kind: equal for pictures of one thing at several times; None if it is not one of several.
      undetect: the stored number without an echo, and the one to read instead; None if nothing is to be replaced.
      remarks: messages for the user.
    """

    array: StoredArray
    name: str
    time: np.datetime64 | None
    kind: str | None
    undetect: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()


def radar_arrays(
    path: epath.Path, arrays: Sequence[StoredArray], groups: _Groups, options: ReadOptions
) -> list[StoredArray] | None:
    """Finds the pictures of a radar file.

    Args:
      path: the file, for messages.
      arrays: all its arrays.
      groups: the attributes of its groups by their names.
      options: the user's options.

    Returns:
      The arrays `[t, h, w]`, with attributes by the CF conventions, and the times of the wanted one, which is the only one
      unless the user names it; None if it is no radar file.

    Raises:
      InputError: a calibration or a time is not understood.
    """
    with_quality = _ODIM_QUALITY.fullmatch(options.variable.strip("/")) is not None
    images: list[_Image] = []
    for array in arrays:
        odim = _ODIM_DATA.fullmatch(array.key) or (_ODIM_QUALITY.fullmatch(array.key) if with_quality else None)
        knmi = _KNMI_DATA.fullmatch(array.key)
        if len(array.shape) != 2 or not array.is_numeric:
            continue
        if odim and any(f"{part}/what" in groups for part in odim.groups()):
            images.append(_odim_image(path, array, groups, odim[1], odim[2], options))
        elif knmi and {"overview", "geographic"} & {*groups}:
            images.append(_knmi_image(path, array, groups, knmi[1], options))
    return _stacked(images, options) if images else None


# ---- Pictures of one thing at several times ----


def _stacked(images: list[_Image], options: ReadOptions) -> list[StoredArray]:
    kinds: dict[tuple[str, int], list[_Image]] = defaultdict(list)
    for number, image in enumerate(images):
        kinds[("", number) if image.kind is None else (image.kind, 0)].append(image)
    series = []
    for group in kinds.values():
        times = {image.time for image in group}
        series += [group] if len(times) == len(group) and None not in times else [[image] for image in group]
    names = [group[0].name for group in series]
    wanted, results = series[0], []
    for group in series:
        first = group[0]
        unique = first.name if first.name and names.count(first.name) == 1 else first.array.key
        if options.variable.strip("/") in (unique, first.array.key):
            wanted = group
        array = dataclasses.replace(
            first.array,
            key=unique,
            shape=(len(group), *first.array.shape),
            opened=functools.partial(_opened_stack, group),
            dims=("time", "y", "x"),
            chunks=None,
            remarks=functools.partial(_remarks, first),
        )
        results.append(array)
        if unique != first.array.key:
            results.append(dataclasses.replace(array, key=first.array.key, alias_of=unique))
    known = [image.time for image in wanted if image.time is not None]
    if known:
        moments = np.array(known, "M8[s]")
        results.append(
            StoredArray("time", moments.shape, moments.dtype, lambda: contextlib.nullcontext(moments), dims=("time",))
        )
    return results


def _remarks(image: _Image) -> tuple[str, ...]:
    return (*image.remarks, *image.array.remarks())


@contextlib.contextmanager
def _opened_stack(images: Sequence[_Image]) -> Iterator[_Stack]:
    yield _Stack(images)


@dataclasses.dataclass(frozen=True)
class _Stack:
    """Pictures `[h, w]` as an array `[t, h, w]`, each read when it is wanted."""

    images: Sequence[_Image]

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """Returns a part of the pictures, along the first axis as along the others."""
        first, *rest = index
        return np.stack([self._read(image, tuple(rest)) for image in self.images[first]])

    def _read(self, image: _Image, index: tuple[Any, ...]) -> np.ndarray:
        with image.array.opened() as stored:
            values = np.asarray(stored[index])
        if image.undetect is None:
            return values
        undetect, instead = image.undetect
        return np.where(values == undetect, values.dtype.type(instead), values)


# ---- ODIM ----


def _odim_image(
    path: epath.Path, array: StoredArray, groups: _Groups, folder: str, dataset: str, options: ReadOptions
) -> _Image:
    what, where = (
        {key: value for group in ("", f"{dataset}/", f"{folder}/") for key, value in groups.get(f"{group}{name}", {}).items()}
        for name in ("what", "where")
    )
    quantity, root = attribute_text(what.get("quantity", "")), groups.get("what", {})
    units = next((unit for name, unit in _UNITS.items() if quantity.upper().startswith(name)), "")
    numbers = {name: _number(path, array.key, what, name) for name in ("gain", "offset", "nodata", "undetect")}
    gain, offset = numbers["gain"] or 1.0, numbers["offset"] or 0.0
    missing, undetect, remarks = [numbers["nodata"]], None, []
    if numbers["undetect"] is not None and numbers["undetect"] != numbers["nodata"]:
        undetect, remark = _without_echo(numbers, array.dtype, gain, offset, quantity, units)
        missing += [] if undetect else [numbers["undetect"]]
        remarks.append(remark)
    is_polar = attribute_text(root.get("object", "")).upper() in _POLAR
    if is_polar:
        remarks.append("frames are polar: rows are directions of the antenna, columns distances")
    product = [attribute_text(what.get(name, "")) for name in ("product", "prodpar")] + [
        attribute_text(where.get("elangle", ""))
    ]
    attributes = {
        "scale_factor": gain,
        "add_offset": offset,
        "missing_value": np.array([number for number in missing if number is not None]),
        "units": units,
        "long_name": " ".join([quantity, *product]).strip(),
        "place": _place(where),
    }
    start = _moment(path, what, "startdate", "starttime", options)
    time = _moment(path, root, "date", "time", options)
    several = len({key.split("/")[0] for key in groups if re.fullmatch(r"dataset\d+", key)}) > 1
    kind = str((attributes, array.shape, array.dtype, numbers))
    return _Image(
        dataclasses.replace(array, attributes=attributes),
        quantity,
        start if several and start is not None and not is_polar else time if time is not None else start,
        None if is_polar or start is None or not several else kind,
        undetect,
        tuple(remarks),
    )


def _without_echo(
    numbers: Mapping[str, float | None], dtype: np.dtype, gain: float, offset: float, quantity: str, units: str
) -> tuple[tuple[float, float] | None, str]:
    """Returns the stored number `undetect` with the one to read instead, None if it is missing, and a remark.

    Where it is the least number of the packing, it stands for the lowest value; a mark such as -8888000 for no echo. It is
    missing where no stored number is left for that value.
    """
    undetect = numbers["undetect"] or 0.0
    value: float | None = None
    if not quantity.upper().startswith(_UNKNOWN_WITHOUT_ECHO):
        value = offset if dtype.kind == "u" and undetect == 0 and gain > 0 else _NO_ECHO.get(units)
    instead = None if value is None else (value - offset) / gain
    if instead is not None and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        instead = float(np.clip(np.rint(instead), limits.min, limits.max))
    name = f"pixels without an echo ('undetect', stored as {undetect:g})"
    if instead is None or instead == numbers["nodata"]:
        return None, f"{name} are missing"
    return (undetect, instead), f"{name} are read as {gain * instead + offset:g} {units}".rstrip()


def _place(where: _Attributes) -> str:
    """Returns the place of a picture as text."""
    return ", ".join(f"{name}={attribute_text(value)}" for name, value in sorted(where.items()))


def _number(path: epath.Path, key: str, attributes: _Attributes, name: str) -> float | None:
    if name not in attributes:
        return None
    try:
        return float(np.asarray(attributes[name]).reshape(-1)[0])
    except (ValueError, IndexError):
        raise InputError(
            f"{path}#{key}: {name!r} is {attribute_text(attributes[name])!r}; expected a number; correct it in the file"
        ) from None


def _moment(path: epath.Path, attributes: _Attributes, date: str, time: str, options: ReadOptions) -> np.datetime64 | None:
    """Returns the time in attributes such as date 20260601 and time 120500, or None."""
    text = "".join(attribute_text(attributes.get(name, "")) for name in (date, time))
    formats = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
    return _parse(path, text, formats.get(len(text), "%Y%m%d%H%M%S"), options)


def _parse(path: epath.Path, text: str, form: str, options: ReadOptions) -> np.datetime64 | None:
    if not text or options.time == "none":
        return None
    try:
        return np.datetime64(datetime.datetime.strptime(text, form), "s")
    except ValueError:
        raise InputError(
            f"{path}: its time is {text!r}; expected one such as {_EXAMPLE.strftime(form)}; correct it, "
            "or ignore times with --config.data.time=none"
        ) from None


# ---- KNMI ----


def _knmi_image(path: epath.Path, array: StoredArray, groups: _Groups, folder: str, options: ReadOptions) -> _Image:
    calibration, image, overview = (groups.get(name, {}) for name in (f"{folder}/calibration", folder, "overview"))
    formula = attribute_text(calibration.get("calibration_formulas", ""))
    match = _KNMI_FORMULA.fullmatch(formula.replace(" ", ""))
    if formula and not match:
        raise InputError(
            f"{path}#{array.key}: its calibration_formulas is {formula!r}; expected GEO=a*PV+b; compute the values by it, and "
            "save them as netCDF or .npy"
        )
    names = ("calibration_missing_data", "calibration_out_of_image")
    marks = {name: number for name in names if (number := _number(path, array.key, calibration, name)) is not None}
    parameter = attribute_text(image.get("image_geo_parameter", ""))
    unit = re.search(r"\[(.+)\]", parameter)
    attributes = {
        "scale_factor": float(match[1]) if match else 1.0,
        "add_offset": float(match[2] or 0) if match else 0.0,
        "missing_value": np.array(list(marks.values())),
        "units": unit[1] if unit else "",
        "long_name": " ".join([parameter, attribute_text(image.get("image_product_name", ""))]).strip(),
        "place": _place(groups.get("geographic", {})),
    }
    several = len([key for key in groups if re.fullmatch(r"image\d+", key)]) > 1
    texts = [attribute_text(image.get("image_datetime_valid", "")), attribute_text(overview.get("product_datetime_start", ""))]
    text = next(filter(None, texts if several else reversed(texts)), "")
    time = _parse(path, re.sub(r"\.\d*$", "", text), "%d-%b-%Y;%H:%M:%S", options)
    remark = f"stored numbers of {' and '.join(f'{number:g} ({name})' for name, number in marks.items())} are missing"
    return _Image(
        dataclasses.replace(array, attributes=attributes),
        "",
        time,
        str((attributes, array.shape, array.dtype)) if several else None,
        None,
        (remark,) if marks else (),
    )
