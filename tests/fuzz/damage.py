"""Damage to files: mutated bytes, truncation and huge lengths, the same for the same seed."""

import io
import pathlib
import re
import zipfile
import zlib

import numpy as np

_HEAD = 512
_HUGE = (b"\xff", b"\x7f", b"\x80", b"\x00", b"\xfe")
_ZIP_ENDINGS = (".npz", ".stlight", ".pth", ".pt", ".ckpt")


def damage(path: pathlib.Path, kind: str, seed: int) -> str:
    """Damages a file, or one file of a folder.

    Args:
      path: the file or folder.
      kind: name of its kind; another kind gets other damage.
      seed: number of the damage.

    Returns:
      What was done, for messages.
    """
    random = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    file = files[random.integers(len(files))]
    name = f"{file.relative_to(path)}: " if path.is_dir() else ""
    if path.is_dir() and random.random() < 0.03:
        file.unlink()
        return f"{name}removed"
    content = file.read_bytes()
    # Checksums hide the parts of an archive from most damage, unless it is packed anew.
    if file.suffix in _ZIP_ENDINGS and zipfile.is_zipfile(file) and random.random() < 0.5:
        changed, done = _damage_part(content, random)
    else:
        changed, done = _damage_bytes(content, random)
    file.write_bytes(changed)
    return name + done


def is_cut_off(done: str) -> bool:
    """Whether damage was nothing but truncation."""
    return re.fullmatch(r"(.*: )?cut off at \d+ of \d+ bytes", done) is not None


def _damage_part(content: bytes, random: np.random.Generator) -> tuple[bytes, str]:
    """Damages a member of a ZIP archive and packs it with the right checksum."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        entries = old.infolist()
        chosen = entries[random.integers(len(entries))]
        for entry in entries:
            part = old.read(entry)
            if entry is chosen:
                part, done = _damage_bytes(part, random)
            new.writestr(zipfile.ZipInfo(entry.filename), part, entry.compress_type)
    return result.getvalue(), f"member {chosen.filename}: {done}"


def _damage_bytes(content: bytes, random: np.random.Generator) -> tuple[bytes, str]:
    """Damages bytes in one of several ways, half of the time near their beginning."""
    size = len(content)
    if not size:
        return b"\x00", "one byte instead of none"
    span = min(size, _HEAD) if random.random() < 0.5 else size
    place = int(random.integers(span))
    length = min(int(2 ** random.uniform(0, 8)), size - place)
    way = random.choice(["bytes", "bit", "cut", "huge", "digits", "zeros", "delete", "repeat"])
    if way == "cut":
        return content[:place], f"cut off at {place} of {size} bytes"
    if way == "digits" and (numbers := list(re.finditer(rb"[0-9]+", content))):
        number = numbers[random.integers(len(numbers))]
        new = [b"99999999999", b"0", b"-1", b"2147483648", b"9" * 40, b"1e9"][random.integers(6)]
        return content[: number.start()] + new + content[number.end() :], f"{number[0][:20]!r} at {number.start()} is {new!r}"
    if way == "bit":
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        return bytes(changed), f"byte {place} is {changed[place]:#04x}"
    if way == "huge":
        width, byte = int(random.choice([2, 4, 8])), _HUGE[random.integers(len(_HUGE))]
        new = byte + (b"\xff" if byte == b"\x7f" else b"\x00" if byte == b"\x80" else byte) * (width - 1)
        new = new if random.random() < 0.5 else new[::-1]
        return content[:place] + new + content[place + width :], f"bytes {place}..{place + width - 1} are {new.hex()}"
    if way == "zeros":
        return content[:place] + bytes(length) + content[place + length :], f"{length} bytes from {place} are zeros"
    if way == "delete":
        return content[:place] + content[place + length :], f"{length} bytes from {place} are missing"
    if way == "repeat":
        return content[: place + length] + content[place:], f"{length} bytes from {place} are there twice"
    changed = bytearray(content)
    places = [place, *map(int, random.integers(0, span, int(random.integers(8))))]
    for place in places:
        changed[place] = int(random.integers(256))
    return bytes(changed), "bytes " + ", ".join(f"{place} = {changed[place]:#04x}" for place in sorted(set(places)))
