"""Pixels, and files of pictures, byte by byte after their specifications: kinds that Pillow does not write."""

import struct
import zlib

import numpy as np

RNG = np.random.default_rng(3)
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def levels(shape, high, low=0, dtype=np.uint16):
    """Random values, of which the least and the largest occur."""
    values = RNG.integers(low, high, shape, endpoint=True).astype(dtype)
    values.flat[:2] = low, high
    return values


def write_png(path, pixels, *, transparent=None, interlaced=False, exif=None):
    """Writes pixels uint8 or uint16 `[h, w]` or `[h, w, 1..4]`.

    Args:
      transparent: the value, or colour, that a chunk tRNS names.
      interlaced: whether the pixels are in the order of Adam7.
      exif: the content of a chunk eXIf behind the pixels.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def rows(part):
        return b"".join(b"\0" + row.astype(part.dtype.newbyteorder(">")).tobytes() for row in part)

    parts = [pixels[y::down, x::right] for y, x, down, right in ADAM7] if interlaced else [pixels]
    data = zlib.compress(b"".join(rows(part) for part in parts if part.size))
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, interlaced))]
    if transparent is not None:
        chunks.append(chunk(b"tRNS", np.asarray(transparent, ">u2").tobytes()))
    chunks.append(chunk(b"IDAT", data))
    if exif is not None:
        chunks.append(chunk(b"eXIf", exif))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b""))


def write_tiff(path, pages, *, order="<", deflate=False, tags=(), extra=(), page_tags=()):
    """Writes pages `[h, w]` or `[h, w, c]` of any element type, one strip each.

    Args:
      order: byte order.
      deflate: whether strips are compressed.
      tags: further tags of all pages, (number, type, values); type 2 for text, 3 for 16 bits, 4 for 32 bits.
      extra: the values of ExtraSamples.
      page_tags: for each page its further tags.
    """
    content = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    link = 4
    for number, pixels in enumerate(pages):
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        height, width, channels = pixels.shape
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        data = zlib.compress(data) if deflate else data
        strip = len(content)
        content += data + b"\0" * (len(data) % 2)
        own = [
            (256, 4, [width]), (257, 4, [height]), (258, 3, [8 * pixels.itemsize] * channels), (259, 3, [8 if deflate else 1]),
            (262, 3, [2 if channels > 2 else 1]), (273, 4, [strip]), (277, 3, [channels]), (278, 4, [height]),
            (279, 4, [len(data)]), (339, 3, [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * channels),
            *([(338, 3, list(extra))] if extra else []), *tags, *(page_tags[number] if page_tags else []),
        ]  # fmt: skip
        entries = b""
        for tag, kind, values in sorted(own):
            packed = values.encode() + b"\0" if kind == 2 else np.array(values, f"{order}u{2 if kind == 3 else 4}").tobytes()
            count = len(packed) if kind == 2 else len(values)
            if len(packed) > 4:
                place = len(content)
                content += packed + b"\0" * (len(packed) % 2)
                packed = struct.pack(order + "I", place)
            entries += struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\0")
        content[link : link + 4] = struct.pack(order + "I", len(content))
        content += struct.pack(order + "H", len(own)) + entries
        link = len(content)
        content += b"\0\0\0\0"
    path.write_bytes(bytes(content))


def write_gif(path, frames, size, palette, delays):
    """Writes frames (left, top, indices `[h, w]`, disposal, transparent index or None) without compression.

    Args:
      size: width and height of the canvas.
      palette: up to 128 colours.
      delays: of the frames in hundredths of a second.
    """
    colours = b"".join(bytes(colour) for colour in palette).ljust(3 * 128, b"\0")
    content = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80 | 0x70 | 6, 0, 0) + colours
    for (left, top, indices, disposal, transparent), delay in zip(frames, delays, strict=True):
        flags = disposal << 2 | (transparent is not None)
        content += b"\x21\xf9\x04" + struct.pack("<BHBB", flags, delay, transparent or 0, 0)
        content += b"\x2c" + struct.pack("<HHHHB", left, top, *indices.shape[::-1], 0) + b"\x07"
        codes, flat = [], indices.ravel().tolist()
        for start in range(0, len(flat), 100):  # the table is cleared before codes get longer
            codes += [128, *flat[start : start + 100]]
        codes.append(129)
        data = sum(code << 8 * place for place, code in enumerate(codes)).to_bytes(len(codes), "little")
        blocks = [data[start : start + 255] for start in range(0, len(data), 255)]
        content += b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    path.write_bytes(content + b";")
