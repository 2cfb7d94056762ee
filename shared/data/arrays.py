"""Arrays from an .npz file that nobody vouches for: no pickles, no forged headers, no bombs.

numpy allocates what the header of a member claims before it reads a byte. Here the claim is compared
with the size of the member first, and the sum of all sizes with a limit.
"""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError

MAX_HEADER = 4096  # bytes; an honest one has 128
KINDS = "buif"  # bool, unsigned, signed, float: plain numbers only


def open_arrays(path: Path, names: tuple[str, ...], *, most: int) -> dict[str, NDArray[np.generic]]:
    """Read exactly the members `names`, of at most `most` bytes together.

    Raises:
        DataError: no archive, a member missing, damaged, too large, or not a plain number array.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a regular file")  # a pipe would be waited for
    try:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename: entry for entry in archive.infolist()}
            missing = [name for name in names if f"{name}.npy" not in members]
            if missing:
                raise DataError(f"{path}: the array {missing[0]!r} is missing; expected {names}")
            chosen = {name: members[f"{name}.npy"] for name in names}
            packed = {entry.compress_type for entry in chosen.values()}
            if packed - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # numpy writes no other
                raise DataError(
                    f"{path}: not a plain .npz file (a compression that is not read here)"
                )
            size = sum(entry.file_size for entry in chosen.values())
            if size > most:
                raise DataError(f"{path}: {size} bytes unpacked, at most {most}")
            return {name: _member(archive, entry) for name, entry in chosen.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: not a readable .npz file ({error})") from error
    except (NotImplementedError, RuntimeError) as error:  # unknown compression, encryption
        raise DataError(f"{path}: not a plain .npz file ({error})") from error


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[np.generic]:
    with archive.open(entry) as file:
        shape, fortran, dtype = _header(file)
        if dtype.kind not in KINDS:
            raise ValueError(f"{entry.filename}: arrays of type {dtype} are not read")
        expected = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or expected != entry.file_size - file.tell():
            raise ValueError(
                f"{entry.filename}: the header promises {expected} bytes, "
                f"the file has {entry.file_size - file.tell()}"
            )
        data = file.read(expected)  # never more than was counted, whatever it would unpack to
        if len(data) != expected or file.read(1):
            raise ValueError(f"{entry.filename}: holds another number of bytes than it says")
        flat = np.frombuffer(data, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"unknown array format {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        return read(file, max_header_size=MAX_HEADER)
    except (SyntaxError, TypeError, tokenize.TokenError, RecursionError, MemoryError) as error:
        # The header is Python text, and numpy lets through what the interpreter's parser raises.
        raise ValueError(f"a damaged array header ({error})") from error
