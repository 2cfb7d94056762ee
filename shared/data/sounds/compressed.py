"""FLAC and Ogg files, by libsndfile, which is an extra of its own."""

import importlib
import io
from types import ModuleType
from typing import Any

import numpy as np

from edgeveil.shared.base.errors import NotInstalled
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.sounds.wav import Samples, Unusable, check_form

SUFFIXES = (".flac", ".ogg", ".oga")
FORMATS = ("FLAC", "OGG")
LIBRARY = "soundfile"
INSTALL = 'pip install "edgeveil[audio]"'
MOST_SAID = 200  # characters of what a library says


def library() -> ModuleType | None:
    """None where it is not installed, or finds no libsndfile."""
    try:
        return importlib.import_module(LIBRARY)
    except (ImportError, OSError):
        return None


def check_installed(name: str) -> None:
    """Raise NotInstalled, which names the file that needs it."""
    if library() is None:
        raise NotInstalled(f"{name}: FLAC and Ogg files are read by {LIBRARY}, which is not installed", INSTALL)  # fmt: skip


def form(data: bytes) -> int:
    """The rate that its header says; raises Unusable."""
    with _opened(data) as file:
        return int(file.samplerate)


def decode(data: bytes, most: int) -> tuple[Samples, int]:
    """(frames, channels) and the rate; raises Unusable, also for more than `most` numbers in all."""
    with _opened(data) as file:
        check_form(file.channels, file.samplerate)
        if file.frames * file.channels > most:
            raise Unusable(Reason.TOO_LARGE, f"more than {most:,} samples; cut it into pieces")
        try:
            found = file.read(frames=most // file.channels, dtype="float32", always_2d=True)
        except Exception as error:  # a decoder fed with anything can raise anything
            raise _unreadable(error) from error
        if len(found) < file.frames:
            raise Unusable(Reason.NO_SOUND, "cut short")
        return np.asarray(found, np.float32), int(file.samplerate)


def _opened(data: bytes) -> Any:
    found = library()
    if found is None:
        raise Unusable(Reason.KIND, f"{LIBRARY} is not installed, which reads it; run: {INSTALL}")
    try:
        file = found.SoundFile(io.BytesIO(data))
    except Exception as error:  # a decoder fed with anything can raise anything
        raise _unreadable(error) from error
    if file.format not in FORMATS:
        raise Unusable(Reason.NO_SOUND, f"not a recording in {', '.join(FORMATS)}")
    return file


def _unreadable(error: Exception) -> Unusable:
    text = str(error)[:MOST_SAID] or type(error).__name__
    return Unusable(Reason.NO_SOUND, f"not a readable recording ({text})")
