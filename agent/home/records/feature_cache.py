"""What a frozen network made of the owner's pictures, kept on this device so that it need not look again.

One file in the home's folder `cache`, mode 0600: for each picture that is there now a hash of its pixels,
and the numbers. It tells as much about the pictures as they do themselves, so it goes with them: keep()
holds exactly what it is given, and the tag beside it tells backup programs to leave the folder out
(bford.info/cachedir). A cache that cannot be read is made anew.
"""

import contextlib
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.files import private_directory, write_secret

FOLDER = "cache"
TAG, SIGNATURE = "CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n"

Numbers = NDArray[np.float32]


class FeatureCache:
    """Under one `identity` of whatever computes; what was kept under another one is never read."""

    def __init__(self, home: Path, identity: bytes, width: int) -> None:
        self._home = home
        self._name = f"features-{identity.hex()[:16]}.npy"
        self._form = np.dtype([("key", "u1", (32,)), ("numbers", "<f4", (width,))])

    def read(self) -> dict[bytes, Numbers]:
        """Everything that was kept; nothing if the file is absent, open to others or damaged."""
        path = self._home / FOLDER / self._name
        try:
            if path.stat().st_mode & 0o077:
                return {}
            rows = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return {}
        if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype != self._form:
            return {}
        finite = np.isfinite(rows["numbers"]).all(axis=1)
        return {row["key"].tobytes(): row["numbers"] for row in rows[finite]}

    def keep(self, found: Mapping[bytes, Numbers]) -> None:
        """Exactly these, and nothing of another identity. Raises OSError, and has then changed nothing."""
        rows = np.empty(len(found), dtype=self._form)
        for row, (key, numbers) in zip(rows, found.items(), strict=True):
            row["key"], row["numbers"] = np.frombuffer(key, np.uint8), numbers
        data = io.BytesIO()
        np.save(data, rows, allow_pickle=False)
        folder = private_directory(self._home / FOLDER)
        write_secret(folder / TAG, SIGNATURE)
        write_secret(folder / self._name, data.getvalue())
        _remove(path for path in folder.glob("features-*") if path.name != self._name)


def forget(home: Path) -> None:
    """Remove whatever was kept, under any identity."""
    _remove((home / FOLDER).glob("features-*"))


def keys(pixels: NDArray[np.float32]) -> list[bytes]:
    """32 bytes for each picture (N, …), by what it shows as a task gets it."""
    shape = repr(pixels.shape[1:]).encode()
    return [hashlib.sha256(shape + picture.tobytes()).digest() for picture in pixels]


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        with contextlib.suppress(OSError):
            path.unlink()
