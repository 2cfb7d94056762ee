"""WAV files, read from memory: a header that is not believed, then plain numbers.

Sources: "Multimedia Programming Interface and Data Specifications 1.0" (1991), "Waveform Audio File Format";
WAVEFORMATEXTENSIBLE as Microsoft documents it.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.left_out import Reason

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
CODINGS = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "ADPCM", 85: "MP3"}
READ = {(PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}  # fmt: skip
MOST_CHUNKS = 1000
MOST_CHANNELS = 8
RATES = range(1000, 768_001)

Samples = NDArray[np.float32]


class Unusable(Exception):
    """Of one recording; it becomes what its owner is told."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason, self.why = reason, why


@dataclass(frozen=True, slots=True)
class Header:
    """`start` and `size` of the samples, in bytes of the file; `rate` samples a second of each channel."""

    coding: int
    bits: int
    channels: int
    rate: int
    start: int
    size: int

    @property
    def frames(self) -> int:
        return self.size // (self.channels * self.bits // 8)


def header(data: bytes) -> Header:
    """Of a file whose samples are all there; `data` may end where they begin. Raises Unusable."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Unusable(Reason.NO_SOUND, "not a WAV file")
    at, form = 12, None
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            form = _form(data[at : at + size])
        elif name == b"data":
            if form is None:
                raise Unusable(Reason.NO_SOUND, "its samples stand before their form")
            return Header(*form, at, size)
        at += size + size % 2
    raise Unusable(Reason.NO_SOUND, "a WAV file without samples")


def _form(chunk: bytes) -> tuple[int, int, int, int]:
    """Coding, bits, channels and rate; raises Unusable for those that are not read."""
    if len(chunk) < 16:
        raise Unusable(Reason.NO_SOUND, "its header is cut short")
    coding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if coding == EXTENSIBLE and len(chunk) >= 26:
        (coding,) = struct.unpack_from("<H", chunk, 24)
    if (coding, bits) not in READ:
        name = {PCM: "PCM", FLOAT: "floats", **CODINGS}.get(coding, f"coding {coding}")
        raise Unusable(Reason.NO_SOUND, f"{bits} bits of {name} are not read; save it as PCM with 16 bits")  # fmt: skip
    check_form(channels, rate)
    if block != channels * bits // 8:
        raise Unusable(Reason.NO_SOUND, "its header contradicts itself")
    return coding, bits, channels, rate


def check_form(channels: int, rate: int) -> None:
    """Raise Unusable for more channels than microphones have, or a rate that no sound has."""
    if not 1 <= channels <= MOST_CHANNELS:
        raise Unusable(Reason.TOO_LARGE, f"{channels} channels, at most {MOST_CHANNELS} are read; save it as mono")  # fmt: skip
    if rate not in RATES:
        raise Unusable(Reason.RATE, f"{rate} samples a second is no rate of a recording")


def samples(data: bytes, found: Header) -> Samples:
    """(frames, channels) in -1..1 for PCM; floats as they are stored. Raises Unusable if some are missing."""
    part = data[found.start : found.start + found.size]
    if len(part) < found.size:
        raise Unusable(Reason.NO_SOUND, f"cut short: its header promises {found.size:,} bytes of samples, {len(part):,} are there")  # fmt: skip
    part = part[: found.frames * found.channels * found.bits // 8]
    return _numbers(part, found).reshape(-1, found.channels)


def _numbers(part: bytes, found: Header) -> Samples:
    if found.coding == FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(part, READ[FLOAT, found.bits]).astype(np.float32)
    if found.bits == 24:
        raw = np.frombuffer(part, "u1").reshape(-1, 3)
        wide = np.zeros((len(raw), 4), "u1")
        wide[:, 1:] = raw  # the upper three bytes, so that the sign is right
        return np.asarray(wide.view("<i4")[:, 0] / 2.0**31, np.float32)
    raw = np.frombuffer(part, READ[PCM, found.bits])
    shift = 128 if found.bits == 8 else 0
    return np.asarray((raw.astype(np.float64) - shift) / 2.0 ** (found.bits - 1), np.float32)
