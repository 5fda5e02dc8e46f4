"""Frames that Pillow decodes, of folders of pictures, of stacks and of animations."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.formats.picture_sequence import DecodedPicture, PictureSequence
from stlight_jax.data.formats.pillow_pixels import NODATA, PillowPicture, may_be_transparent, opened
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.frame_clock import clock_ticks
from stlight_jax.errors import InputError

_SUBFILE_TYPE, _DESCRIPTION = 254, 270  # tags of TIFF
_REDUCED_OR_MASK = 0b101
_CLOCK_UNITS = {"GIF": 10_000}  # in microseconds; others count milliseconds
_JITTER = 0.25  # of a delay
_UNKNOWN_DELAY = 100  # ms, as players show frames without one


class FileContents(NamedTuple):
    """What the headers of a file of pictures contain.

    Attributes:
      pages: the indices of its frames; more than one in a stack or an animation.
      has_alpha: whether they can be transparent, or without data.
      nodata: the value, as text, of pixels without data, in pages that name none of their own; None for no value.
    """

    pages: list[int]
    has_alpha: bool
    nodata: str | None = None


def file_contents(path: epath.Path) -> FileContents:
    """Reads the headers of a file.

    Raises:
      InputError: the file is damaged, or its pages are no time series.
    """
    with opened(path) as image:
        count = getattr(image, "n_frames", 1)
        if count == 1:
            return FileContents([0], may_be_transparent(image))
        if image.format == "MPO":  # a JPEG with further views or a preview
            return FileContents([0], False)
        pages = list(range(int(getattr(image, "default_image", False)), count))
        if image.format == "TIFF":
            _check_stack(path, image)
            pages = [page for page in pages if not _tag(image, page, _SUBFILE_TYPE, 0) & _REDUCED_OR_MASK]
            nodata = _tag(image, pages[0], NODATA, None)
            return FileContents(pages, any(_page_may_be_transparent(image, page) for page in pages), nodata)
        return FileContents(pages, True)


def decode_file(path: epath.Path, contents: FileContents) -> Iterator[DecodedPicture]:
    """Yields the pictures in a file; each must be used before the next.

    Args:
      path: the file.
      contents: what its headers contain.

    Raises:
      InputError: the file is damaged, or its pictures are of a kind that cannot be read right.
    """
    with opened(path) as image:
        for page in contents.pages:
            if page:
                image.seek(page)
            label = f"{path}, frame {page - contents.pages[0]}" if len(contents.pages) > 1 else str(path)
            picture = PillowPicture(path, label, image, page, contents.nodata)
            to_alpha = picture.alpha if contents.nodata is not None or may_be_transparent(image) else None
            yield DecodedPicture(label, picture.dtype, picture.is_grey, picture.array, to_alpha, picture.remark)


def open_stack(path: epath.Path, format_name: str, name: str, contents: FileContents, options: ReadOptions) -> PictureSequence:
    """Opens the pages of a stack, or the frames of an animation as players show them, composed of their changes.

    Args:
      path: the file.
      format_name: name of its format.
      name: name of the sequence.
      contents: what its headers contain.
      options: the user's options.

    Raises:
      InputError: the file is damaged, or its first frame cannot be read right.
    """

    def decode(first: int) -> Iterator[DecodedPicture]:
        for number, picture in enumerate(decode_file(path, contents)):
            if number >= first:
                yield picture

    rate, ticks, remarks = _presentation(path, contents.pages, options)
    return PictureSequence(
        path, format_name, name, len(contents.pages), decode, options, contents.has_alpha, rate, ticks=ticks, remarks=remarks
    )


def _presentation(
    path: epath.Path, pages: Sequence[int], options: ReadOptions
) -> tuple[float | None, np.ndarray | None, tuple[str, ...]]:
    """Returns the frame rate apart from pauses, the ticks if presentation times have gaps, and remarks."""
    with opened(path) as image:
        if image.format == "TIFF" or len(pages) < 2:
            milliseconds = image.info.get("duration")
            return 1000 / milliseconds if milliseconds else None, None, ()
        delays = []
        for page in pages:
            image.seek(page)
            if image.format == "WEBP":  # whose delays are known when frames are decoded
                image.load()
            delays.append(image.info.get("duration", 0))
        unit = _CLOCK_UNITS.get(image.format or "", 1000)
    known = np.array([delay for delay in delays if delay])
    usual = known[np.abs(known - np.median(known)) <= max(_JITTER * np.median(known), unit / 1000)] if len(known) else known
    rate = 1000 / float(usual.mean()) if len(usual) else None
    if not any(delays) or options.time == "none":
        return rate, None, ()
    moments = np.cumsum([0, *(delay or _UNKNOWN_DELAY for delay in delays[:-1])])
    ticks = clock_ticks(np.rint(moments * (1000 / unit)).astype(int).tolist(), unit)
    return (rate, None, ()) if ticks is None else (rate, ticks.ticks, ticks.remarks)


def _tag(image: Any, page: int, tag: int, default: Any) -> Any:
    image.seek(page)
    return image.tag_v2.get(tag, default)


def _page_may_be_transparent(image: Any, page: int) -> bool:
    image.seek(page)
    return may_be_transparent(image)


def _check_stack(path: epath.Path, image: Any) -> None:
    """Refuses stacks whose pages are not frames of one channel: ImageJ and OME describe them."""
    text = str(image.tag_v2.get(_DESCRIPTION, ""))
    sizes = {key: int(value) for key, value in re.findall(r"(?m)^(channels|slices|frames|images)=(\d+)\s*$", text)}
    if "<OME" in text:
        sizes = {key: int(value) for key, value in re.findall(r'\bSize([CZT])="(\d+)"', text)}
        sizes = {"channels": sizes.get("C", 1), "slices": sizes.get("Z", 1), "frames": sizes.get("T", 1)}
    axes = {key: size for key, size in sizes.items() if key != "images" and size > 1}
    if len(axes) > 1 or "channels" in axes:
        held = " x ".join(f"{size} {key}" for key, size in axes.items())
        raise InputError(
            f"{path} holds {image.n_frames} pages, {held}; expected the frames of one channel; save them as a .npy [t, h, w, c]"
        )
    if sizes.get("images", 0) > image.n_frames:
        raise InputError(
            f"{path} holds {sizes['images']} pictures after its description, of which {image.n_frames} can be found; save it "
            "anew, or as a .npy"
        )
