"""Whether a picture file has colours, by its header: without Pillow, which a device that joins may lack.

A header says how a picture is stored, not what is on it: a grey photo that a camera stored in colours has colours
here. None where nothing can be told.
"""

import struct
from pathlib import Path
from typing import BinaryIO

COLOURED = {0: False, 4: False, 2: True, 6: True}  # PNG, "Colour type"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG, markers SOF
BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG, markers without a length
MOST_SEGMENTS = 1000  # of a JPEG, chunks of a PNG, entries of a TIFF; honest ones have few
SAMPLES, PHOTOMETRIC, PALETTE = 277, 262, 3  # TIFF


def has_colours(path: Path) -> bool | None:
    """Whether a file of one of the formats that are read is stored in colours."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
            for opening, read in READERS:
                if start.startswith(opening):
                    return read(file, start)
    except (OSError, ValueError, IndexError, struct.error):
        return None
    return None


def _png(file: BinaryIO, start: bytes) -> bool | None:
    if start[25] != 3:
        return COLOURED.get(start[25])
    file.seek(8)
    for _ in range(MOST_SEGMENTS):
        size, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"PLTE":
            return _coloured(file.read(min(size, 768)), 3)
        file.seek(size + 4, 1)
    return None


def _jpeg(file: BinaryIO, _start: bytes) -> bool | None:
    file.seek(2)
    for _ in range(MOST_SEGMENTS):
        opening, marker = file.read(2)
        if opening != 0xFF:
            return None
        if marker == 0xFF:  # a filling byte
            file.seek(-1, 1)
        elif marker not in BARE:
            (size,) = struct.unpack(">H", file.read(2))
            if marker in FRAMES:
                return file.read(6)[5] >= 3
            file.seek(size - 2, 1)
    return None


def _gif(file: BinaryIO, start: bytes) -> bool | None:
    if not start[10] & 0x80:
        return True  # a palette per frame
    file.seek(13)
    return _coloured(file.read(3 << ((start[10] & 7) + 1)), 3)


def _bmp(file: BinaryIO, start: bytes) -> bool | None:
    size, bits = struct.unpack("<I10xH", start[14:30])
    if bits > 8:
        return True
    file.seek(14 + size)
    return _coloured(file.read(4 << bits), 4)


def _tiff(file: BinaryIO, start: bytes) -> bool | None:
    order = "<" if start[:2] == b"II" else ">"
    file.seek(struct.unpack(f"{order}I", start[4:8])[0])
    (count,) = struct.unpack(f"{order}H", file.read(2))
    found = {}
    for _ in range(min(count, MOST_SEGMENTS)):
        tag, _kind, _count, value = struct.unpack(f"{order}HHIH2x", file.read(12))
        found[tag] = value
    return found.get(SAMPLES, 1) >= 3 or found.get(PHOTOMETRIC) == PALETTE


def _webp(_file: BinaryIO, start: bytes) -> bool | None:
    return True if start[8:12] == b"WEBP" else None  # the format knows no grey


def _coloured(palette: bytes, step: int) -> bool:
    """Whether a palette has an entry that is not grey."""
    entries = (palette[at : at + 3] for at in range(0, len(palette) - 2, step))
    return any(len(set(entry)) > 1 for entry in entries)


READERS = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF8", _gif),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"RIFF", _webp),
)
