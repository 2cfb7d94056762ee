"""The one door for a sound file that nobody vouches for: one window of mono samples, or why it is left out.

A file is read once and whole, then decoded from memory. Channels are averaged. Of a longer recording the
window in which it is loudest is taken; a shorter one gets silence on both sides. Another rate is used where
it is a whole multiple of the wanted one. All of it by public constants, and of one recording alone.
"""

import struct
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.pictures import read_bytes
from edgeveil.shared.data.sounds import compressed, wav
from edgeveil.shared.data.sounds.wav import Samples, Unusable
from edgeveil.shared.data.tree import Kind

SOUNDS = Kind("recordings", (".wav", ".wave", *compressed.SUFFIXES))
MAX_BYTES = 16 << 20  # of one file: eight minutes at 16,000 with 16 bits
MAX_SAMPLES = 1 << 24  # of one file and all its channels, unpacked
HEAD = 1 << 16  # bytes, in which a header ends that is only looked at
SHORTEST = 0.1  # of a window; what is shorter shows nothing
MOST_TIMES = 12  # the wanted rate
LOBES, PASSED = (
    16,
    0.9,
)  # zero crossings of the low-pass on each side; the share of the band that it leaves


def read_sound(path: Path, rate: int, length: int) -> Samples | LeftOut:
    """`length` samples (length,) in -1..1, at `rate` samples a second."""
    data = read_bytes(path, MAX_BYTES)
    if isinstance(data, LeftOut):
        return data
    try:
        return window(*_decoded(data, path.name), rate, length)
    except Unusable as error:
        return LeftOut(error.reason, str(path), error.why)


def rate_of(path: Path) -> int | None:
    """What the header of a file says; None where nothing can be told."""
    try:
        if path.name.lower().endswith(compressed.SUFFIXES):
            data = read_bytes(path, MAX_BYTES)
            return None if isinstance(data, LeftOut) else compressed.form(data)
        if not path.is_file():  # a pipe is never waited for
            return None
        with path.open("rb") as file:
            return wav.header(file.read(HEAD)).rate
    except (OSError, ValueError, Unusable, struct.error):
        return None


def window(raw: Samples, own: int, rate: int, length: int) -> Samples:
    """Of (frames, channels) at the rate `own`; raises Unusable."""
    times, rest = divmod(own, rate)
    if rest or not 1 <= times <= MOST_TIMES:
        raise Unusable(Reason.RATE, f"{own:,} samples a second, which is no whole multiple of {rate:,}: convert it, as in: ffmpeg -i FILE -ar {rate} NEW.wav")  # fmt: skip
    wanted = length * times
    if len(raw) < SHORTEST * wanted:
        raise Unusable(Reason.SHORT, f"{len(raw) / own:.3g} s, a window takes {length / rate:.3g} s")  # fmt: skip
    if not np.isfinite(raw).all():
        raise Unusable(Reason.VALUES, "a sample is not finite (NaN or infinite)")
    reach = float(np.abs(raw).max())
    if reach > 1:
        raise Unusable(Reason.VALUES, f"its samples reach {reach:.3g}, and full scale is 1; save it as PCM")  # fmt: skip
    mono = _loudest(raw.mean(axis=1, dtype=np.float64), wanted)
    kept = mono if times == 1 else np.convolve(mono, low_pass(times), mode="same")[::times]
    return np.asarray(np.clip(kept, -1, 1), np.float32)


def _loudest(mono: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """`length` samples in a row with the most energy; all of them, and silence around, if there are fewer."""
    spare = len(mono) - length
    if spare <= 0:
        return np.pad(mono, (-spare // 2, -spare - -spare // 2))
    before = np.concatenate([np.zeros(1), np.cumsum(mono**2)])
    start = int((before[length:] - before[: spare + 1]).argmax())
    return mono[start : start + length]


@cache
def low_pass(times: int) -> NDArray[np.float64]:
    """Of what every `times`-th sample cannot hold: a sinc under a Hamming window (Oppenheim & Schafer, ch. 7)."""
    reach = LOBES * times
    at = np.arange(-reach, reach + 1) * PASSED / times
    made = np.sinc(at) * np.hamming(2 * reach + 1)
    return np.asarray(made / made.sum())


def _decoded(data: bytes, name: str) -> tuple[Samples, int]:
    """(frames, channels) and the rate. What a file is says its content, not its name."""
    if data[:4] in {b"fLaC", b"OggS"} or name.lower().endswith(compressed.SUFFIXES):
        return compressed.decode(data, MAX_SAMPLES)
    found = wav.header(data)
    if found.frames == 0:
        raise Unusable(Reason.NO_SOUND, "holds no sample")
    return wav.samples(data, found), found.rate
