"""Conversion of predicted values to the axes and the element type of a file."""

import numpy as np

from stlight_jax.data.formats.output_spec import OutputSpec, Overflow

_VALUES_PER_PART = 2**16  # a conversion takes several float64 for each value


def to_stored(frames: np.ndarray, spec: OutputSpec) -> np.ndarray:
    """Converts frames `[..., h, w, c]` in the data's units to the axes and the element type of the output."""
    overflow = None if spec.is_eight_bit else spec.overflow  # predictions of pictures that overshoot do not count
    return to_dtype(reorder_axes(frames, spec.axes), spec.dtype, spec.fill, overflow)


def reorder_axes(frames: np.ndarray, axes: str) -> np.ndarray:
    """Transposes frames `[..., h, w, c]` to the axes of these letters; without "c", frames have one channel."""
    frames = frames if "c" in axes else frames[..., 0]
    outer = frames.ndim - len(axes)
    return frames.transpose(*range(outer), *(outer + "hwc".index(letter) for letter in axes))


def to_dtype(values: np.ndarray, dtype: np.dtype, fill: float | None, overflow: Overflow | None = None) -> np.ndarray:
    """Converts floats, NaN where values are missing, to `dtype`, with `fill` where values are missing.

    Values beyond the limits of the type become its least or its largest value. Integers are rounded, and a value that is not
    missing never becomes the fill value. Values beyond the limits of an integer type are added to `overflow`.

    Raises:
      ValueError: values are missing, and no number can mark them.
    """
    stored = np.empty(values.shape, dtype)
    cannot_mark = dtype.kind == "b" or (dtype.kind != "f" and fill is None)
    with np.nditer(
        [values, stored],
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"], ["writeonly"]],
        buffersize=_VALUES_PER_PART,
    ) as parts:
        for part, converted in parts:
            missing = np.isnan(part)
            if cannot_mark and missing.any():
                raise ValueError(
                    f"{np.isnan(values).sum()} values are NaN, which {dtype} cannot mark as missing; expected a float type or "
                    "a fill value"
                )
            converted[...] = _convert_part(part, missing, dtype, fill)
            if overflow is not None and dtype.kind in "iu":
                limits, rounded = np.iinfo(dtype), np.rint(part)  # comparisons with NaN are false
                overflow.count += int(np.count_nonzero((rounded < limits.min) | (rounded > limits.max)))
    return stored


def _convert_part(values: np.ndarray, missing: np.ndarray, dtype: np.dtype, fill: float | None) -> np.ndarray:
    if dtype.kind == "f":
        if dtype.itemsize < values.dtype.itemsize:
            values = np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max)
        stored = values.astype(dtype)
        if fill is not None:
            stored[missing] = fill
        return stored
    if dtype.kind == "b":
        return values > 0.5
    limits = np.iinfo(dtype)
    # Floats cannot hold the largest integers of 64 bits.
    largest = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max
    values = np.where(missing, 0, values)
    stored = np.clip(np.rint(values.astype(np.float64)), limits.min, largest).astype(dtype)
    if fill is not None:
        fill = int(fill)
        stored[(stored == fill) & ~missing] = fill - 1 if fill == limits.max else fill + 1
        stored[missing] = fill
    return stored


def can_hold(dtype: np.dtype, fill: float) -> bool:
    """Returns whether `fill` can mark missing values in arrays of `dtype`."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return fill % 1 == 0 and limits.min <= fill <= limits.max
    return dtype.kind == "f" and (not np.isfinite(fill) or abs(fill) <= float(np.finfo(dtype).max))


def to_grey_levels(frames: np.ndarray, spec: OutputSpec) -> np.ndarray:
    """Converts frames `[..., c]` in the data's units to uint8, black where values are missing and no grey level marks them."""
    levels = _grey_levels(frames, spec)
    if spec.is_eight_bit and spec.fill is not None:
        return to_dtype(levels, np.dtype(np.uint8), spec.fill)
    return to_dtype(np.nan_to_num(levels), np.dtype(np.uint8), None)


def count_saturated(frames: np.ndarray, spec: OutputSpec) -> int:
    """Returns how many values lie beyond the darkest and the lightest grey level by more than half a level.

    Bytes have no values beyond, so that predictions of pictures that overshoot do not count.
    """
    if spec.is_eight_bit:
        return 0
    levels = _grey_levels(frames, spec)
    return int(np.count_nonzero((levels < -0.5) | (levels > 255.5)))


def _grey_levels(frames: np.ndarray, spec: OutputSpec) -> np.ndarray:
    """Returns grey levels as floats, NaN where values are missing."""
    if spec.is_eight_bit:
        return frames
    low, high = (np.asarray(values, np.float32) for values in (spec.low, spec.high))
    spans = np.where(high > low, high - low, 1)  # a channel can be constant
    return (frames - low) / spans * 255
